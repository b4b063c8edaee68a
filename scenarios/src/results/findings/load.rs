//! How loaded each component is while requests are born.

use sim_core::time::SimTime;
use sim_models::link::link_ends;
use sim_models::request::Outcome;
use sim_models::system::RunOutput;
use sim_models::system::recorder::ComponentWindow;

use crate::results::trend::{Trend, pooled, slope};
use crate::run::is_stationary;
use crate::scenario::Scenario;

/// Utilization from which a component counts as saturated.
const SATURATED: f64 = 0.98;

/// Utilization below which a growing queue is a burst and not an overload: servers are free at times.
const NEARLY_SATURATED: f64 = 0.95;

/// Share of the run that a saturated spell must last to be named (assumption).
const SPELL: f64 = 0.05;

/// Share of the windows in which calls must wait for a queue to be a standing one (assumption).
const STANDING: f64 = 0.9;

/// How hard pressed a component with a standing queue must be to be blamed for it (assumption).
const HARD_PRESSED: f64 = 0.8;

/// Growth of a queue over the second half of the run, in calls, below which it is none (assumption).
const FEW_CALLS: f64 = 5.0;

/// A component under load, over all replications.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Load<'a> {
    pub name: &'a str,
    /// Share of servers busy in the measured part in which requests were born.
    pub utilization: Option<f64>,
    /// Share of the KV cache in use in that part, of an LLM pool.
    pub kv: Option<f64>,
    /// The scarcest of its resources in the second half of the run: servers, KV cache, GPU time.
    late_pressure: Option<f64>,
    /// Calls a second by which the queue grows in the second half; none when it does not.
    pub growth: Option<f64>,
    /// Calls that wait all the time in the second half, on average.
    standing: Option<f64>,
    /// Calls a second in the second half.
    pub arrivals: Option<f64>,
    /// Share of its replies that were rejections of calls that it could have taken at another load.
    pub turned_away: f64,
    /// The longest time without a free server, in seconds from the start, in a run whose load changes.
    pub spell: Option<(f64, f64)>,
    /// Whom its calls may reach, directly or through others.
    pub reaches: Vec<&'a str>,
    /// Its place among the components of an output.
    pub index: usize,
    /// It works by a schedule: to be busy all the time is what it is for, as long as no work piles up.
    is_scheduled: bool,
}

impl Load<'_> {
    /// More arrives than it can serve.
    pub(super) fn is_overloaded(&self) -> bool {
        self.growth.is_some() && self.late_pressure.is_none_or(|busy| busy >= NEARLY_SATURATED)
    }

    /// Calls wait for it all the time, though their number stays: callers that give up, or a cap, keep it.
    /// Gives their mean number.
    pub(super) fn standing_queue(&self) -> Option<f64> {
        let pressed = self.late_pressure.is_some_and(|pressure| pressure >= HARD_PRESSED);
        self.standing.filter(|_| pressed && !self.is_scheduled)
    }

    /// Share in use of what it is shortest of, as far as that tells how much more it could serve: the
    /// GPUs of an LLM pool are busy with small batches too.
    pub(super) fn pressure(&self) -> Option<f64> {
        let shares = [self.utilization, self.kv].into_iter().flatten();
        shares.filter(|_| !self.is_scheduled).reduce(f64::max)
    }

    /// It has no servers free, though its queue does not grow.
    pub(super) fn is_saturated(&self) -> bool {
        !self.is_scheduled && self.utilization.is_some_and(|busy| busy >= SATURATED)
    }
}

/// All components, callees before their callers.
pub(super) fn loads<'a>(scenario: &'a Scenario, outputs: &[RunOutput]) -> Vec<Load<'a>> {
    let Some(first) = outputs.first() else { return Vec::new() };
    let changing = !is_stationary(scenario);
    callees_first(scenario)
        .into_iter()
        .filter_map(|(name, reaches)| {
            let index = first.components.iter().position(|component| component.name == name)?;
            let trends: Vec<Trend> = outputs.iter().filter_map(|output| queue_trend(output, index)).collect();
            let growth =
                pooled(&trends).filter(|trend| trend.grows() && trend.slope * trend.span >= FEW_CALLS);
            let meters = || outputs.iter().map(|output| &output.components[index].meter);
            let is_scheduled = !scenario.components[name].answers_calls();
            let replies: u64 = meters().flat_map(|meter| meter.outcomes).sum();
            let rejected: u64 = meters().map(|meter| meter.outcomes[Outcome::Rejected as usize]).sum();
            let reports = outputs.iter().filter_map(|output| output.components[index].llm.as_ref());
            let too_long: u64 = reports.map(|report| report.rejected.too_long()).sum();
            let rejected = rejected.saturating_sub(too_long);
            Some(Load {
                name,
                utilization: utilization(outputs, index, |output| output.measured_from),
                kv: kv(outputs, index, |output| output.measured_from),
                late_pressure: [
                    utilization(outputs, index, second_half),
                    kv(outputs, index, second_half),
                    mean(
                        outputs
                            .iter()
                            .filter_map(|output| Some(output.components[index].llm.as_ref()?.gpu_busy)),
                    ),
                ]
                .into_iter()
                .flatten()
                .reduce(f64::max),
                growth: growth.map(|trend| trend.slope),
                standing: standing(outputs, index),
                arrivals: mean(outputs.iter().filter_map(|output| late_arrivals(output, index))),
                turned_away: if replies == 0 { 0.0 } else { rejected as f64 / replies as f64 },
                spell: if changing && !is_scheduled { longest_spell(first, index) } else { None },
                reaches,
                index,
                is_scheduled,
            })
        })
        .collect()
}

/// Growth of the number of requests in the system in the second half, a second; none when it does
/// not grow beyond doubt.
pub(super) fn in_flight_growth(outputs: &[RunOutput]) -> Option<f64> {
    let trends = outputs.iter().filter_map(|output| {
        let from = second_half(output);
        let windows = output
            .windows
            .iter()
            .filter(|window| window.start >= from && window.start < output.arrivals_until);
        let points: Vec<(f64, f64)> =
            windows.map(|window| (window.start.as_secs_f64(), window.in_flight as f64)).collect();
        slope(&points)
    });
    let trend = pooled(&trends.collect::<Vec<_>>())?;
    (trend.surely_grows() && trend.slope * trend.span >= FEW_CALLS).then_some(trend.slope)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Components with all that they reach, callees before callers.
fn callees_first(scenario: &Scenario) -> Vec<(&str, Vec<&str>)> {
    fn visit<'a>(scenario: &'a Scenario, name: &'a str, order: &mut Vec<(&'a str, Vec<&'a str>)>) {
        if order.iter().any(|(seen, _)| *seen == name) {
            return;
        }
        let Some(component) = scenario.components.get(name) else { return };
        let mut reaches: Vec<&str> = Vec::new();
        let links =
            scenario.links.iter().filter(|(link, _)| link_ends(link).is_some_and(|ends| ends.0 == name));
        let fallbacks = links.flat_map(|(_, link)| link.fallback_callees());
        let callees = component.callees().into_iter().map(|(_, callee)| callee);
        for callee in callees.chain(fallbacks) {
            visit(scenario, callee, order);
            let further =
                order.iter().find(|(seen, _)| *seen == callee).map_or(&[][..], |(_, further)| further);
            let further: Vec<&str> = further.to_vec();
            reaches.push(callee);
            reaches.extend(further);
        }
        reaches.sort_unstable();
        reaches.dedup();
        order.push((name, reaches));
    }
    let mut order = Vec::new();
    for name in scenario.components.keys() {
        visit(scenario, name, &mut order);
    }
    order
}

/// Where the second half of the measured part in which requests were born begins.
fn second_half(output: &RunOutput) -> SimTime {
    let (from, to) = (output.measured_from.as_nanos(), output.arrivals_until.as_nanos());
    SimTime::from_nanos(to.saturating_sub(to.saturating_sub(from) / 2))
}

/// Windows of a component that begin in `from..arrivals_until`.
fn windows(
    output: &RunOutput,
    index: usize,
    from: SimTime,
) -> impl Iterator<Item = (SimTime, f64, &ComponentWindow)> {
    let rows = output.component_windows.chunks_exact(output.components.len().max(1));
    output
        .windows
        .iter()
        .zip(rows)
        .filter(move |(window, _)| window.start >= from && window.start < output.arrivals_until)
        .map(move |(window, row)| (window.start, window.width.as_secs_f64(), &row[index]))
}

fn queue_trend(output: &RunOutput, index: usize) -> Option<Trend> {
    let windows = windows(output, index, second_half(output));
    let points: Vec<(f64, f64)> =
        windows.map(|(start, _, window)| (start.as_secs_f64(), window.queue)).collect();
    slope(&points)
}

fn utilization(outputs: &[RunOutput], index: usize, from: fn(&RunOutput) -> SimTime) -> Option<f64> {
    let (mut busy, mut capacity) = (0.0, 0.0);
    for output in outputs {
        for (_, width, window) in windows(output, index, from(output)) {
            busy += window.busy * width;
            capacity += window.capacity * width;
        }
    }
    (capacity > 0.0).then(|| busy / capacity)
}

/// Mean number waiting in the second half, when hardly a window passes without.
fn standing(outputs: &[RunOutput], index: usize) -> Option<f64> {
    let queues = || {
        let windows = outputs.iter().flat_map(|output| windows(output, index, second_half(output)));
        windows.map(|(_, _, window)| window.queue)
    };
    let waiting = mean(queues().map(|queue| f64::from(u8::from(queue >= 1.0))))?;
    mean(queues()).filter(|_| waiting >= STANDING)
}

/// Share of the KV cache in use at the ends of windows, on average.
fn kv(outputs: &[RunOutput], index: usize, from: fn(&RunOutput) -> SimTime) -> Option<f64> {
    let windows = outputs.iter().flat_map(|output| windows(output, index, from(output)));
    let signals = windows.map(|(_, _, window)| window.signals).filter(|signals| signals.kv_total > 0);
    mean(signals.map(|signals| signals.kv_used as f64 / signals.kv_total as f64))
}

/// Calls a second in the second half: as many of all as requests were born then.
fn late_arrivals(output: &RunOutput, index: usize) -> Option<f64> {
    let half = second_half(output);
    let measured = output.windows.iter().filter(|window| window.start >= output.measured_from);
    let (mut late, mut all) = (0u64, 0u64);
    for window in measured {
        all += window.born;
        late += if window.start >= half { window.born } else { 0 };
    }
    let span = output.arrivals_until.since(half).as_secs_f64();
    let calls = output.components[index].meter.calls as f64;
    (all > 0 && span > 0.0).then(|| calls * late as f64 / all as f64 / span)
}

/// The longest run of windows without a free server, when it is long enough to be named.
fn longest_spell(output: &RunOutput, index: usize) -> Option<(f64, f64)> {
    let mut longest: Option<(f64, f64)> = None;
    let mut present: Option<(f64, f64)> = None;
    for (start, width, window) in windows(output, index, output.measured_from) {
        let start = start.as_secs_f64();
        let saturated =
            window.capacity > 0.0 && window.busy >= SATURATED * window.capacity && window.queue > 0.0;
        present = saturated.then(|| (present.map_or(start, |(from, _)| from), start + width));
        if let Some((from, to)) = present
            && longest.is_none_or(|(a, b)| to - from > b - a)
        {
            longest = Some((from, to));
        }
    }
    longest.filter(|(from, to)| to - from >= SPELL * output.measured().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callees_come_before_their_callers() {
        let flow =
            |name: &str, steps: &str| format!("[components.{name}]\nkind = \"flow\"\nsteps = [{steps}]\n");
        let text = format!(
            "name = \"x\"\n[traffic.web]\narrivals = {{ process = \"poisson\", rate = \"1/s\" }}\nentry = \"a\"\n{}{}{}{}",
            flow("a", "\"b\", \"c\""),
            flow("b", "\"d\""),
            flow("d", "\"c\""),
            "[components.c]\nkind = \"service\"\nservice_time = { constant = \"1ms\" }\n",
        );
        let scenario: Scenario = toml::from_str(&text).unwrap();
        let order = callees_first(&scenario);
        let expected = [("c", vec![]), ("d", vec!["c"]), ("b", vec!["c", "d"]), ("a", vec!["b", "c", "d"])];
        assert_eq!(order, expected);
    }
}
