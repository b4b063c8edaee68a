//! `tenfold import otel`: a scenario to start from, out of traces.

use std::path::Path;
use std::process::ExitCode;

use scenarios::otel::{self, ImportOptions};
use scenarios::results::show::plural;

use crate::args::OtelArgs;
use crate::new::write_all_new;
use crate::output::{Failure, print, quoted};

/// Writes the scenario, or prints it on standard output; what the traces could not tell stands in it and on stderr.
pub fn otel(args: &OtelArgs) -> Result<ExitCode, Failure> {
    let stem = args.out.as_deref().and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
    let options =
        ImportOptions { sampled: args.sampled, gpu: args.gpu.clone(), replay: stem.filter(|_| args.replay) };
    let imported = otel::import(&args.file, &options)?;
    for note in &imported.notes {
        say!("note: {note}");
    }
    let Some(out) = &args.out else { return print(&imported.text).map(|()| ExitCode::SUCCESS) };
    let traces = imported.traces.iter().map(|(name, trace)| (out.with_file_name(name), trace.as_str()));
    let files: Vec<_> = std::iter::once((out.clone(), imported.text.as_str())).chain(traces).collect();
    write_all_new(&files)?;
    print(&format!(
        "wrote {} from {}, {} from outside; run it with: tenfold run {}",
        out.display(),
        plural(imported.spans as f64, "span"),
        plural(imported.requests as f64, "request"),
        quoted(out.display()),
    ))?;
    Ok(ExitCode::SUCCESS)
}
