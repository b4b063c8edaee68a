//! What cannot be simulated, at the key of the setting that it is about.

use crate::error::ConfigError;
use crate::hardware::HardwareError;
use crate::hardware::timing::{Pass, StepFunction};
use crate::llm::engine::{self, EngineConfig};

/// Refuses efficiencies so low that a step's ticks would overflow.
pub(in crate::llm) fn check_longest_step(
    config: &EngineConfig,
    step: &StepFunction,
    figures: &str,
) -> Result<(), ConfigError> {
    let tokens = match config.kv_groups.full {
        0 => u64::from(config.max_num_seqs) * config.max_model_len.map_or(1 << 30, u64::from),
        full => u64::from(config.usable_blocks() / full) * u64::from(config.block_size),
    };
    // What is computed is in the cache from then on, and no token sees more than a sequence's.
    let budget = tokens.min(config.clone().effective().max_num_batched_tokens.into());
    let context = tokens.min(config.max_model_len.map_or(u64::MAX, u64::from));
    let prefill_work = Pass::chunk_work(context, budget.min(context)) * budget.div_ceil(context.max(1));
    let longest = Pass {
        sequences: config.max_num_seqs.into(),
        new_tokens: budget,
        decode_context: tokens,
        prefill_work,
        windowed_context: tokens,
        windowed_work: prefill_work,
        ..Pass::default()
    };
    match step.stages().all(|stage| stage.checked_ticks(&longest).is_some()) {
        true => Ok(()),
        false => Err(ConfigError::new(["timing", figures], "a step could take more than 208 days")
            .help("expected shares of the datasheet's figures, such as 0.8")),
    }
}

/// Puts an error at the key of the setting that it is about.
pub(in crate::llm) fn refused(error: HardwareError) -> ConfigError {
    match error {
        HardwareError::UnknownName(error) => {
            ConfigError::new([error.kind], format!("unknown {} `{}`", error.kind, error.name))
                .help(format!("expected {}", error.accepted()))
        }
        HardwareError::ModelFile(error) => {
            let refusal = ConfigError::new(["model"], error.to_string());
            match error.accepted {
                Some(accepted) => refusal.help(accepted),
                None => refusal,
            }
        }
        HardwareError::Encoder(_) => {
            ConfigError::new(["model"], error.to_string()).help("expected a model that generates text")
        }
        HardwareError::NoKernels { .. } | HardwareError::NoExperts { .. } => {
            ConfigError::new(["precision"], error.to_string())
        }
        HardwareError::DoesNotFit(error) => {
            ConfigError::new(["model"], error.shortfall()).help(error.suggestion())
        }
        HardwareError::OutOfRange { name, value, expected } => {
            ConfigError::new([name], format!("{name} is {value}")).help(format!("expected {expected}"))
        }
        HardwareError::DataParallel { .. } => ConfigError::new(["data_parallel_size"], error.to_string()),
        HardwareError::TensorParallel(_)
        | HardwareError::Indivisible { .. }
        | HardwareError::SplitHost { .. } => ConfigError::new(["tensor_parallel"], error.to_string()),
        HardwareError::KvPrecision(_) => ConfigError::new(["kv_precision"], error.to_string()),
        HardwareError::Profile(error) => ConfigError::new(["timing", "profile"], error.to_string()),
    }
}

pub(in crate::llm) fn engine_refused(error: engine::ConfigError) -> ConfigError {
    use engine::ConfigError::{
        BudgetBelowSequences, BudgetTooLarge, CacheTooLarge, HostBelowGpu, NotTogether,
        OffloadWithoutCaching, PreferredTooLarge, ReservationTooLarge, TooFewBlocks, Zero,
    };
    let key = match error {
        PreferredTooLarge { .. } => {
            return ConfigError::new(["dynamic_batching", "preferred_batch_size"], error.to_string());
        }
        ReservationTooLarge { .. } => "max_model_len",
        Zero { parameter } => parameter,
        BudgetTooLarge { .. } | BudgetBelowSequences { .. } => "max_num_batched_tokens",
        TooFewBlocks { .. } | CacheTooLarge { .. } => "kv_blocks",
        OffloadWithoutCaching { .. } => "kv_offload",
        HostBelowGpu { .. } => "lora",
        NotTogether { other, .. } => match other {
            "speculative decoding" => "speculative",
            other => other,
        },
    };
    ConfigError::new([key], error.to_string())
}
