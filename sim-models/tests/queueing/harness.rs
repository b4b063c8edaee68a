//! Replications of a system, and what is expected of their means.

use sim_core::random::stable_hash;
use sim_core::stats::Moments;
use sim_core::time::SimDuration;
use sim_models::meter::ComponentMeter;
use sim_models::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};

/// Independent replications of every row.
const REPLICATIONS: u64 = 30;

/// What the means of many runs should be.
pub struct Row<'a> {
    name: String,
    system: SystemConfig,
    plan: RunPlan,
    expected: Vec<Expected<'a>>,
}

struct Expected<'a> {
    name: &'static str,
    exact: f64,
    /// Four standard errors must be at most this part of the exact value.
    precision: f64,
    measure: Box<dyn Fn(&RunOutput) -> f64 + 'a>,
}

/// A measured mean.
pub struct Measured {
    exact: f64,
    mean: f64,
    pub z: f64,
    /// Four standard errors over the exact value.
    precision: f64,
}

/// One Poisson source `web` at `rate` a second in front of a service `db`.
pub fn poisson(rate: f64, service: &str) -> String {
    station(&format!("process = \"poisson\", rate = \"{rate}/s\""), service)
}

/// One source `web` in front of a service `db`.
pub fn station(arrivals: &str, service: &str) -> String {
    format!(
        "[traffic.web]\narrivals = {{ {arrivals} }}\nentry = \"db\"\n
         [components.db]\nkind = \"service\"\n{service}\n"
    )
}

pub fn parse(system: &str) -> SystemConfig {
    toml::from_str(system).unwrap_or_else(|error| panic!("{error}\n{system}"))
}

/// A run of so many seconds whose measurement begins after `warmup` seconds.
pub fn plan(warmup: f64, measured: f64) -> RunPlan {
    let time = |seconds| SimDuration::from_secs_f64(seconds).unwrap();
    RunPlan { duration: time(warmup + measured), warmup: time(warmup), windows: 1, ..RunPlan::default() }
}

/// Requests go on until all have ended.
pub fn drained(plan: RunPlan) -> RunPlan {
    RunPlan { drain: SimDuration::from_secs(1_000_000_000), ..plan }
}

pub fn simulate(system: &SystemConfig, plan: &RunPlan) -> RunOutput {
    run(build(system, plan, &Traces::new()).unwrap(), plan).unwrap()
}

pub fn meter<'a>(output: &'a RunOutput, name: &str) -> &'a ComponentMeter {
    &output.components.iter().find(|component| component.name == name).expect("a component's name").meter
}

/// Nanoseconds as seconds.
pub fn seconds(nanos: Option<f64>) -> f64 {
    nanos.expect("something was measured") * 1e-9
}

/// Mean wait at a component in seconds.
pub fn wait(name: &'static str) -> impl Fn(&RunOutput) -> f64 {
    move |output| seconds(meter(output, name).wait.mean())
}

/// Mean time from arrival to reply at a component in seconds.
pub fn sojourn(name: &'static str) -> impl Fn(&RunOutput) -> f64 {
    move |output| seconds(meter(output, name).latency.mean())
}

/// Mean number of calls at a component, waiting or in service.
pub fn number(name: &'static str) -> impl Fn(&RunOutput) -> f64 {
    move |output| {
        let meter = meter(output, name);
        meter.queue.mean(output.end) + meter.busy.mean(output.end)
    }
}

/// Mean number of calls waiting.
pub fn queue(name: &'static str) -> impl Fn(&RunOutput) -> f64 {
    move |output| meter(output, name).queue.mean(output.end)
}

/// Mean number of servers busy.
pub fn busy(name: &'static str) -> impl Fn(&RunOutput) -> f64 {
    move |output| meter(output, name).busy.mean(output.end)
}

/// Share of waits beyond so many seconds.
pub fn wait_beyond(bound: f64) -> impl Fn(&RunOutput) -> f64 {
    move |output| 1.0 - meter(output, "db").wait.fraction_at_or_below((bound * 1e9).round() as u64).unwrap()
}

/// Share of sojourns beyond so many seconds.
pub fn sojourn_beyond(bound: f64) -> impl Fn(&RunOutput) -> f64 {
    move |output| {
        1.0 - meter(output, "db").latency.fraction_at_or_below((bound * 1e9).round() as u64).unwrap()
    }
}

impl Measured {
    pub fn mean(&self) -> f64 {
        self.mean
    }
}

impl<'a> Row<'a> {
    pub fn new(name: impl Into<String>, system: &str, plan: RunPlan) -> Self {
        let name = name.into();
        // Rows on one seed would share their arrivals, and their luck with it.
        let plan = RunPlan { seed: stable_hash(name.as_bytes()), ..plan };
        Self { name, system: parse(system), plan, expected: Vec::new() }
    }

    /// Expects a mean, with four standard errors of at most `precision` of it.
    pub fn expect(
        mut self,
        name: &'static str,
        exact: f64,
        precision: f64,
        measure: impl Fn(&RunOutput) -> f64 + 'a,
    ) -> Self {
        self.expected.push(Expected { name, exact, precision, measure: Box::new(measure) });
        self
    }

    /// Runs all replications and prints the table.
    pub fn measure(&self) -> Vec<Measured> {
        let mut moments = vec![Moments::new(); self.expected.len()];
        for replication in 0..REPLICATIONS {
            let output = simulate(&self.system, &RunPlan { replication, ..self.plan.clone() });
            for (moments, expected) in moments.iter_mut().zip(&self.expected) {
                moments.push((expected.measure)(&output));
            }
        }
        let measured = moments.iter().zip(&self.expected).map(|(moments, expected)| {
            let (mean, error) = (moments.mean().unwrap(), moments.standard_error().unwrap());
            let (exact, z) = (expected.exact, (mean - expected.exact) / error);
            let precision = 4.0 * error / exact;
            println!(
                "{:34} {:10} {mean:11.6} exact {exact:11.6}  z {z:+5.2}  4 s.e. {:5.2}%",
                self.name,
                expected.name,
                precision * 100.0
            );
            Measured { exact, mean, z, precision }
        });
        measured.collect()
    }

    /// Asserts that every mean is what it should be, and known well enough to tell.
    pub fn check(self) {
        for (measured, expected) in self.measure().iter().zip(&self.expected) {
            let Measured { exact, mean, z, precision } = *measured;
            let place = format!("{}: {} is {mean}, exact {exact}", self.name, expected.name);
            assert!(z.abs() <= 4.0, "{place}: z = {z}");
            assert!(
                precision <= expected.precision,
                "{place}: four standard errors are {precision} of it, more than {}",
                expected.precision
            );
        }
    }
}
