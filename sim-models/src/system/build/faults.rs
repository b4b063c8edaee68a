//! What breaks and when, as events of components.

use std::collections::BTreeMap;

use sim_core::distribution::{Dist, Exponential};
use sim_core::random::{Purpose, Streams};
use sim_core::time::SimTime;

use super::{Calls, accepted, called_ends};
use crate::component::{ComponentId, Fault};
use crate::error::ConfigError;
use crate::system::config::{ComponentConfig, FaultConfig, FaultKind, SystemConfig};
use crate::system::zones::Zones;
use crate::system::{Step, Then, Trouble};

/// The first steps: when, and which.
pub(super) type Starts = Vec<(SimTime, u32)>;

/// All faults and their ends as they are given, and when the first of them happen.
pub(super) fn faults(
    config: &SystemConfig,
    calls: &Calls,
    zones: &Zones,
    streams: Streams,
) -> Result<(Vec<Step>, Starts), ConfigError> {
    let (mut steps, mut first) = (Vec::new(), Vec::new());
    let mut namesakes = BTreeMap::new();
    for (index, fault) in config.faults.iter().enumerate() {
        let within = |error: ConfigError| error.within(index.to_string()).within("fault");
        let (target, breaks, mends) = troubles(fault, config, calls, zones).map_err(within)?;
        // By what it is, not by its place in the list: a fault more or less does not move the others.
        let namesake = namesakes.entry((fault.target.as_str(), name(fault.kind))).or_insert(0u32);
        *namesake += 1;
        let stream = |what: &str| {
            let name = format!("{} {} {namesake} {what}", fault.target, name(fault.kind));
            streams.keyed(&name, Purpose::Faults)
        };
        let repair = fault.repair.as_ref().map(|repair| repair.build()).transpose();
        let repair = repair.map_err(|error| within(wrong("repair", error.to_string())))?;
        let number = steps.len() as u32;
        let then = |step, after, stream| Then { step, after, stream, drawn: 0 };
        match (up_times(fault).map_err(within)?, repair) {
            (Err(at), repair) => {
                first.push((at, number));
                steps.push(Step { target, trouble: breaks, then: None });
                if let Some(repair) = repair {
                    let length = then(number, repair, stream("repair")).draw();
                    let mended = at.checked_add(length);
                    first.push((mended.map_err(|e| within(wrong("repair", e.to_string())))?, number + 1));
                    steps.push(Step { target, trouble: mends.unwrap_or(breaks), then: None });
                }
            }
            (Ok(up), repair) => {
                let next = number + u32::from(repair.is_some());
                let mut until = then(number, up, stream("up"));
                if let Ok(at) = SimTime::ZERO.checked_add(until.draw()) {
                    first.push((at, number));
                }
                match repair {
                    Some(repair) => {
                        let then = Some(then(next, repair, stream("repair")));
                        steps.push(Step { target, trouble: breaks, then });
                        steps.push(Step { target, trouble: mends.unwrap_or(breaks), then: Some(until) });
                    }
                    None => steps.push(Step { target, trouble: breaks, then: Some(until) }),
                }
            }
        }
    }
    Ok((steps, first))
}

fn wrong(key: &str, message: String) -> ConfigError {
    ConfigError::new([key], message)
}

/// The times between its repair and its next start, of a fault at random, or when it starts.
fn up_times(fault: &FaultConfig) -> Result<Result<Dist, SimTime>, ConfigError> {
    let help = "expected one of them, such as at = \"10m\" or mtbf = \"4h\"";
    match (fault.at, fault.mtbf) {
        (Some(at), None) => Ok(Err(SimTime::ZERO.checked_add(at.get()).expect("from zero"))),
        (None, Some(mtbf)) => {
            if fault.repair.is_none()
                && !matches!(fault.kind, FaultKind::ColdCache | FaultKind::SpotInterruption)
            {
                return Err(wrong("repair", "a fault at random needs a `repair`".into())
                    .help("expected a time or a distribution, such as \"5m\" or { exponential = { mean = \"5m\" } }"));
            }
            let law = Exponential::with_mean(mtbf.get().as_secs_f64());
            law.map(|law| Ok(law.into())).map_err(|_| {
                wrong("mtbf", "`mtbf` is 0".into()).help("expected a time above 0, such as \"4h\"")
            })
        }
        (Some(_), Some(_)) => Err(wrong("mtbf", "both `at` and `mtbf` are given".into()).help(help)),
        (None, None) => Err(wrong("at", "neither `at` nor `mtbf` is given".into()).help(help)),
    }
}

/// Kinds as scenario files name them.
fn name(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Crash => "crash",
        FaultKind::Hang => "hang",
        FaultKind::Drain => "drain",
        FaultKind::Slow => "slow",
        FaultKind::ErrorRate => "error_rate",
        FaultKind::ZoneLoss => "zone_loss",
        FaultKind::Partition => "partition",
        FaultKind::Outage => "outage",
        FaultKind::ColdCache => "cold_cache",
        FaultKind::StockOut => "stock_out",
        FaultKind::SpotInterruption => "spot_interruption",
    }
}

/// Whom a fault hits, what it does, and what ends it; none where there is nothing to end.
fn troubles(
    fault: &FaultConfig,
    config: &SystemConfig,
    calls: &Calls,
    zones: &Zones,
) -> Result<(ComponentId, Trouble, Option<Trouble>), ConfigError> {
    let kind = fault.kind;
    refuse_other_keys(fault)?;
    let cut = |caller, mended| Trouble::Cut { caller, fail_fast: fault.fail_fast, mended };
    if kind == FaultKind::Partition {
        let (from, to) = called_ends(&fault.target, calls)
            .map_err(|error| ConfigError { path: vec!["target".into()], ..error })?;
        let caller = Some(calls.ids[from]);
        return Ok((calls.ids[to], cut(caller, false), Some(cut(caller, true))));
    }
    if kind == FaultKind::ZoneLoss {
        let Some(zone) = zones.find(&fault.target) else {
            return Err(wrong("target", format!("no component is in a zone `{}`", fault.target))
                .help(format!("{}; `[placement]` says which component is where", accepted(zones.names()))));
        };
        let of = |mended| Trouble::Zone { zone, mended };
        return Ok((ComponentId(0), of(false), Some(of(true))));
    }
    let target = &fault.target;
    let Some(component) = config.components.get(target) else {
        let names = config.components.keys().map(String::as_str);
        return Err(wrong("target", format!("unknown component `{target}`")).help(accepted(names)));
    };
    let id = calls.ids[target.as_str()];
    let replicas = count(fault, component)?;
    if fault.role.is_some() && !component.is_disaggregated() {
        return Err(wrong("role", format!("the replicas of `{target}` have no roles"))
            .help("expected an `llm` that is `disaggregated` as target"));
    }
    let trouble = |what| fault.role.map_or(Trouble::Within(what), |role| Trouble::WithinRole(role, what));
    let within = |breaks, mends| (id, trouble(breaks), Some(trouble(mends)));
    Ok(match kind {
        FaultKind::Hang | FaultKind::Drain if !component.is_pool() => {
            return Err(wrong("kind", format!("`{target}` is no pool of replicas")).help(
                "expected crash or slow; an `llm`, or a `service` or `model_server` with `replicas`, can hang or drain",
            ));
        }
        FaultKind::SpotInterruption if component.spot().is_none() => {
            return Err(wrong("kind", format!("`{target}` has no spot capacity"))
                .help("expected `spot` in it, such as spot = { provider = \"aws\" }"));
        }
        FaultKind::SpotInterruption => (id, Trouble::Within(Fault::Interrupt { replicas }), None),
        FaultKind::Slow if component.kind() == "training" => {
            return Err(wrong("kind", "a training job is not slowed down".into())
                .help("expected crash or spot_interruption"));
        }
        FaultKind::Slow if component.kind() == "flow" => {
            return Err(wrong("kind", "a flow takes no time of its own, so it cannot be slow".into())
                .help("expected crash, or one of the components that it calls as target"));
        }
        FaultKind::Crash => within(Fault::Crash { replicas }, Fault::Repair { replicas }),
        FaultKind::Hang => within(Fault::Hang { replicas }, Fault::Restart { replicas }),
        FaultKind::Drain => within(Fault::Drain { replicas }, Fault::Undrain { replicas }),
        FaultKind::Slow => match fault.factor {
            Some(factor) if factor.is_finite() && factor > 0.0 => {
                let of = |mended| Trouble::Slow { factor, mended };
                (id, of(false), Some(of(true)))
            }
            factor => {
                let message =
                    factor.map_or("a `slow` fault needs a `factor`".into(), |f| format!("`factor` is {f}"));
                return Err(wrong("factor", message).help("expected a number above 0, such as 10"));
            }
        },
        FaultKind::ErrorRate => {
            let share = fault.share.ok_or_else(|| {
                wrong("kind", "an `error_rate` fault needs a `share`".into())
                    .help("expected a number from 0 to 1, such as 0.5")
            })?;
            let of = |mended| Trouble::Errors { share: share.get(), mended };
            (id, of(false), Some(of(true)))
        }
        FaultKind::ColdCache if !component.has_cache() => {
            return Err(wrong("kind", format!("`{target}` has no cache that can be emptied")).help(
                "expected a `semantic_cache`, a `feature_store` with `cache`, or an `llm` with `enable_prefix_caching`",
            ));
        }
        FaultKind::ColdCache => (id, Trouble::Within(Fault::ColdCache), None),
        FaultKind::StockOut if !component.is_autoscaled() => {
            return Err(wrong("kind", format!("`{target}` never asks for replicas"))
                .help("expected a pool with an `autoscaler`"));
        }
        FaultKind::StockOut => within(Fault::StockOut, Fault::Restock),
        FaultKind::Outage => (id, cut(None, false), Some(cut(None, true))),
        FaultKind::Partition | FaultKind::ZoneLoss => unreachable!("they have no component"),
    })
}

/// Keys that say nothing of a kind.
fn refuse_other_keys(fault: &FaultConfig) -> Result<(), ConfigError> {
    use FaultKind::{ColdCache, Crash, Drain, ErrorRate, Hang, Outage, Partition, Slow, SpotInterruption};
    let kind = fault.kind;
    let has_role = matches!(kind, Crash | Hang | Drain);
    let of_replicas = has_role || kind == SpotInterruption;
    let unfit = [
        (
            "replicas",
            fault.replicas.is_some() && !of_replicas,
            "only `crash`, `hang`, `drain` and `spot_interruption` faults have",
        ),
        ("role", fault.role.is_some() && !has_role, "only a `crash`, a `hang` and a `drain` have"),
        ("gpus", fault.gpus.is_some() && !matches!(kind, Crash | Hang), "only a `crash` and a `hang` have"),
        ("factor", fault.factor.is_some() && kind != Slow, "only a `slow` fault has"),
        ("share", fault.share.is_some() && kind != ErrorRate, "only an `error_rate` fault has"),
        (
            "fail_fast",
            fault.fail_fast && !matches!(kind, Partition | Outage),
            "only `partition` and `outage` faults have",
        ),
        (
            "repair",
            fault.repair.is_some() && kind == ColdCache,
            "all but `cold_cache` faults, after which a cache fills again by itself, have",
        ),
        (
            "repair",
            fault.repair.is_some() && kind == SpotInterruption,
            "`spot.capacity_return` of the target says when there is capacity again: no interruption has a",
        ),
    ];
    match unfit.into_iter().find(|(_, is_unfit, _)| *is_unfit) {
        Some((key, _, who)) => Err(wrong(key, format!("{who} `{key}`")).help(format!("remove `{key}`"))),
        None => Ok(()),
    }
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
        (_, Some(_), None) => Ok(u32::MAX),
        (FaultKind::Crash | FaultKind::Hang, None, Some(replicas)) => {
            let together = group.map_or(1, |group| group.replicas);
            Ok(replicas.checked_next_multiple_of(together).unwrap_or(u32::MAX))
        }
        (_, None, Some(replicas)) => Ok(replicas),
    }
}
