//! What is known at the end of a run.

use sim_core::engine::{Limits, Simulation, Stop};
use sim_core::fingerprint::Fingerprint;
use sim_core::scheduler::SimError;
use sim_core::time::{SimDuration, SimTime};

use super::recorder::{ComponentWindow, SystemWindow};
use super::{RunPlan, System};
use crate::component::{Component, ComponentId, DataReport};
use crate::context::{Core, Labels};
use crate::cost::PriceModel;
use crate::device::DeviceOutput;
use crate::energy::{ELECTRICITY, POWER, Power};
use crate::journal::{Birth, RequestRecord};
use crate::link::BreakerOutput;
use crate::llm::LlmReport;
use crate::measure::Measure;
use crate::meter::{ComponentMeter, RequestMeter};
use crate::pool::PoolReport;
use crate::quality::QualityOutput;
use crate::timeline::Timeline;

/// Whole-run counts: born = ok + degraded + rejected + timed out + failed + in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conservation {
    /// Requests born.
    pub born: u64,
    /// Requests ended, in the order of [`crate::request::Outcome::ALL`].
    pub ended: [u64; 5],
    /// Requests that had not ended when the run did, counted one by one.
    pub in_flight: u64,
}

impl Conservation {
    /// Whether nothing was lost and nothing was counted twice.
    pub fn holds(&self) -> bool {
        self.born == self.ended.iter().sum::<u64>() + self.in_flight
    }
}

/// A component at the end of a run.
#[derive(Debug, Clone)]
pub struct ComponentOutput {
    /// Its name.
    pub name: String,
    /// Whether it is a traffic source.
    pub is_source: bool,
    /// What every component is measured by.
    pub meter: ComponentMeter,
    /// What an LLM pool is measured by besides.
    pub llm: Option<LlmReport>,
    /// What the front of a pool is measured by.
    pub pool: Option<PoolReport>,
    /// What a feature store or a pipeline is measured by besides.
    pub data: Option<DataReport>,
    /// What it measured beyond all this.
    pub measures: Vec<Measure>,
}

impl ComponentOutput {
    /// The value of a measure of the whole component; none where there is no such measure or it has no value.
    pub fn measure(&self, name: &str) -> Option<f64> {
        self.measures.iter().find(|measure| measure.name == name && measure.part.is_none())?.value
    }
}

/// One line of the bill.
#[derive(Debug, Clone, PartialEq)]
pub struct CostOutput {
    /// Whose.
    pub component: String,
    /// What.
    pub resource: String,
    /// Whether it is paid by use, not by the time it is held.
    pub by_use: bool,
    /// How it is paid: `on-demand`, `reserved` or `spot`, or `use`.
    pub price_model: &'static str,
    /// Units held on average; of what is paid by use, units used an hour.
    pub units: f64,
    /// USD an hour and unit held, or USD a unit used.
    pub unit_usd_per_hour: f64,
    /// USD an hour.
    pub usd_per_hour: f64,
    /// Where the price comes from.
    pub source: String,
}

/// Everything a run leaves behind.
#[derive(Debug, Clone)]
pub struct RunOutput {
    /// Hash over every event.
    pub fingerprint: Fingerprint,
    /// Hash over every request's end: the same for engines that agree, however few events they take.
    pub outcome_hash: u64,
    /// Events handled.
    pub events: u64,
    /// Why the run stopped.
    pub stop: Stop,
    /// When the run ended.
    pub end: SimTime,
    /// When measurement began.
    pub measured_from: SimTime,
    /// When arrivals ended, or the run if it was cut short before.
    pub arrivals_until: SimTime,
    /// Whole-run counts.
    pub conservation: Conservation,
    /// Names of classes and tenants.
    pub labels: Labels,
    /// Requests by class, then tenant.
    pub requests: Vec<RequestMeter>,
    /// Requests one by one in the order of their ends, where the plan asked for them.
    pub journal: Vec<RequestRecord>,
    /// What was asked for in all of the run, in the order of birth, where the plan asked for it.
    pub births: Vec<Birth>,
    /// A window call by call, where the plan asked for it.
    pub timeline: Option<Timeline>,
    /// Traffic sources, then components.
    pub components: Vec<ComponentOutput>,
    /// Circuit breakers, by link.
    pub breakers: Vec<BreakerOutput>,
    /// GPUs that components share.
    pub devices: Vec<DeviceOutput>,
    /// The bill.
    pub costs: Vec<CostOutput>,
    /// What came of quality, if the system says who is right.
    pub quality: Option<QualityOutput>,
    /// The system window by window.
    pub windows: Vec<SystemWindow>,
    /// The components, window by window: one row a component for each of `windows`.
    pub component_windows: Vec<ComponentWindow>,
}

impl RunOutput {
    /// Length of the measured part in which requests were born.
    pub fn measured(&self) -> SimDuration {
        SimDuration::from_nanos(self.arrivals_until.as_nanos().saturating_sub(self.measured_from.as_nanos()))
    }
}

/// What the components report.
type Report = (Option<LlmReport>, Option<PoolReport>, Option<DataReport>, Vec<Measure>);

/// Power in watts, on average: of the components, in their order, and of shared GPUs by name.
#[derive(Debug)]
pub(super) struct Powers {
    components: Vec<Option<f64>>,
    devices: Vec<(String, f64)>,
}

impl System {
    fn reports(&self, now: SimTime) -> Vec<Report> {
        let report = |component: &dyn Component| {
            let pool = component.pool_report(now);
            (component.report(now), pool, component.data_report(now), component.measures(now))
        };
        self.components.iter().map(|component| report(component.as_ref())).collect()
    }

    /// The run's `duration` is over: what is held and drawn from now on is not paid.
    pub(super) fn close_bill(&mut self, now: SimTime) {
        self.core.cost.close(now);
        if self.core.energy.price_per_kwh.is_some() {
            self.paid_power = Some(powers(&self.core, &self.reports(now), now));
        }
    }
}

fn measured_power((.., measures): &Report) -> Option<&Measure> {
    measures.iter().find(|measure| measure.name == POWER && measure.part.is_none())
}

/// Mean power from the start of measurement until `now`, of which the components report that.
fn powers(core: &Core, reports: &[Report], now: SimTime) -> Powers {
    let mut own = vec![0.0; reports.len()];
    let mut devices = Vec::new();
    let held = |component: ComponentId| match &reports[component.index()].1 {
        Some(pool) if !pool.replicas.is_empty() => pool.held / pool.replicas.len() as f64,
        _ => 1.0,
    };
    for (owner, watts) in core.devices.power(now, held) {
        match owner {
            Ok(component) => own[component.index()] += watts,
            Err(name) => devices.push((name.to_owned(), watts)),
        }
    }
    let of = |(report, own): (&Report, f64)| {
        measured_power(report).and_then(|power| power.value).or((own > 0.0).then_some(own))
    };
    Powers { components: reports.iter().zip(own).map(of).collect(), devices }
}

/// Adds the measures of energy to those of components with GPUs.
fn meter_energy(core: &Core, powers: &Powers, reports: &mut [Report], end: SimTime) {
    let hours = (end.as_secs_f64() - core.measure_from.as_secs_f64()).max(0.0) / 3600.0;
    for (report, watts) in reports.iter_mut().zip(&powers.components) {
        let Some(watts) = *watts else { continue };
        if measured_power(report).is_none() {
            report.3.push(Power::measure(watts));
        }
        report.3.extend(core.energy.measures(watts, hours));
    }
}

/// The lines of the bill for energy, where it has a price.
fn electricity(core: &Core, powers: &Powers) -> Vec<CostOutput> {
    let Some(price) = core.energy.price_per_kwh else { return Vec::new() };
    let line = |(name, watts): (&String, f64)| {
        let units = watts / 1e3 * core.energy.overhead();
        CostOutput {
            component: name.clone(),
            resource: ELECTRICITY.to_owned(),
            by_use: true,
            price_model: "use",
            units,
            unit_usd_per_hour: price.dollars(),
            usd_per_hour: units * price.dollars(),
            source: "scenario".to_owned(),
        }
    };
    let devices = powers.devices.iter().map(|(name, watts)| (name, *watts));
    let components = core.names.iter().zip(&powers.components);
    devices.chain(components.filter_map(|(name, watts)| Some((name, (*watts)?)))).map(line).collect()
}

/// Runs a system to its end, or until it is cancelled, and collects what it leaves.
///
/// # Errors
/// [`SimError`] when time or the number of events overflows.
///
/// # Panics
/// When the conservation invariant is broken: a bug in a component.
pub fn run(mut simulation: Simulation<System>, plan: &RunPlan) -> Result<RunOutput, SimError> {
    let until = SimTime::ZERO.checked_add(plan.duration)?.checked_add(plan.drain)?;
    let stop = simulation.run(&Limits { until: Some(until), ..Limits::default() })?;
    // A run that came to `until` lasted until then; one that was done or cancelled ended at its last event.
    let end = if stop == Stop::Until { until } else { simulation.now() };
    let (fingerprint, events) = (simulation.fingerprint(), simulation.events());
    let mut system = simulation.into_world();
    system.sample(end);
    let mut reports = system.reports(end);
    let powers = powers(&system.core, &reports, end);
    let electricity = electricity(&system.core, system.paid_power.as_ref().unwrap_or(&powers));
    for ((.., measures), door) in reports.iter_mut().zip(&system.core.doors) {
        measures.extend(door.iter().flat_map(|door| door.measures(end)));
    }
    let mut core = system.core;
    for (caller, measures) in core.link_measures(end) {
        reports[caller.index()].3.extend(measures);
    }
    meter_energy(&core, &powers, &mut reports, end);
    let timeline = core.close_timeline(end);
    let in_flight = core.requests.iter().filter(|(_, request)| !request.ended).count() as u64;
    let conservation = Conservation { born: core.born, ended: core.ended, in_flight };
    assert!(conservation.holds(), "requests were lost or counted twice: {conservation:?}");
    let costs = core.cost.items().iter().map(|item| CostOutput {
        component: core.names[item.component.index()].clone(),
        resource: item.resource.clone(),
        by_use: false,
        price_model: item.model.name(),
        units: item.mean_held(end),
        unit_usd_per_hour: item.price.usd_per_hour(),
        usd_per_hour: item.usd_per_hour(end),
        source: item.source.clone(),
    });
    let hours = core.arrivals_until.min(end).as_secs_f64() - core.measure_from.as_secs_f64();
    let hours = hours / 3600.0;
    let usage = core.cost.usage().iter().map(|item| {
        let units = if hours > 0.0 { item.used / hours } else { 0.0 };
        CostOutput {
            component: core.names[item.component.index()].clone(),
            resource: item.resource.clone(),
            by_use: true,
            price_model: "use",
            units,
            unit_usd_per_hour: item.usd_per_unit,
            usd_per_hour: units * item.usd_per_unit,
            source: item.source.clone(),
        }
    });
    let stored = core.storage.iter().map(|(name, storage)| {
        let (units, unit_usd_per_hour) = storage.line();
        CostOutput {
            component: name.clone(),
            resource: "storage GB".to_owned(),
            by_use: false,
            price_model: PriceModel::OnDemand.name(),
            units,
            unit_usd_per_hour,
            usd_per_hour: units * unit_usd_per_hour,
            source: "scenario".to_owned(),
        }
    });
    let breakers = core.breakers();
    let costs = costs.chain(usage).chain(stored).chain(electricity).collect();
    let quality = core.quality.as_ref().map(|quality| {
        let mut all = RequestMeter::default();
        core.request_meters.iter().for_each(|meter| all.merge(meter));
        quality.output(&core.cost, &all, core.source_count)
    });
    for meter in &mut core.meters {
        // Levels are read at the end of the run.
        for level in [&mut meter.queue, &mut meter.busy, &mut meter.capacity] {
            level.add(end, 0);
        }
    }
    let sources = core.source_count;
    let components = core.names.into_iter().zip(core.meters).zip(reports).enumerate();
    let components = components.map(|(index, ((name, meter), (llm, pool, data, measures)))| {
        let is_source = index < sources;
        ComponentOutput { name, is_source, meter, llm, pool, data, measures }
    });
    Ok(RunOutput {
        fingerprint,
        outcome_hash: core.outcome_hash,
        events,
        stop,
        end,
        measured_from: core.measure_from,
        arrivals_until: core.arrivals_until.min(end),
        conservation,
        labels: core.labels,
        requests: core.request_meters,
        journal: core.journal.unwrap_or_default(),
        births: core.births.unwrap_or_default(),
        timeline,
        components: components.collect(),
        breakers,
        devices: core.devices.output(end),
        costs,
        quality,
        windows: core.recorder.system,
        component_windows: core.recorder.components,
    })
}
