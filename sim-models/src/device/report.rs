//! What is known of devices at the end of a run.

use sim_core::time::SimTime;

use super::{Devices, Sharing};
use crate::component::ComponentId;
use crate::energy::Power;

/// A shared GPU at the end of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceOutput {
    /// Its name.
    pub name: String,
    /// The GPU's id in the catalogue.
    pub gpu: String,
    /// How it is shared.
    pub sharing: Sharing,
    /// Share of the measured time in which work ran on it.
    pub busy: f64,
    /// Works that ran on it at a time, on average over the measured time.
    pub running_mean: f64,
    /// Power in watts, on average.
    pub power_mean_w: f64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Its components and the memory that each holds, in bytes.
    pub clients: Vec<(String, u64)>,
}

impl Devices {
    /// Power of each component's own GPUs, of which it held such a share, and of the shared ones by name, in watts on
    /// average.
    pub(crate) fn power(
        &self,
        now: SimTime,
        held: impl Fn(ComponentId) -> f64,
    ) -> impl Iterator<Item = (Result<ComponentId, &str>, f64)> {
        self.list.iter().filter_map(move |device| {
            let owner = device.clients.first()?.component;
            let (owner, held) = match device.name.as_deref() {
                Some(name) => (Err(name), 1.0),
                None => (Ok(owner), held(owner)),
            };
            Some((owner, Power::of(device.gpu).watts(held, device.busy.mean(now))))
        })
    }

    /// What is known of the shared ones at the end of a run.
    pub(crate) fn output(&self, now: SimTime) -> Vec<DeviceOutput> {
        let shared = self.list.iter().filter_map(|device| Some((device, device.name.as_ref()?)));
        let output = shared.map(|(device, name)| DeviceOutput {
            name: name.clone(),
            gpu: device.gpu.id.clone(),
            sharing: device.sharing,
            busy: device.busy.mean(now),
            running_mean: device.running.mean(now),
            power_mean_w: Power::of(device.gpu).watts(1.0, device.busy.mean(now)),
            memory_bytes: device.gpu.memory_bytes,
            clients: device.clients.iter().map(|client| (client.name.clone(), client.memory_bytes)).collect(),
        });
        output.collect()
    }
}
