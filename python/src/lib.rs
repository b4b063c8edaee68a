//! The native part of the Python package `tenfold`: arguments in, calls to `scenarios`, results out. What needs
//! no Rust is Python, in `tenfold/`.

mod calibrate;
mod convert;
mod error;
mod experiments;
mod frame;
mod plan;
mod report;
mod scenario;
mod stress;
mod sweep;
mod value;
mod work;

use pyo3::prelude::pymodule;

/// The simulator, compiled. Use it through the package `tenfold`.
#[pymodule]
mod _tenfold {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::calibrate::{Calibration, calibrate};
    #[pymodule_export]
    use crate::experiments::{Comparison, RunResult, compare, run, validate};
    #[pymodule_export]
    use crate::frame::Frame;
    #[pymodule_export]
    use crate::plan::{PlanResult, plan};
    #[pymodule_export]
    use crate::report::Report;
    #[pymodule_export]
    use crate::scenario::{Scenario, library, schema};
    #[pymodule_export]
    use crate::stress::{StressResult, stress};
    #[pymodule_export]
    use crate::sweep::{Sweep, merge, merged_report};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::work::remember_process();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
