//! The settings of a system that name files.

use std::path::{Path, PathBuf};

use super::config::{ComponentConfig, SystemConfig};
use crate::hardware::catalogue::is_model_file;
use crate::llm::is_profile_file;
use crate::traffic::arrivals::ArrivalsConfig;

impl SystemConfig {
    /// Whether a setting names a file, by its key and its value.
    pub fn is_file(key: &str, value: &str) -> bool {
        match key {
            "path" => true,
            "model" => is_model_file(value),
            "profile" => is_profile_file(value),
            _ => false,
        }
    }

    /// The files that it names: recorded traffic, models, profiles and joint tables.
    fn named_files(&mut self) -> impl Iterator<Item = &mut String> {
        let mut settings: Vec<(&str, &mut String)> = Vec::new();
        for traffic in self.traffic.values_mut() {
            if let ArrivalsConfig::Trace { path, .. } = &mut traffic.arrivals {
                settings.push(("path", path));
            }
        }
        for component in self.components.values_mut() {
            match component {
                ComponentConfig::Llm(config) => {
                    settings.push(("model", &mut config.model));
                    settings.extend(config.timing.profile.as_mut().map(|profile| ("profile", profile)));
                    let draft = config.speculative.as_mut().and_then(|drafting| drafting.draft.as_mut());
                    settings
                        .extend(draft.and_then(|draft| draft.model.as_mut()).map(|model| ("model", model)));
                }
                ComponentConfig::ModelServer(config) => {
                    settings.extend(config.model.as_mut().map(|model| ("model", model)));
                }
                _ => {}
            }
        }
        if let Some(table) = self.quality.as_mut().and_then(|quality| quality.joint_csv.as_mut()) {
            settings.push(("path", &mut table.path));
        }
        settings.into_iter().filter(|(key, value)| Self::is_file(key, value)).map(|(_, value)| value)
    }

    /// Takes the relative paths of files as relative to `base_dir`.
    pub fn resolve_paths(&mut self, base_dir: &Path) {
        for path in self.named_files() {
            *path = base_dir.join(&*path).display().to_string();
        }
    }

    /// The files that it names, each once, those with relative paths in `base_dir`.
    pub fn files(mut self, base_dir: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.named_files().map(|path| base_dir.join(path)).collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of keys that name files, wherever they are.
    fn by_key(value: &serde_json::Value, found: &mut Vec<PathBuf>) {
        match value {
            serde_json::Value::Object(object) => {
                for (key, value) in object {
                    match value.as_str() {
                        Some(text) if SystemConfig::is_file(key, text) => found.push(text.into()),
                        _ => by_key(value, found),
                    }
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| by_key(item, found)),
            _ => {}
        }
    }

    #[test]
    fn keys_and_settings_name_the_same_files() {
        let text = r#"
            [traffic.web]
            arrivals = { process = "trace", path = "trace.csv" }
            entry = "llm"
            [components.llm]
            kind = "llm"
            model = "large.json"
            gpu = "h100-sxm"
            timing = { profile = "own.toml" }
            speculative = { num_speculative_tokens = 3, acceptance_rate = 0.7, draft = { model = "small.json" } }
            [components.listed]
            kind = "llm"
            model = "qwen3-8b"
            gpu = "h100-sxm"
            [components.ranker]
            kind = "model_server"
            model = "ranker.json"
            gpu = "l4"
            [quality]
            models = ["llm"]
            joint_csv = { path = "joint.csv", columns = { llm = "a" } }
        "#;
        let mut system: SystemConfig = toml::from_str(text).unwrap();
        let named = ["joint.csv", "large.json", "own.toml", "ranker.json", "small.json", "trace.csv"];
        assert_eq!(system.clone().files(Path::new("")), named.map(PathBuf::from));
        let mut by_keys = Vec::new();
        by_key(&serde_json::to_value(&system).unwrap(), &mut by_keys);
        by_keys.sort_unstable();
        assert_eq!(by_keys, named.map(PathBuf::from));
        system.resolve_paths(Path::new("base"));
        assert_eq!(system.files(Path::new("")), named.map(|name| Path::new("base").join(name)));
    }
}
