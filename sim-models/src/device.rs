//! GPUs that several pools share: who may use how much, how fast work goes on, what it costs.
//!
//! A component that computes on a shared GPU, or each replica of a pool, is a *client* of it: one process
//! with its own memory.
//! Whenever a client's number of running works changes, the rates of all works on the GPU follow, and
//! the other clients are told ([`Component::on_rate_change`](crate::component::Component::on_rate_change)):
//! they re-anchor what they have running ([`PacedWork`]), exactly, in integers.
//!
//! A work is described by the time it takes alone on the whole GPU, and on top of that:
//! - **Time-slicing** ([`Sharing::TimeSlicing`]): processes with work take turns, round robin. Turns are
//!   taken as infinitely short (processor sharing), which is off by one round at most; `n` processes
//!   each go on at `slice / (n (slice + context_switch))`. Nothing is gained, and memory is not isolated.
//! - **MPS** ([`Sharing::Mps`]): all works run side by side. `n` of them together do `1 + overlap_gain
//!   (1 - 1/n)` times the work of one, evenly shared. `active_thread_percentage` limits a client to a share
//!   of the GPU; it reserves nothing, and speed is taken as proportional to it (assumption: bound by
//!   computing).
//! - **MIG** ([`Sharing::Mig`]): a client has a slice of fixed [profile](mig::MigProfile), its share of the
//!   multiprocessors and of the memory bandwidth, and nothing else matters to it.
//!
//! Several works of one client at a time (model instances) run side by side within whatever the
//! client has, with the same `overlap_gain`.

pub mod mig;
mod report;
mod sharing;
#[cfg(test)]
mod tests;
mod work;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::stats::TimeWeighted;
use sim_core::time::SimTime;

use crate::component::ComponentId;
use crate::cost::{CostMeter, ListPrice, PriceModel, PriceModelConfig, Tariff};
use crate::error::ConfigError;
use crate::hardware::catalogue::{self, Gpu};
use crate::units::{HourlyPrice, Probability, Time};
use mig::{MigProfile, mig_gpu, mig_gpus};
pub use report::DeviceOutput;
use sharing::{Claim, Rule, rates};
pub use work::{PacedWork, Rate};

/// A turn of a process, in nanoseconds. Assumption: 2 ms, what `nvidia-smi compute-policy
/// --set-timeslice` is said to mean by its short slice; NVIDIA publishes no figure. On an H200 two and four processes
/// were 2.16 and 4.32 times as slow as one (`validation/measurements`, 2026-11-26): with these defaults 2.10 and 4.20.
const TIME_SLICE: u64 = 2_000_000;
/// A switch between processes, in nanoseconds. Assumption: 0.1 ms, to save and restore registers and
/// to refill caches.
const CONTEXT_SWITCH: u64 = 100_000;
/// What works that run side by side gain together. Assumption: a fifth; kernels that fill the GPU
/// gain nothing, small ones may double their throughput.
const OVERLAP_GAIN: f64 = 0.2;

/// How many times as long a work takes when so many `processes` with one each take turns on a GPU, by the defaults.
pub fn time_slicing_slowdown(processes: u32) -> f64 {
    let rule = Rule::TimeSlicing { slice: TIME_SLICE, switch: CONTEXT_SWITCH };
    let claim = Claim { running: 1, speed: Rate::FULL, limit: Rate::FULL };
    let mut shares = Vec::new();
    rates(rule, Rate::from_units(0), &vec![claim; processes as usize], &mut shares);
    shares.first().map_or(1.0, |share| Rate::FULL.units() as f64 / share.units() as f64)
}

/// A GPU that several components share, by `device = "NAME"` in each of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// The GPU, by its id in the catalogue, such as `h100-sxm`.
    pub gpu: String,
    /// How it is shared.
    pub sharing: Sharing,
    /// With time-slicing, how long a turn of a process is. Default: 2 ms, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_slice: Option<Time>,
    /// With time-slicing, how long the GPU takes from one process to the next. Default: 0.1 ms, an
    /// assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_switch: Option<Time>,
    /// How much more works that run side by side get done than one after the other: `n` of them together
    /// `1 + overlap_gain (1 - 1/n)` times as much as one. With time-slicing and MIG only the instances of
    /// one component run side by side. Default: 0.2, an assumption: 0 for kernels that fill the GPU, up to
    /// 1 for small ones.
    #[serde(default = "overlap_gain")]
    pub overlap_gain: Probability,
    /// Price of the GPU, shared evenly by the processes on it (a component, or each replica of a pool), with
    /// MIG in proportion to their memory slices. Default: the catalogue's on-demand price, with its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
    /// How it is paid. Default: on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_model: Option<PriceModelConfig>,
}

/// How a GPU is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Processes take turns; the driver's default.
    TimeSlicing,
    /// Processes run side by side (Multi-Process Service).
    Mps,
    /// The GPU is cut into isolated slices of fixed profiles (Multi-Instance GPU).
    Mig,
}

impl Sharing {
    /// Its name in scenarios.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TimeSlicing => "time_slicing",
            Self::Mps => "mps",
            Self::Mig => "mig",
        }
    }
}

fn overlap_gain() -> Probability {
    Probability::new(OVERLAP_GAIN).expect("a share")
}

/// Names a component's place on a shared GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId {
    device: u32,
    client: u16,
}

impl ClientId {
    /// As one number, for events.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.device) << 16 | u64::from(self.client)
    }

    /// The client that [`ClientId::to_bits`] gave.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self { device: (bits >> 16) as u32, client: bits as u16 }
    }
}

/// How a component wants to use a shared GPU: the keys of its table.
#[derive(Debug, Clone, Copy)]
pub struct Placement<'a> {
    /// The device's name.
    pub device: &'a str,
    /// With MIG, the profile of its slice.
    pub mig_profile: Option<&'a str>,
    /// With MPS, the most of the GPU that it may use, in percent.
    pub active_thread_percentage: Option<f64>,
}

/// What a client has of a GPU.
#[derive(Debug, Clone)]
pub struct Slice {
    /// Its name on the device.
    pub client: ClientId,
    /// The GPU as it sees it: peaks, bandwidth and memory of its slice with MIG, otherwise all of it.
    pub gpu: Gpu,
    /// Its share of the multiprocessors.
    pub compute: Rate,
    /// Its share of the memory bandwidth.
    pub bandwidth: Rate,
}

#[derive(Debug)]
struct Client {
    component: ComponentId,
    name: String,
    profile: Option<&'static MigProfile>,
    memory_bytes: u64,
    /// Whether it will be told of a change.
    told: bool,
}

#[derive(Debug)]
struct Device {
    /// None for a GPU that only one component knows of.
    name: Option<String>,
    gpu: &'static Gpu,
    rule: Rule,
    sharing: Sharing,
    gain: Rate,
    tariff: Tariff,
    clients: Vec<Client>,
    /// What each client claims, and the rate of each of its works now and before the last change.
    claims: Vec<Claim>,
    rates: Vec<Rate>,
    before: Vec<Rate>,
    /// Works running, over time.
    running: TimeWeighted,
    /// 1 while any is, over time.
    busy: TimeWeighted,
}

impl Device {
    fn new(name: Option<&str>, gpu: &'static Gpu, sharing: Sharing, rule: Rule, gain: f64) -> Self {
        let level = || TimeWeighted::new(SimTime::ZERO, 0);
        Self {
            name: name.map(str::to_owned),
            gpu,
            rule,
            sharing,
            gain: Rate::from_share(gain),
            tariff: Tariff {
                model: PriceModel::OnDemand,
                usd_per_hour: gpu.price_per_hour,
                source: gpu.price_source.clone(),
            },
            clients: Vec::new(),
            claims: Vec::new(),
            rates: Vec::new(),
            before: Vec::new(),
            running: level(),
            busy: level(),
        }
    }

    fn add(&mut self, component: ComponentId, name: &str, profile: Option<&'static MigProfile>, limit: Rate) {
        let name = name.to_owned();
        self.clients.push(Client { component, name, profile, memory_bytes: 0, told: false });
        self.claims.push(Claim { running: 0, speed: Rate::FULL, limit });
        self.compute_rates();
    }

    fn compute_rates(&mut self) {
        std::mem::swap(&mut self.rates, &mut self.before);
        rates(self.rule, self.gain, &self.claims, &mut self.rates);
    }
}

/// Every GPU that work goes on on at a changing rate.
#[derive(Debug, Default)]
pub struct Devices {
    list: Vec<Device>,
}

impl Devices {
    /// The devices of a system, without clients.
    ///
    /// # Errors
    /// What is wrong with one; the path starts at `devices`.
    pub(crate) fn new(config: &IndexMap<String, DeviceConfig>) -> Result<Self, ConfigError> {
        let built = config
            .iter()
            .map(|(name, device)| device.build(name).map_err(|error| error.within(name).within("devices")));
        Ok(Self { list: built.collect::<Result<_, _>>()? })
    }

    /// A place on a shared GPU.
    pub(crate) fn join(
        &mut self,
        component: ComponentId,
        name: &str,
        placement: &Placement,
    ) -> Result<Slice, ConfigError> {
        let known: Vec<&str> = self.list.iter().filter_map(|device| device.name.as_deref()).collect();
        let Some(index) =
            self.list.iter().position(|device| device.name.as_deref() == Some(placement.device))
        else {
            let help = match known.as_slice() {
                [] => "there is none: add a [devices.NAME] table".to_owned(),
                known => format!("expected one of {}", known.join(", ")),
            };
            let message = format!("unknown device `{}`", placement.device);
            return Err(ConfigError::new(["device"], message).help(help));
        };
        let device = &mut self.list[index];
        let (profile, compute) = device.slice(placement)?;
        let bandwidth = profile.map_or(Rate::FULL, MigProfile::bandwidth);
        let limit = Rate::from_share(placement.active_thread_percentage.unwrap_or(100.0) / 100.0);
        let client = ClientId { device: index as u32, client: device.clients.len() as u16 };
        device.add(component, name, profile, limit);
        Ok(Slice { client, gpu: slice_of(device.gpu, profile, compute, bandwidth), compute, bandwidth })
    }

    /// A whole GPU for one component, whose works run side by side on it.
    pub(crate) fn own(&mut self, component: ComponentId, name: &str, gpu: &'static Gpu) -> ClientId {
        let mut device = Device::new(None, gpu, Sharing::Mps, Rule::Mps, OVERLAP_GAIN);
        device.add(component, name, None, Rate::FULL);
        self.list.push(device);
        ClientId { device: (self.list.len() - 1) as u32, client: 0 }
    }

    /// Says how much memory a client holds, and how fast its works are on its slice when nothing
    /// else runs, relative to the time they are described by.
    ///
    /// # Errors
    /// When a GPU of its own or its MIG slice is too small.
    pub(crate) fn occupy(&mut self, id: ClientId, memory_bytes: u64, speed: Rate) -> Result<(), ConfigError> {
        let device = &mut self.list[id.device as usize];
        let client = &mut device.clients[usize::from(id.client)];
        client.memory_bytes = memory_bytes;
        device.claims[usize::from(id.client)].speed = speed;
        let (place, room, key) = match (client.profile, &device.name) {
            (Some(profile), _) => {
                (format!("a {} slice", profile.name), profile.memory_bytes(), "mig_profile")
            }
            (None, None) => (device.gpu.id.clone(), device.gpu.memory_bytes, "gpu"),
            (None, Some(_)) => (String::new(), u64::MAX, "device"),
        };
        if memory_bytes > room {
            let message = format!(
                "{} GiB do not fit into the {} GiB of {place}: {} GiB short",
                gib(memory_bytes),
                gib(room),
                gib(memory_bytes - room)
            );
            return Err(ConfigError::new([key], message).help("take a larger one, or less memory"));
        }
        device.compute_rates();
        Ok(())
    }

    /// Checks that the clients of each device fit on it together, and puts it on their bills.
    ///
    /// # Errors
    /// What does not fit, with the shortfall; the path starts at `devices`.
    pub(crate) fn settle(&self, cost: &mut CostMeter) -> Result<(), ConfigError> {
        for device in &self.list {
            let Some(name) = &device.name else { continue };
            device.check(name)?;
            let parts =
                |client: &Client| client.profile.map_or(1, |profile| u32::from(profile.memory_slices));
            let all: u32 = device.clients.iter().map(parts).sum();
            // The processes of a component are alike and joined one after the other.
            for processes in device.clients.chunk_by(|one, next| one.component == next.component) {
                let share = f64::from(parts(&processes[0])) / f64::from(all);
                let resource = format!("share of gpu {} ({name})", device.gpu.id);
                let (component, count) = (processes[0].component, processes.len() as u64);
                cost.add_share(component, resource, &device.tariff, share, count);
            }
        }
        Ok(())
    }

    /// The rate of each work of a client.
    pub(crate) fn rate(&self, id: ClientId) -> Rate {
        self.list[id.device as usize].rates[usize::from(id.client)]
    }

    /// Whose a client is.
    pub(crate) fn component(&self, id: ClientId) -> ComponentId {
        self.list[id.device as usize].clients[usize::from(id.client)].component
    }

    /// A client has been told of its rate.
    pub(crate) fn told(&mut self, id: ClientId) {
        self.list[id.device as usize].clients[usize::from(id.client)].told = false;
    }

    /// A client has so many works running from now on; names the other clients whose work goes on at
    /// another rate.
    pub(crate) fn set_running(
        &mut self,
        id: ClientId,
        running: u32,
        now: SimTime,
        mut tell: impl FnMut(ClientId),
    ) {
        let device = &mut self.list[id.device as usize];
        device.claims[usize::from(id.client)].running = running;
        device.compute_rates();
        let total: u64 = device.claims.iter().map(|claim| u64::from(claim.running)).sum();
        device.running.set(now, total);
        device.busy.set(now, total.min(1));
        for (index, client) in device.clients.iter_mut().enumerate() {
            let changed = device.before[index] != device.rates[index];
            let concerned = index != usize::from(id.client) && device.claims[index].running > 0;
            if concerned && changed && !client.told {
                client.told = true;
                tell(ClientId { device: id.device, client: index as u16 });
            }
        }
    }

    pub(crate) fn reset(&mut self, now: SimTime) {
        for device in &mut self.list {
            device.running.reset(now);
            device.busy.reset(now);
        }
    }
}

impl DeviceConfig {
    fn build(&self, name: &str) -> Result<Device, ConfigError> {
        let gpu = catalogue::gpu(&self.gpu).map_err(|error| {
            ConfigError::new(["gpu"], format!("unknown gpu `{}`", error.name))
                .help(format!("expected {}", error.accepted()))
        })?;
        if gpu.is_host() {
            return Err(ConfigError::new(["gpu"], format!("{} is a CPU host", gpu.id))
                .help("expected a GPU; components on CPUs have hosts of their own"));
        }
        let turns = [("time_slice", self.time_slice), ("context_switch", self.context_switch)];
        let rule = match self.sharing {
            Sharing::TimeSlicing => {
                let nanos = |time: Option<Time>, default| time.map_or(default, |time| time.get().as_nanos());
                let slice = nanos(self.time_slice, TIME_SLICE);
                if slice == 0 {
                    return Err(ConfigError::new(["time_slice"], "a turn of 0 does no work")
                        .help("expected a time above 0, such as \"2ms\""));
                }
                let switch = nanos(self.context_switch, CONTEXT_SWITCH);
                if slice.checked_add(switch).is_none() {
                    return Err(ConfigError::new(
                        ["context_switch"],
                        "a turn and a switch take longer than 584 years",
                    ));
                }
                Rule::TimeSlicing { slice, switch }
            }
            Sharing::Mps => Rule::Mps,
            Sharing::Mig if mig_gpu(&gpu.id).is_none() => {
                return Err(ConfigError::new(
                    ["sharing"],
                    format!("no MIG profiles are known for {}", gpu.id),
                )
                .help(format!("they are for {}", mig_gpus().collect::<Vec<_>>().join(", "))));
            }
            Sharing::Mig => Rule::Mig,
        };
        if let Some((key, _)) = turns.iter().find(|(_, time)| time.is_some())
            && self.sharing != Sharing::TimeSlicing
        {
            let message = format!(
                "`{key}` is given, but nobody takes turns with sharing = \"{}\"",
                self.sharing.name()
            );
            return Err(ConfigError::new([*key], message).help("it belongs to sharing = \"time_slicing\""));
        }
        let mut device = Device::new(Some(name), gpu, self.sharing, rule, self.overlap_gain.get());
        let model = self.price_model.unwrap_or_default();
        let within = |error: ConfigError| error.within("price_model");
        if model.reserved.is_some() || model.reserved_discount.is_some() {
            let error = ConfigError::new(["reserved"], "a device is one GPU");
            return Err(within(error.help("expected model = \"reserved\" for all of it")));
        }
        if let Some(tariff) = model.tariff(ListPrice::of(gpu, self.price_per_hour)).map_err(within)? {
            device.tariff = tariff;
        }
        Ok(device)
    }
}

impl Device {
    /// The profile that a client asks for, and its share of the multiprocessors.
    fn slice(&self, placement: &Placement) -> Result<(Option<&'static MigProfile>, Rate), ConfigError> {
        let sharing = format!("sharing = \"{}\"", self.sharing.name());
        let place = placement.device;
        if let Some(percentage) = placement.active_thread_percentage {
            let key = ["active_thread_percentage"];
            if self.sharing != Sharing::Mps {
                let message = format!("`active_thread_percentage` is given, but `{place}` has {sharing}");
                return Err(ConfigError::new(key, message).help("it belongs to sharing = \"mps\""));
            }
            if !(percentage > 0.0 && percentage <= 100.0) {
                let message = format!("active_thread_percentage is {percentage}");
                return Err(ConfigError::new(key, message).help("expected more than 0 and at most 100"));
            }
        }
        let key = ["mig_profile"];
        match (self.sharing, placement.mig_profile) {
            (Sharing::Mig, profile) => {
                let gpu = mig_gpu(&self.gpu.id).expect("checked when the device was built");
                let accepted = || format!("expected one of {}", gpu.names().collect::<Vec<_>>().join(", "));
                let Some(name) = profile else {
                    let message = format!("`{place}` is cut into MIG slices, and `mig_profile` is not given");
                    return Err(ConfigError::new(key, message).help(accepted()));
                };
                let Some(profile) = gpu.profile(name) else {
                    let message = format!("{} has no MIG profile `{name}`", self.gpu.id);
                    return Err(ConfigError::new(key, message).help(accepted()));
                };
                Ok((Some(profile), gpu.compute(profile)))
            }
            (_, Some(_)) => {
                let message = format!("`mig_profile` is given, but `{place}` has {sharing}");
                Err(ConfigError::new(key, message).help("it belongs to sharing = \"mig\""))
            }
            (_, None) => Ok((None, Rate::FULL)),
        }
    }

    fn check(&self, name: &str) -> Result<(), ConfigError> {
        let wrong = |message: String| ConfigError::new(["devices", name], message);
        if self.clients.is_empty() {
            return Err(wrong(format!("no component runs on `{name}`"))
                .help(format!("put device = \"{name}\" into one, or remove it")));
        }
        if self.sharing == Sharing::Mig {
            let profiles: Vec<_> = self.clients.iter().filter_map(|client| client.profile).collect();
            if !mig::fit(&profiles) {
                let names: Vec<_> = profiles.iter().map(|profile| profile.name).collect();
                return Err(wrong(format!(
                    "the slices {} do not fit on one {}",
                    names.join(", "),
                    self.gpu.id
                ))
                .help("a GPU has 7 compute and 8 memory slices"));
            }
            return Ok(());
        }
        let needed = self.clients.iter().map(|client| u128::from(client.memory_bytes)).sum::<u128>();
        let room = self.gpu.memory_bytes;
        if needed > u128::from(room) {
            let each: Vec<_> = self
                .clients
                .iter()
                .map(|client| format!("{} {}", client.name, gib(client.memory_bytes)))
                .collect();
            let missing = u64::try_from(needed - u128::from(room)).unwrap_or(u64::MAX);
            let message = format!(
                "its components do not fit into the {} GiB of {}: {} GiB short",
                gib(room),
                self.gpu.id,
                gib(missing)
            );
            return Err(wrong(message).help(format!("in GiB: {}", each.join(", "))));
        }
        Ok(())
    }
}

/// The part of a GPU that a MIG profile has.
fn slice_of(gpu: &Gpu, profile: Option<&MigProfile>, compute: Rate, bandwidth: Rate) -> Gpu {
    let mut slice = gpu.clone();
    let Some(profile) = profile else { return slice };
    let (compute, bandwidth) = (compute.as_f64(), bandwidth.as_f64());
    slice.memory_bytes = profile.memory_bytes();
    slice.memory_bandwidth *= bandwidth;
    for peak in [&mut slice.fp32, &mut slice.tf32, &mut slice.fp16] {
        *peak *= compute;
    }
    for peak in [&mut slice.fp8, &mut slice.int8].into_iter().flatten() {
        *peak *= compute;
    }
    if let Some(measured) = &mut slice.measured {
        measured.gemm *= compute;
        measured.prefill_attention *= compute;
        measured.weight_bandwidth *= bandwidth;
        measured.decode_attention_bandwidth *= bandwidth;
    }
    slice
}

/// GiB with two decimals.
fn gib(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / (1u64 << 30) as f64)
}
