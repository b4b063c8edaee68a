//! What is known of each GPU: a page of the book.

use sim_models::hardware::catalogue::gpus;
use sim_models::hardware::precision::Precision;
use sim_models::hardware::profile::Profile;

/// The formats that models are served in.
const PRECISIONS: [Precision; 3] = [Precision::Bf16, Precision::Fp8, Precision::Int8];

/// Where the times of a GPU in a precision come from.
fn badge(gpu: &str, precision: Precision) -> &'static str {
    match Profile::of_gpu(gpu) {
        Some(profile) if profile.gemm.iter().any(|table| table.precision == precision) => {
            if profile.kernel_set.starts_with("tenfold-microbench") { "measured" } else { "imported" }
        }
        _ => "estimate",
    }
}

/// The page: a badge for each GPU and precision. Made again by `cargo run -p validation --example gpus_md`.
pub fn gpus_md() -> String {
    let mut page = String::from(
        "# GPUs: measured, imported or estimated\n\n\
         Where step times come from without a `timing` of your own. **measured**: kernels timed by `tenfold-microbench` and \
         checked on whole passes that the fit never saw. **imported**: kernels timed by others. **estimate**: datasheet figures \
         times the shares that an H100 (or, where the catalogue has figures of others, the GPU itself) reaches.\n\n",
    );
    page += "Measured so far: [an H200](measured.md). [How to measure your own GPU](../measure.md).\n\n";
    page += "| GPU |";
    page += &PRECISIONS.map(|precision| format!(" {precision} |")).concat();
    page += "\n|---|---|---|---|\n";
    for gpu in gpus().iter().filter(|gpu| !gpu.is_host()) {
        let cells = PRECISIONS.map(|precision| match gpu.unsupported.contains(&precision) {
            true => " no kernels |".to_owned(),
            false => format!(" {} |", badge(&gpu.id, precision)),
        });
        page += &format!("| `{}` |{}\n", gpu.id, cells.concat());
    }
    page += "\nResults name it, too: `calibrated (kernel profile)`, `estimate`, `uncalibrated (datasheet)`, or `calibrated \
             (fitted to measurements)` after `tenfold calibrate`. A profile that `tenfold profile derive` made says `estimate`, \
             from which profile, and by how much it may be off.\n";
    page
}
