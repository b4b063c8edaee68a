//! A pool on a GPU that it shares with others: its place there, and how fast its engines go on.
//!
//! A replica is a process of its own on the GPU. While it is in a step it has one work running there, the
//! whole step, the host's part of it among them; between steps it has none. The rate that the device gives it
//! becomes the pace of its engine, from the nanosecond of the change on.

use std::borrow::Cow;

use super::LlmConfig;
use super::engine::{Engine, Pace, Tally};
use super::timing::TimingSource;
use crate::component::Role;
use crate::context::Ctx;
use crate::device::{ClientId, Placement, Rate};
use crate::error::ConfigError;
use crate::hardware::catalogue::Gpu;
use crate::hardware::memory::MemoryPlan;
use crate::system::Scope;
use crate::units::Number;

/// What a pool runs on.
pub(super) struct Place {
    /// The GPU as a replica sees it.
    pub(super) gpu: Cow<'static, Gpu>,
    /// Whether that is less than all of it.
    pub(super) is_slice: bool,
    /// The replicas on a shared GPU; none on GPUs of their own.
    pub(super) clients: Vec<ClientId>,
}

impl Place {
    /// Each replica takes its memory.
    ///
    /// # Errors
    /// When a slice is too small.
    pub(super) fn occupy(&self, memory: &MemoryPlan, scope: &mut Scope) -> Result<(), ConfigError> {
        let (devices, ..) = scope.devices();
        // A slice's speed is in the peaks of its GPU.
        let mut clients = self.clients.iter();
        clients.try_for_each(|client| devices.occupy(*client, memory.held_bytes(), Rate::FULL))
    }
}

/// What cannot work without one of its GPUs: a model split over several, or engines that share out experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlastGroup {
    pub(crate) gpus: u32,
    pub(crate) replicas: u32,
}

impl LlmConfig {
    /// What is lost with a GPU; none on a shared one, which is no replica's own.
    pub(crate) fn blast_group(&self, role: Option<Role>) -> Option<BlastGroup> {
        let replicas = self.data_parallel_size.max(1);
        let prefill = self.disaggregated.as_ref().filter(|_| role == Some(Role::Prefill));
        let split = prefill.and_then(|disaggregated| disaggregated.prefill.tensor_parallel);
        let of_stage = split.unwrap_or(self.tensor_parallel).max(1);
        let gpus = of_stage.saturating_mul(self.pipeline_parallel.max(1)).saturating_mul(replicas);
        self.device.is_none().then_some(BlastGroup { gpus, replicas })
    }

    /// Takes the GPUs.
    pub(super) fn place(&self, scope: &mut Scope) -> Result<Place, ConfigError> {
        let wrong = |key: &str, message: &str, help: &str| Err(ConfigError::new([key], message).help(help));
        let Some(device) = &self.device else {
            let of_device = [
                ("mig_profile", self.mig_profile.is_some()),
                ("active_thread_percentage", self.active_thread_percentage.is_some()),
            ];
            if let Some((key, _)) = of_device.into_iter().find(|(_, given)| *given) {
                return wrong(key, &format!("`{key}` has no effect here"), "it belongs to `device`");
            }
            if self.gpu.is_none() {
                let help = "expected gpu = \"h100-sxm\", or the device that it shares";
                return wrong("gpu", "neither `gpu` nor `device` is given", help);
            }
            return Ok(Place { gpu: Cow::Borrowed(self.gpu()?), is_slice: false, clients: Vec::new() });
        };
        if self.gpu.is_some() {
            return wrong("device", "both `gpu` and `device` are given", "keep one of the two");
        }
        if self.price_per_gpu_hour.is_some() {
            let help = "set price_per_hour of the device";
            return wrong("price_per_gpu_hour", "`price_per_gpu_hour` has no effect here", help);
        }
        if self.price_model.is_some() {
            return wrong("price_model", "`price_model` has no effect here", "set that of the device");
        }
        for (key, gpus) in
            [("tensor_parallel", self.tensor_parallel), ("data_parallel_size", self.data_parallel_size)]
        {
            if gpus > 1 {
                let message = format!("{key} is {gpus}, and a shared device is one GPU");
                return wrong(key, &message, "expected 1, or `gpu` in place of `device`");
            }
        }
        let placement = Placement {
            device,
            mig_profile: self.mig_profile.as_deref(),
            active_thread_percentage: self.active_thread_percentage.map(Number::get),
        };
        let (devices, me, name) = scope.devices();
        let slices = (0..self.replicas.get()).map(|_| devices.join(me, name, &placement));
        let slices = slices.collect::<Result<Vec<_>, _>>()?;
        let Some(first) = slices.first() else { unreachable!("there is a replica") };
        let is_slice = (first.compute, first.bandwidth) != (Rate::FULL, Rate::FULL);
        let names_profile = self.timing.profile.is_some() || self.timing.source == TimingSource::Profile;
        if is_slice && names_profile {
            let key = if self.timing.profile.is_some() { "profile" } else { "source" };
            let message = "a profile is of a whole GPU, and the pool has a slice of one";
            return Err(
                ConfigError::new(["timing", key], message).help("leave it out: the datasheet is taken")
            );
        }
        Ok(Place {
            gpu: Cow::Owned(first.gpu.clone()),
            is_slice,
            clients: slices.iter().map(|slice| slice.client).collect(),
        })
    }
}

/// A replica on the GPU.
#[derive(Debug)]
struct Process {
    client: ClientId,
    /// Whether the device knows it to be in a step.
    stepping: bool,
    rate: Rate,
}

/// How fast the engines of a pool go on.
#[derive(Debug)]
pub(super) struct Sharing {
    /// How many times as long work takes because of a fault.
    pub(super) slowed: f64,
    /// The same because of a replica's version, where that says so.
    own: Vec<f64>,
    /// By replica; empty with GPUs of their own.
    processes: Vec<Process>,
}

impl Sharing {
    pub(super) fn new(clients: Vec<ClientId>) -> Self {
        let process = |client| Process { client, stepping: false, rate: Rate::FULL };
        Self { slowed: 1.0, own: Vec::new(), processes: clients.into_iter().map(process).collect() }
    }

    /// The replica of a client.
    pub(super) fn replica_of(&self, client: ClientId) -> Option<usize> {
        self.processes.iter().position(|process| process.client == client)
    }

    /// The pace of a replica's engine.
    pub(super) fn pace(&self, replica: usize) -> Pace {
        let rate = self.processes.get(replica).map_or(1.0, |process| process.rate.as_f64());
        Pace::slowed(self.slowed * self.own.get(replica).copied().unwrap_or(1.0) / rate)
    }

    /// The version of a replica makes its work take so many times as long.
    pub(super) fn set_own(&mut self, replica: usize, factor: f64) {
        if self.own.len() <= replica {
            self.own.resize(replica + 1, 1.0);
        }
        self.own[replica] = factor;
    }

    /// Tells the GPU whether an engine is in a step, and the engine how fast it goes on.
    #[inline]
    pub(super) fn note(&mut self, replica: usize, engine: &mut Engine, tally: &mut Tally, ctx: &mut Ctx) {
        let Some(process) = self.processes.get_mut(replica) else { return };
        let stepping = !engine.is_idle();
        if stepping != process.stepping {
            process.stepping = stepping;
            ctx.set_running(process.client, stepping.into());
        }
        let rate = ctx.device_rate(process.client);
        if rate != process.rate {
            process.rate = rate;
            engine.set_pace(ctx.now(), self.pace(replica), tally);
        }
    }
}
