//! A whole system: its configuration, the world it becomes, and what is known at the end of a run.

mod build;
pub mod config;
mod files;
mod labels;
mod output;
pub mod recorder;
mod underway;
pub(crate) mod zones;

use sim_core::distribution::Dist;
use sim_core::engine::World;
use sim_core::event::Phase;
use sim_core::random::KeyedStream;
use sim_core::scheduler::Scheduler;
use sim_core::time::{SimDuration, SimTime};

pub use build::{RunPlan, Scope, Traces, build};
pub use config::{ComponentConfig, SystemConfig};
use output::Powers;
pub use output::{ComponentOutput, Conservation, CostOutput, RunOutput, run};
use underway::Underway;
pub use zones::Placement;

use crate::call::{CallId, Reply};
use crate::component::{Component, ComponentId, Fault, Role, Signals, Timer};
use crate::context::{Core, Ctx};
use crate::event::{ModelEvent, PackedEvent};

/// Traffic sources, components, links and meters as one world of the engine.
#[derive(Debug)]
pub struct System {
    components: Vec<Box<dyn Component>>,
    /// Which of them are pools.
    pools: Vec<bool>,
    core: Core,
    faults: Vec<Step>,
    underway: Underway,
    /// Mean power until the bill was closed, where energy is on it.
    paid_power: Option<Powers>,
}

/// What a fault does to its target, or its end where it is `mended`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    /// It is for the component to suffer.
    Within(Fault),
    /// The same, for the replicas of a pool that have a role.
    WithinRole(Role, Fault),
    /// This share of the component's answers fail.
    Errors { share: f64, mended: bool },
    /// Work takes so many times as long.
    Slow { factor: f64, mended: bool },
    /// The links to the component are cut or mended: all, or the one from this caller.
    Cut { caller: Option<ComponentId>, fail_fast: bool, mended: bool },
    /// A zone is lost.
    Zone { zone: u16, mended: bool },
}

/// A fault or its end.
#[derive(Debug, Clone)]
struct Step {
    target: ComponentId,
    trouble: Trouble,
    /// What comes after it, of a fault at random.
    then: Option<Then>,
}

/// The next step of a fault at random.
#[derive(Debug, Clone)]
struct Then {
    step: u32,
    after: Dist,
    stream: KeyedStream,
    /// How often it has been drawn.
    drawn: u64,
}

impl Then {
    fn draw(&mut self) -> SimDuration {
        let number = self.drawn;
        self.drawn += 1;
        self.after.sample_duration(&mut self.stream.draws(number, 0, 0))
    }
}

impl System {
    /// Puts a component of your own in the place of the one called `name`, before the run. False when
    /// there is none of that name.
    pub fn substitute(&mut self, name: &str, component: Box<dyn Component>) -> bool {
        let place = self.core.names.iter().position(|present| present == name);
        place.map(|place| self.components[place] = component).is_some()
    }

    pub(crate) fn at(
        &mut self,
        me: ComponentId,
        scheduler: &mut Scheduler<PackedEvent>,
        act: impl FnOnce(&mut dyn Component, &mut Ctx),
    ) {
        let Self { components, core, .. } = self;
        act(components[me.index()].as_mut(), &mut Ctx { me, core, scheduler });
    }

    /// A fault happens or ends.
    fn strike(&mut self, index: usize, scheduler: &mut Scheduler<PackedEvent>) {
        let (target, trouble) = (self.faults[index].target, self.faults[index].trouble);
        match trouble {
            Trouble::Within(fault) => {
                for fault in self.underway.count((target, None), fault) {
                    self.suffer(target, fault, scheduler);
                }
            }
            Trouble::WithinRole(role, fault) => {
                for fault in self.underway.count((target, Some(role)), fault) {
                    self.at(target, scheduler, |component, ctx| component.on_fault_of(role, &fault, ctx));
                }
            }
            Trouble::Errors { share, mended } => {
                self.core.error_rates[target.index()] = self.underway.errors(target, share, mended);
            }
            Trouble::Slow { factor, mended } => {
                let factor = self.underway.slow(target, factor, mended);
                self.suffer(target, Fault::Slow { factor }, scheduler);
            }
            Trouble::Cut { caller, fail_fast, mended } => self.core.cut(target, caller, |cuts| {
                let count = if fail_fast { &mut cuts.refusing } else { &mut cuts.silent };
                *count = if mended { *count - 1 } else { *count + 1 };
            }),
            Trouble::Zone { zone, mended } => {
                let is_other = self.underway.zone(zone, mended);
                let were_gone: Vec<bool> = (0..self.components.len())
                    .map(|index| self.core.zones.is_gone(ComponentId(index as u16)))
                    .collect();
                if !is_other {
                    self.core.zones.set_lost(zone, !mended);
                }
                for (index, was_gone) in were_gone.into_iter().enumerate().skip(self.core.source_count) {
                    let component = ComponentId(index as u16);
                    let fault = match (self.pools[index], !mended) {
                        _ if is_other || !self.core.zones.holds(zone, component) => continue,
                        (true, true) => Fault::LoseZone { zone },
                        (true, false) => Fault::RestoreZone { zone },
                        // Its other instances go on.
                        (false, true) if !self.core.zones.is_gone(component) => continue,
                        (false, false) if !was_gone => continue,
                        (false, true) => Fault::Crash { replicas: u32::MAX },
                        (false, false) => Fault::Repair { replicas: u32::MAX },
                    };
                    self.suffer(component, fault, scheduler);
                }
            }
        }
        if let Some(then) = &mut self.faults[index].then
            && let Ok(at) = scheduler.now().checked_add(then.draw())
        {
            scheduler.schedule_at(at, Phase::Fault, ModelEvent::Fault(then.step).into());
        }
    }

    fn suffer(&mut self, target: ComponentId, fault: Fault, scheduler: &mut Scheduler<PackedEvent>) {
        self.at(target, scheduler, |component, ctx| component.on_fault(&fault, ctx));
    }

    /// Sets the first timers.
    fn start(&mut self, scheduler: &mut Scheduler<PackedEvent>) {
        for index in 0..self.components.len() {
            self.at(ComponentId(index as u16), scheduler, |component, ctx| component.start(ctx));
        }
        scheduler.schedule(self.core.recorder.width, Phase::Sampler, ModelEvent::Sample.into());
        if let Some(period) = self.core.scrape_period {
            self.scrape(scheduler.now());
            scheduler.schedule(period, Phase::Sampler, ModelEvent::Scrape.into());
        }
        if self.core.measure_from > scheduler.now() {
            scheduler.schedule_at(self.core.measure_from, Phase::StepEnd, ModelEvent::MeasureFrom.into());
        }
        // Before all else of its instant: what begins at the very end of a run is no part of it.
        scheduler.schedule_at(self.core.arrivals_until, Phase::StepEnd, ModelEvent::Close.into());
    }

    fn scrape(&mut self, now: SimTime) {
        for index in 0..self.components.len() {
            self.core.snapshots[index] = self.observe(index, now);
        }
    }

    fn measure_from(&mut self, now: SimTime) {
        let Core { recorder, meters, .. } = &mut self.core;
        recorder.reset(now, meters, |meter| meter.reset(now));
        for policies in self.core.links.iter_mut().filter_map(|link| link.policies.as_mut()) {
            policies.meter.reset(now);
        }
        self.core.cost.reset(now);
        self.core.devices.reset(now);
        for component in &mut self.components {
            component.reset_measurements(now);
        }
        for door in self.core.doors.iter_mut().flatten() {
            door.reset_measurements(now);
        }
    }

    /// What may be seen of a component, with those who wait at its door.
    fn observe(&self, index: usize, now: SimTime) -> Signals {
        let mut signals = self.components[index].observe(now);
        signals.queue += self.core.doors[index].as_ref().map_or(0, |door| door.waiting());
        signals
    }

    /// Shows all components to the timeline.
    #[cold]
    fn look(&mut self, now: SimTime) {
        let Some(mut timeline) = self.core.timeline.take() else { return };
        timeline.look(now, |index| self.observe(index, now));
        self.core.timeline = Some(timeline);
    }

    /// Ends the present window of the time series.
    fn sample(&mut self, now: SimTime) {
        let signals: Vec<_> = (0..self.components.len()).map(|index| self.observe(index, now)).collect();
        let in_flight = self.core.in_flight();
        self.core.recorder.close(now, in_flight, &self.core.meters, &signals);
    }
}

/// The end of a call reaches its caller; the end of an attempt reaches the policies of the link first.
fn hear(id: CallId, reply: Reply, component: &mut dyn Component, ctx: &mut Ctx) {
    let logical = ctx.call(id).attempt_of;
    if logical == CallId::NONE {
        return component.on_reply(id, reply, ctx);
    }
    let reply = ctx.end_attempt(id, reply);
    end_logical(logical, reply, component, ctx);
}

/// Lets the caller hear how its call over a link with policies ended, if it has.
fn end_logical(id: CallId, reply: Option<Reply>, component: &mut dyn Component, ctx: &mut Ctx) {
    if let Some(reply) = reply {
        component.on_reply(id, reply, ctx);
        ctx.close(id);
    }
}

impl World for System {
    type Event = PackedEvent;

    fn handle(&mut self, event: PackedEvent, scheduler: &mut Scheduler<PackedEvent>) {
        let now = scheduler.now();
        match event.unpacked() {
            ModelEvent::Deliver(id) => {
                let Some(call) = self.core.calls.get(id) else { return };
                self.at(call.callee, scheduler, |component, ctx| {
                    ctx.deliver(id);
                    if ctx.knock(id) {
                        component.on_call(id, ctx);
                    }
                });
            }
            ModelEvent::Admitted(id) => {
                let Some(call) = self.core.calls.get(id) else { return };
                self.at(call.callee, scheduler, |component, ctx| {
                    if ctx.goes_in(id) {
                        component.on_call(id, ctx);
                    }
                });
            }
            ModelEvent::Reply(id) => {
                let Some(call) = self.core.calls.get(id) else { return };
                self.at(call.caller, scheduler, |component, ctx| {
                    if let Some(reply) = ctx.receive(id) {
                        hear(id, reply, component, ctx);
                    }
                    ctx.close(id);
                });
            }
            ModelEvent::Progress(id, progress) => {
                let Some(call) = self.core.calls.get(id).filter(|call| call.awaited) else { return };
                self.at(call.caller, scheduler, |component, ctx| {
                    if let Some(id) = ctx.pass_on(id, progress) {
                        component.on_progress(id, progress, ctx);
                    }
                });
            }
            ModelEvent::Cancel(id) => {
                let Some(call) = self.core.calls.get(id).filter(|call| call.reply.is_none()) else { return };
                self.at(call.callee, scheduler, |component, ctx| {
                    if !ctx.cancel_at_door(id) {
                        component.on_cancel(id, ctx);
                    }
                });
            }
            ModelEvent::Timeout(id) => {
                let Some(call) = self.core.calls.get(id) else { return };
                let is_logical = self.core.is_logical(call);
                self.at(call.caller, scheduler, |component, ctx| {
                    if is_logical {
                        let reply = ctx.give_up_attempts(id);
                        end_logical(id, reply, component, ctx);
                    } else {
                        ctx.expire(id);
                        hear(id, Reply::TIMED_OUT, component, ctx);
                        ctx.bury(id);
                    }
                });
            }
            ModelEvent::Attempt(id) => {
                let Some(call) = self.core.calls.get(id) else { return };
                self.at(call.caller, scheduler, |component, ctx| {
                    let reply = ctx.go_on(id);
                    end_logical(id, reply, component, ctx);
                });
            }
            ModelEvent::Timer { component, kind, data } => {
                let timer = Timer { kind, data };
                self.at(component, scheduler, |component, ctx| component.on_timer(timer, ctx));
            }
            ModelEvent::Fault(index) => self.strike(index as usize, scheduler),
            ModelEvent::RateChange(client) => {
                self.core.devices.told(client);
                let component = self.core.devices.component(client);
                self.at(component, scheduler, |component, ctx| component.on_rate_change(client, ctx));
            }
            ModelEvent::Load(target) => {
                let load = self.core.load_on(target);
                self.at(target, scheduler, |component, ctx| component.on_load(load, ctx));
            }
            ModelEvent::Materialized(target, as_of) => {
                self.at(target, scheduler, |component, ctx| component.on_materialized(as_of, ctx));
            }
            ModelEvent::MeasureFrom => self.measure_from(now),
            ModelEvent::Close => {
                self.core.is_open = false;
                self.close_bill(now);
            }
            ModelEvent::Sample => {
                self.sample(now);
                scheduler.schedule(self.core.recorder.width, Phase::Sampler, ModelEvent::Sample.into());
            }
            ModelEvent::Scrape => {
                self.scrape(now);
                if let Some(period) = self.core.scrape_period {
                    scheduler.schedule(period, Phase::Sampler, ModelEvent::Scrape.into());
                }
            }
        }
        if self.core.timeline.is_some() {
            self.look(now);
        }
    }

    /// All requests that will ever be born have ended, and nothing is to be done in the background.
    #[inline]
    fn done(&self) -> bool {
        !self.core.is_open && self.core.open_sources == 0 && self.core.in_flight() == 0 && self.core.kept == 0
    }
}
