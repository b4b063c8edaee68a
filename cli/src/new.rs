//! `tenfold new`: a scenario of the library as a file of one's own.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use scenarios::library;

use crate::args::NewArgs;
use crate::output::{Failure, print, quoted};

pub fn new(args: &NewArgs) -> Result<ExitCode, Failure> {
    let names = || library().iter().map(|scenario| scenario.id).collect::<Vec<_>>().join(", ");
    let Some(file) = &args.file else {
        let mut text = String::from("Scenarios of the library (tenfold new FILE --from NAME):\n");
        for scenario in library() {
            let loaded = scenarios::parse(scenario.text, scenario.id, ".".as_ref(), &[])?;
            let _ = writeln!(text, "  {:20} {}", scenario.id, loaded.scenario.name);
        }
        return print(&text).map(|()| ExitCode::SUCCESS);
    };
    let Some(scenario) = library().iter().find(|scenario| scenario.id == args.from) else {
        return Err(Failure::text(format!("the library has no scenario `{}`", args.from))
            .help(format!("expected one of {}", names())));
    };
    write_new(file, scenario.text)?;
    let follow = format!("tenfold run {}", quoted(file.display()));
    print(&format!("wrote {}; run it with: {follow}", file.display())).map(|()| ExitCode::SUCCESS)
}

/// Writes a file that must not exist.
pub fn write_new(file: &Path, text: &str) -> Result<(), Failure> {
    write_all_new(&[(file.to_owned(), text)])
}

/// Writes files that must not exist: all of them, or none.
pub fn write_all_new(files: &[(PathBuf, &str)]) -> Result<(), Failure> {
    for (number, (file, text)) in files.iter().enumerate() {
        let made = OpenOptions::new().write(true).create_new(true).open(file);
        let is_made = made.is_ok();
        let Err(error) = made.and_then(|mut file| file.write_all(text.as_bytes())) else { continue };
        for (own, _) in &files[..number + usize::from(is_made)] {
            // What went wrong first is told, whether or not a file stays.
            let _ = fs::remove_file(own);
        }
        return Err(match error.kind() {
            ErrorKind::AlreadyExists => {
                Failure::text(format!("{} exists already", file.display())).help("name a new file")
            }
            _ => Failure::text(format!("cannot write {}: {error}", file.display())),
        });
    }
    Ok(())
}
