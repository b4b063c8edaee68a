//! What breaks and when, as events of components.

use indexmap::IndexMap;
use sim_core::time::SimTime;

use super::accepted;
use crate::component::{ComponentId, Fault};
use crate::error::ConfigError;
use crate::system::Trouble;
use crate::system::config::{ComponentConfig, FaultConfig, FaultKind};

/// All faults and their ends, by time as they are given.
pub(super) fn faults(
    config: &[FaultConfig],
    ids: &IndexMap<&str, ComponentId>,
    components: &IndexMap<String, ComponentConfig>,
) -> Result<Vec<(SimTime, ComponentId, Trouble)>, ConfigError> {
    let mut list = Vec::new();
    for (index, fault) in config.iter().enumerate() {
        let trouble = |what| fault.role.map_or(Trouble::Within(what), |role| Trouble::WithinRole(role, what));
        let within = |breaks, mends| (trouble(breaks), trouble(mends));
        let index = index.to_string();
        let wrong = |key: &str, message: String| ConfigError::new(["fault", &index, key], message);
        let first_component = ids.len() - components.len();
        let target =
            ids.get(fault.target.as_str()).filter(|id| id.index() >= first_component).ok_or_else(|| {
                wrong("target", format!("unknown component `{}`", fault.target))
                    .help(accepted(ids.keys().skip(first_component).copied()))
            })?;
        let component = &components[&fault.target];
        let at = SimTime::ZERO.checked_add(fault.at.get()).expect("from zero");
        let replicas = count(fault, component).map_err(|error| error.within(&index).within("fault"))?;
        if fault.share.is_some() && fault.kind != FaultKind::ErrorRate {
            return Err(wrong("share", "only an `error_rate` fault has a `share`".into()));
        }
        if fault.role.is_some() && !component.is_disaggregated() {
            let message = format!("the replicas of `{}` have no roles", fault.target);
            return Err(wrong("role", message).help("expected an `llm` that is `disaggregated` as target"));
        }
        if fault.role.is_some() && matches!(fault.kind, FaultKind::Slow | FaultKind::ErrorRate) {
            return Err(wrong("role", "only a `crash`, a `hang` and a `drain` have a `role`".into()));
        }
        let (breaks, mends) = match (fault.kind, fault.replicas, fault.factor) {
            (FaultKind::Hang | FaultKind::Drain, ..) if !component.is_pool() => {
                return Err(wrong("kind", format!("`{}` is no pool of replicas", fault.target)).help(
                    "expected crash or slow; an `llm`, or a `service` or `model_server` with `replicas`, can hang or drain",
                ));
            }
            (FaultKind::SpotInterruption, ..) if component.spot().is_none() => {
                return Err(wrong("kind", format!("`{}` has no spot capacity", fault.target))
                    .help("expected `spot` in it, such as spot = { provider = \"aws\" }"));
            }
            (FaultKind::SpotInterruption, _, None) => {
                if fault.repair.is_some() {
                    return Err(wrong("repair", "an interruption has no `repair`".into())
                        .help("when there is capacity again is said by spot.capacity_return of the target"));
                }
                let interrupt = Fault::Interrupt { replicas };
                within(interrupt, interrupt)
            }
            (FaultKind::Slow, ..) if component.kind() == "training" => {
                return Err(wrong("kind", "a training job is not slowed down".into())
                    .help("expected crash or spot_interruption"));
            }
            (FaultKind::Crash, _, None) => within(Fault::Crash { replicas }, Fault::Repair { replicas }),
            (FaultKind::Hang, _, None) => within(Fault::Hang { replicas }, Fault::Restart { replicas }),
            (FaultKind::Drain, _, None) => within(Fault::Drain { replicas }, Fault::Undrain { replicas }),
            (FaultKind::Slow, None, Some(factor)) if factor.is_finite() && factor > 0.0 => {
                within(Fault::Slow { factor }, Fault::Slow { factor: 1.0 })
            }
            (FaultKind::ErrorRate, None, None) => {
                let share = fault.share.ok_or_else(|| {
                    wrong("kind", "an `error_rate` fault needs a `share`".into())
                        .help("expected a number from 0 to 1, such as 0.5")
                })?;
                (Trouble::Errors(share.get()), Trouble::Errors(0.0))
            }
            (FaultKind::ErrorRate, Some(_), None) => {
                return Err(wrong("replicas", "an `error_rate` fault has no `replicas`".into()));
            }
            (
                FaultKind::Crash
                | FaultKind::Hang
                | FaultKind::Drain
                | FaultKind::ErrorRate
                | FaultKind::SpotInterruption,
                _,
                Some(_),
            ) => {
                return Err(wrong("factor", "only a `slow` fault has a `factor`".into()));
            }
            (FaultKind::Slow, Some(_), _) => {
                return Err(wrong("replicas", "a `slow` fault has no `replicas`".into()));
            }
            (FaultKind::Slow, None, factor) => {
                let message =
                    factor.map_or("a `slow` fault needs a `factor`".into(), |f| format!("`factor` is {f}"));
                return Err(wrong("factor", message).help("expected a number above 0, such as 10"));
            }
        };
        list.push((at, *target, breaks));
        if let Some(repair) = fault.repair {
            let mended = at.checked_add(repair.get()).map_err(|error| wrong("repair", error.to_string()))?;
            list.push((mended, *target, mends));
        }
    }
    Ok(list)
}

/// How many servers or replicas a fault concerns. Replicas that cannot do without one another break together.
fn count(fault: &FaultConfig, component: &ComponentConfig) -> Result<u32, ConfigError> {
    let wrong = |message: &str, help: &str| Err(ConfigError::new(["gpus"], message).help(help));
    let group = component.blast_group(fault.role);
    match (fault.kind, fault.gpus, fault.replicas) {
        (_, None, None) => Ok(u32::MAX),
        (_, Some(_), Some(_)) => wrong("both `gpus` and `replicas` are given", "keep one of the two"),
        (FaultKind::Crash | FaultKind::Hang, Some(gpus), None) => match group {
            Some(group) => Ok(gpus.div_ceil(group.gpus).saturating_mul(group.replicas)),
            None => {
                let message = format!("`{}` is no `llm` on GPUs of its own", fault.target);
                wrong(&message, "expected `replicas`")
            }
        },
        (_, Some(_), None) => wrong("only a `crash` and a `hang` have `gpus`", "expected `replicas`"),
        (FaultKind::Crash | FaultKind::Hang, None, Some(replicas)) => {
            let together = group.map_or(1, |group| group.replicas);
            Ok(replicas.checked_next_multiple_of(together).unwrap_or(u32::MAX))
        }
        (_, None, Some(replicas)) => Ok(replicas),
    }
}
