//! What is known of each GPU: a page of the book.

use sim_models::hardware::catalogue::{Gpu, gpus};
use sim_models::hardware::precision::Precision;
use sim_models::hardware::profile::{ESTIMATE_ERROR, Profile};
use sim_models::hardware::timing::Calibration;
use sim_models::llm::LlmConfig;

use super::{Measured, Operation, Sizes};
use crate::published::IMPORTED_ERROR;

/// The model whose steps are asked for: a decoder without anything that a profile could lack, or one with experts for the
/// format that is theirs.
fn model(precision: Precision) -> &'static str {
    if precision == Precision::Mxfp4 { "gpt-oss-20b" } else { "llama-3.1-8b" }
}

/// Where the times of a GPU in a precision come from, as results say it; none where it has no kernels for it.
fn calibration(gpu: &Gpu, precision: Precision, tensor_parallel: u32) -> Option<Calibration> {
    let model = LlmConfig::new(model(precision), &gpu.id);
    let config = LlmConfig { precision: Some(precision), tensor_parallel, ..model };
    config.step_function().ok().map(|step| step.calibration())
}

/// The badge: the first word of what results say.
fn badge(calibration: Calibration) -> String {
    let words = calibration.to_string();
    words.split_once(" (").map_or(words.clone(), |(word, _)| word.to_owned())
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// The errors in what was measured, in a precision, by the profile or by the datasheet.
fn of_measured(measured: &Measured, precision: Precision, datasheet: bool) -> String {
    let passes = [Operation::DecodePass, Operation::PrefillPass, Operation::Kernels];
    let said = passes.into_iter().filter_map(|operation| {
        let Sizes { median, p90, .. } = measured.report.sizes(operation, precision, datasheet)?;
        Some(format!("{} {} and {}", operation.name(), percent(median), percent(p90)))
    });
    said.collect::<Vec<_>>().join(", ")
}

/// The errors that are stated of a profile, in a precision.
fn stated(profile: &Profile, measured: &Measured, precision: Precision) -> String {
    match profile.calibration() {
        Calibration::Measured if profile.gpu == measured.profile.gpu => {
            of_measured(measured, precision, false)
        }
        // 16 bits are timed as one.
        Calibration::Imported => match IMPORTED_ERROR
            .iter()
            .find(|stated| stated.0 == if precision == Precision::Fp16 { Precision::Bf16 } else { precision })
        {
            Some((_, median, p90)) => format!(
                "kernels together, left out of a profile of the other half, {} and {}",
                percent(*median),
                percent(*p90)
            ),
            None => "not known".to_owned(),
        },
        _ => format!("up to {:.0}%", 100.0 * ESTIMATE_ERROR),
    }
}

/// The page: a badge for each GPU and precision, and what it rests on. Made again by
/// `cargo run -p validation --example gpus_md`.
pub fn gpus_md(measured: &Measured) -> String {
    let mut page = String::from(
        "# GPUs: measured, imported or estimated\n\n\
         Where step times come from without a `timing` of your own, in the word that results begin with (`calibration` in the \
         frames, `timing` in the table of GPU pools, \"GPU times\" in the app). **measured**: kernels timed by \
         `tenfold-microbench` and checked on whole passes that the fit never saw. **imported**: kernels timed by others. \
         **estimate**: datasheet figures times the shares that an H100 (or, where the catalogue has figures of others, the GPU \
         itself) reaches; uncalibrated. After `tenfold calibrate` it is **calibrated**, whatever it was before.\n\n",
    );
    page += "Measured so far: [an H200](measured.md). [How to measure your own GPU](../measure.md). [What others published, \
             predicted](published.md).\n\n";
    page += "| GPU |";
    page += &Precision::ALL.map(|precision| format!(" {precision} |")).concat();
    page += &format!("\n|{}\n", "---|".repeat(Precision::ALL.len() + 1));
    for gpu in gpus().iter().filter(|gpu| !gpu.is_host()) {
        let cells = Precision::ALL.map(|precision| match calibration(gpu, precision, 1) {
            Some(calibration) => format!(" {} |", badge(calibration)),
            None => " no kernels |".to_owned(),
        });
        page += &format!("| `{}` |{}\n", gpu.id, cells.concat());
    }
    page += "\n## What it rests on, and the error that is stated\n\n\
             Errors are sizes of predicted over measured, less one: median and 90th percentile.\n\n\
             | GPU | precision | badge | on several GPUs | source | stated error |\n|---|---|---|---|---|---|\n";
    for gpu in gpus().iter().filter(|gpu| !gpu.is_host()) {
        for precision in Precision::ALL {
            let Some(calibration_of_one) = calibration(gpu, precision, 1) else { continue };
            let profile = Profile::of_gpu(&gpu.id);
            let Some(profile) = profile.filter(|_| calibration_of_one != Calibration::Datasheet) else {
                continue;
            };
            let several = calibration(gpu, precision, 2).map_or("-".to_owned(), badge);
            page += &format!(
                "| `{}` | {precision} | {} | {several} | `{}`: kernels of {} | {} |\n",
                gpu.id,
                badge(calibration_of_one),
                profile.id,
                profile.kernel_set,
                stated(profile, measured, precision),
            );
        }
    }
    let looked_at = [Precision::Bf16, Precision::Fp8]
        .map(|precision| format!("in {precision} {}", of_measured(measured, precision, true)));
    page += &format!(
        "\nAll others are estimates by the datasheet. On the GPU where that can be looked at (`{}`) it misses {}. A profile that \
         `tenfold profile derive` makes of another GPU's is an estimate too, off by up to {:.0}% in the shares of a datasheet \
         that kernels reach; its results say from which profile.\n",
        measured.profile.gpu,
        looked_at.join(" and "),
        100.0 * ESTIMATE_ERROR
    );
    page
}
