//! Profiles and scenarios as files, so that every prediction can be made again with `tenfold run`.

use std::path::Path;

use scenarios::results::{check_writable, write_text};

use super::calibration::{Calibrated, config_json};
use super::{EngineCheckError, EngineReport};

impl EngineReport {
    /// Writes the report and, under `scenarios`, each engine's profile and each run's scenario and trace.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), EngineCheckError> {
        let page = self.report();
        page.write_pictures(dir)?;
        page.write_html(&dir.join("report.html"))?;
        write_text(&dir.join("report.md"), &self.markdown())?;
        let dir = dir.join("scenarios");
        check_writable(&dir)?;
        for engine in &self.engines {
            let name = &engine.profile.id;
            write_text(&dir.join(format!("{name}.profile.toml")), &engine.profile.to_toml())?;
            write_text(&dir.join(format!("{name}.json")), &config_json(&engine.facts))?;
        }
        for run in &self.compared {
            let own = |engine: &&Calibrated| engine.facts.name == run.engine && engine.mix == run.mix;
            let engine = self.engines.iter().find(own);
            let (Some(engine), Some(recorded)) = (engine, self.recorded.get(&run.run)) else { continue };
            let name = run.run.replace('/', "-");
            let mut csv = String::from("arrival_s,prompt_tokens,output_tokens\n");
            for asked in recorded {
                let (sent, prompt, output) =
                    (asked.sent.as_nanos(), asked.prompt_tokens, asked.output_tokens);
                csv += &format!("{}.{:09},{prompt},{output}\n", sent / 1_000_000_000, sent % 1_000_000_000);
            }
            write_text(&dir.join(format!("{name}.csv")), &csv)?;
            write_text(&dir.join(format!("{name}.toml")), &scenario(engine, &run.run, &name))?;
        }
        Ok(())
    }
}

/// The scenario of a run, whose trace is `file` with `.csv`.
pub(super) fn scenario(engine: &Calibrated, run: &str, file: &str) -> String {
    let Calibrated { facts, profile, fitted, .. } = engine;
    let config = engine.config();
    let precision = engine.precision();
    format!(
        "name = \"{run}\"\n\
         \n\
         [run]\n\
         replications = 1\n\
         warmup = \"0s\"\n\
         \n\
         [traffic.requests]\n\
         arrivals = {{ process = \"trace\", path = \"{file}.csv\" }}\n\
         entry = \"engine\"\n\
         \n\
         # transformers' continuous batching: FIFOScheduler, no prefix sharing.\n\
         [components.engine]\n\
         kind = \"llm\"\n\
         model = \"{id}.json\"\n\
         gpu = \"{gpu}\"\n\
         precision = \"{precision}\"\n\
         max_num_batched_tokens = {tokens}\n\
         max_num_seqs = {seqs}\n\
         block_size = {block}\n\
         kv_blocks = {blocks}\n\
         enable_prefix_caching = false\n\
         async_scheduling = {asynchronous}\n\
         \n\
         [components.engine.timing]\n\
         profile = \"{id}.profile.toml\"\n\
         fitted = {{ compute = 1.0, wake_us = {wake:?}, source = \"{source}\" }}\n",
        id = profile.id,
        gpu = profile.gpu,
        tokens = config.max_num_batched_tokens,
        seqs = config.max_num_seqs,
        asynchronous = config.async_scheduling,
        block = config.block_size,
        blocks = facts.cache_blocks + 1,
        wake = fitted.wake_us.unwrap_or(0.0),
        source = fitted.source,
    )
}
