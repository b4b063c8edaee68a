//! Errors of Rust as exceptions of Python.

use miette::{GraphicalReportHandler, GraphicalTheme};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use scenarios::ScenarioError;
use scenarios::results::ResultsError;
use scenarios::sweep::SweepError;

/// Options of the command that errors name, and the arguments of Python that they are; what begins with another stands
/// before it.
const ARGUMENTS: [(&str, &str); 13] = [
    ("--axis components.db.servers=1,2,4", r#"axes={"components.db.servers": [1, 2, 4]}"#),
    ("--axis components.db.servers=1..8/1", r#"axes={"components.db.servers": "1..8/1"}"#),
    ("--axis", "axes"),
    ("--out names", "out= names"),
    ("--requests-per-user 6/h", r#"requests_per_user="6/h""#),
    ("--resume takes", "resume=True takes"),
    ("--scale 10x", r#"scale="10x""#),
    ("--scale", "scale"),
    ("--set", "set"),
    ("--users of", "users= of"),
    ("--variant NAME", r#"variant="NAME""#),
    ("--variant", "variant"),
    ("PATH=VALUES: a list (components.db.servers=1,2,4)", "values by path: a list (1,2,4)"),
];

/// A text of an error with the names that Python has for what it is about.
fn in_python(text: &str) -> String {
    ARGUMENTS.iter().fold(text.to_owned(), |text, (option, argument)| text.replace(option, argument))
}

/// The exception for what is wrong with a scenario: `tenfold.ScenarioError` with file, line, column and remedy, and
/// with the place in the file as a note.
pub fn of_scenario(py: Python<'_>, error: &ScenarioError) -> PyErr {
    let make = || -> PyResult<PyErr> {
        let excerpt = error.line().map(|_| {
            let mut text = String::new();
            let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
            handler.render_report(&mut text, error).map(|()| text).unwrap_or_default()
        });
        // Lines of a file stay as they are.
        let of_file = error.file().is_some_and(|file| !file.starts_with("--"));
        let excerpt = excerpt.map(|text| if of_file { text } else { in_python(&text) });
        let class = py.import("tenfold._errors")?.getattr("ScenarioError")?;
        let file = error.file().map(|file| if of_file { file.to_owned() } else { in_python(file) });
        let (message, help) = (in_python(error.message()), error.help_text().map(in_python));
        let arguments = (message, file, error.line(), error.column(), help, excerpt);
        Ok(PyErr::from_value(class.call1(arguments)?))
    };
    make().unwrap_or_else(|other| other)
}

/// `ValueError` for an argument that cannot be read, with what would be accepted.
pub fn of_value(argument: &str, error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("{argument}: {error}"))
}

/// `OSError` for what cannot be written.
pub fn of_results(error: &ResultsError) -> PyErr {
    PyOSError::new_err(error.to_string())
}

/// `OSError` for what cannot be read or written, `tenfold.ScenarioError` for directories of something else.
pub fn of_sweep(py: Python<'_>, error: &SweepError) -> PyErr {
    match error {
        SweepError::Results(error) => of_results(error),
        SweepError::Mismatch(message) => {
            let help = "resume=True takes up a sweep of the same scenario, axes and version; out= names another directory";
            of_scenario(py, &ScenarioError::new(message).with_help(help))
        }
    }
}
