//! The same M/M/1 queue on the nexosim crate, one thread, as one model that schedules itself.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nexosim::model::{Context, Model, schedulable};
use nexosim::simulation::{Mailbox, SimInit};
use nexosim::time::MonotonicTime;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use crate::mm1::Queue;

/// Simulated seconds: about as many events as the other side handles.
const UNTIL: Duration = Duration::from_secs(400_000);

#[derive(Default, Serialize, Deserialize)]
struct Station {
    #[serde(skip)]
    queue: Queue,
    #[serde(skip)]
    handled: Arc<AtomicU64>,
}

fn duration(length: SimDuration) -> Duration {
    // nexosim refuses an event at the present instant.
    Duration::from_nanos(length.as_nanos().max(1))
}

#[Model]
impl Station {
    #[nexosim(init)]
    async fn init(&mut self, cx: &Context<Self>) {
        let first = duration(self.queue.between());
        cx.schedule_event(first, schedulable!(Self::arrival), ()).expect("in the future");
    }

    #[nexosim(schedulable)]
    async fn arrival(&mut self, _: (), cx: &Context<Self>) {
        self.handled.fetch_add(1, Ordering::Relaxed);
        let next = duration(self.queue.between());
        cx.schedule_event(next, schedulable!(Self::arrival), ()).expect("in the future");
        let now = cx.time().duration_since(MonotonicTime::EPOCH).as_nanos() as u64;
        if self.queue.arrive(now) {
            let service = duration(self.queue.service());
            cx.schedule_event(service, schedulable!(Self::departure), ()).expect("in the future");
        }
    }

    #[nexosim(schedulable)]
    async fn departure(&mut self, _: (), cx: &Context<Self>) {
        self.handled.fetch_add(1, Ordering::Relaxed);
        let now = cx.time().duration_since(MonotonicTime::EPOCH).as_nanos() as u64;
        if self.queue.depart(now) {
            let service = duration(self.queue.service());
            cx.schedule_event(service, schedulable!(Self::departure), ()).expect("in the future");
        }
    }
}

fn run() -> u64 {
    let handled = Arc::new(AtomicU64::new(0));
    let station = Station { queue: Queue::default(), handled: Arc::clone(&handled) };
    let mailbox = Mailbox::new();
    let mut simulation = SimInit::with_num_threads(1)
        .add_model(station, mailbox, "station")
        .init(MonotonicTime::EPOCH)
        .expect("a valid bench");
    simulation.step_until(UNTIL).expect("no error");
    black_box(handled.load(Ordering::Relaxed))
}

/// Prints the comparison.
pub fn bench() {
    crate::compare("M/M/1, load 0.8", &mut crate::mm1::engine, "nexosim", &mut run, "at most 0.167");
}
