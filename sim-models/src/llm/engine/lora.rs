//! LoRA adapters: which of them lie on the GPU, which on the host, and who must wait for one.
//!
//! As in vLLM 0.14.0 (`Scheduler.schedule`, and `LRUCacheWorkerLoRAManager` in `vllm/lora/worker_manager.py`): at
//! most `max_loras` different adapters compute in a step; a waiting sequence whose adapter would be one more
//! is passed over, and those behind it are looked at. An adapter has one of `max_loras` places on the GPU
//! and one of `max_cpu_loras` on the host; when a step begins that needs one which is not there, it is loaded
//! before anything is computed, from the host's memory or from disk. The one that was used least recently makes room
//! (of two that were last used in the same step the one of the smaller number).
//!
//! A sequence holds its adapter from its admission to the step that computes its last token; one that gets no
//! tokens in a step holds it all the same, which vLLM leaves open.

use std::collections::BTreeSet;

/// LoRA adapters of an engine, under vLLM's names (`vllm/config/lora.py`, 0.14.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lora {
    /// The most different adapters in one batch; at least 1.
    pub max_loras: u32,
    /// Adapters that the host's memory holds; at least `max_loras`.
    pub max_cpu_loras: u32,
    /// Time to copy one from the host to the GPU, in ticks of 1/1024 ns.
    pub copy_ticks: u64,
    /// Time to read one from disk into the host's memory, in ticks of 1/1024 ns.
    pub read_ticks: u64,
}

/// What admissions found of their adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdapterCounts {
    /// Admissions that found it on the GPU.
    pub hits: u64,
    /// Adapters copied from the host to the GPU, those read from disk among them.
    pub copies: u64,
    /// Adapters read from disk.
    pub reads: u64,
}

impl AdapterCounts {
    pub(super) fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.copies += other.copies;
        self.reads += other.reads;
    }

    pub(super) fn step(&mut self, loads: &Loads) {
        self.hits += u64::from(loads.hits);
        self.copies += u64::from(loads.copies);
        self.reads += u64::from(loads.reads);
    }
}

/// The same in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Loads {
    pub(super) hits: u32,
    pub(super) copies: u32,
    pub(super) reads: u32,
}

impl Lora {
    /// How long a step waits for its adapters, in ticks of 1/1024 ns.
    pub(super) fn ticks(&self, loads: &Loads) -> u64 {
        let of = |count: u32, ticks: u64| u64::from(count).saturating_mul(ticks);
        of(loads.copies, self.copy_ticks).saturating_add(of(loads.reads, self.read_ticks))
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Adapter {
    /// Sequences that hold it.
    users: u32,
    /// The last step in which it was held.
    used: u64,
    on_gpu: bool,
    on_host: bool,
}

/// A tier of memory that evicts the least recently used.
#[derive(Debug, Clone, Default)]
struct Tier {
    held: u32,
    /// Adapters there that nobody holds.
    idle: BTreeSet<(u64, u32)>,
}

/// Where the adapters of one engine are.
#[derive(Debug, Clone)]
pub(super) struct Residency {
    lora: Lora,
    adapters: Vec<Adapter>,
    /// Different adapters that sequences hold.
    active: u32,
    gpu: Tier,
    host: Tier,
}

impl Residency {
    pub(super) fn new(lora: Lora) -> Self {
        Self { lora, adapters: Vec::new(), active: 0, gpu: Tier::default(), host: Tier::default() }
    }

    /// A crash: nothing is anywhere.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.lora);
    }

    /// Different adapters that sequences hold.
    pub(super) fn active(&self) -> u64 {
        self.active.into()
    }

    /// Whether a sequence with `adapter` may join the batch.
    pub(super) fn admits(&self, adapter: u32) -> bool {
        self.active < self.lora.max_loras
            || self.adapters.get(adapter as usize).is_some_and(|adapter| adapter.users > 0)
    }

    /// A sequence with `adapter` joins the batch.
    pub(super) fn enter(&mut self, adapter: u32, loads: &mut Loads) {
        debug_assert!(self.admits(adapter));
        let index = adapter as usize;
        if self.adapters.len() <= index {
            self.adapters.resize(index + 1, Adapter::default());
        }
        let Adapter { users, used, on_gpu, on_host } = self.adapters[index];
        self.adapters[index].users += 1;
        if users == 0 {
            self.active += 1;
            self.gpu.idle.remove(&(used, adapter));
            self.host.idle.remove(&(used, adapter));
        }
        if on_gpu {
            loads.hits += 1;
            return;
        }
        if !on_host {
            loads.reads += 1;
            if self.host.held == self.lora.max_cpu_loras {
                let (used, oldest) = self.host.idle.pop_first().expect("more places than adapters in use");
                self.host.held -= 1;
                self.adapters[oldest as usize].on_host = false;
                // What the host has forgotten the GPU drops, too.
                if std::mem::take(&mut self.adapters[oldest as usize].on_gpu) {
                    self.gpu.idle.remove(&(used, oldest));
                    self.gpu.held -= 1;
                }
            }
            self.host.held += 1;
            self.adapters[index].on_host = true;
        }
        loads.copies += 1;
        if self.gpu.held == self.lora.max_loras {
            let (_, oldest) = self.gpu.idle.pop_first().expect("more places than adapters in use");
            self.gpu.held -= 1;
            self.adapters[oldest as usize].on_gpu = false;
        }
        self.gpu.held += 1;
        self.adapters[index].on_gpu = true;
    }

    /// A sequence with `adapter` has left the batch, with `step` as the last step scheduled.
    pub(super) fn leave(&mut self, adapter: u32, step: u64) {
        let record = &mut self.adapters[adapter as usize];
        record.users -= 1;
        if record.users > 0 {
            return;
        }
        record.used = step;
        self.active -= 1;
        self.gpu.idle.insert((step, adapter));
        self.host.idle.insert((step, adapter));
    }

    /// Checks the counts against the records.
    #[cfg(test)]
    pub(super) fn check(&self, holders: impl Iterator<Item = u32>) {
        let mut users = vec![0; self.adapters.len()];
        holders.for_each(|adapter| users[adapter as usize] += 1);
        let count =
            |of: fn(&Adapter) -> bool| self.adapters.iter().filter(|adapter| of(adapter)).count() as u32;
        assert!(self.adapters.iter().zip(&users).all(|(adapter, users)| adapter.users == *users));
        assert_eq!(count(|adapter| adapter.users > 0), self.active);
        assert_eq!(
            (count(|adapter| adapter.on_gpu), count(|adapter| adapter.on_host)),
            (self.gpu.held, self.host.held)
        );
        assert!(self.adapters.iter().all(|adapter| adapter.on_host || !adapter.on_gpu));
        assert!(self.adapters.iter().all(|adapter| adapter.on_gpu || adapter.users == 0));
        assert!(self.gpu.held <= self.lora.max_loras && self.host.held <= self.lora.max_cpu_loras);
        assert_eq!(self.gpu.idle.len() as u32, count(|adapter| adapter.on_gpu && adapter.users == 0));
        assert_eq!(self.host.idle.len() as u32, count(|adapter| adapter.on_host && adapter.users == 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_makes_room() {
        let lora = Lora { max_loras: 2, max_cpu_loras: 3, copy_ticks: 10, read_ticks: 100 };
        let mut residency = Residency::new(lora);
        let mut use_once = |adapter: u32, step: u64| {
            let mut loads = Loads::default();
            residency.enter(adapter, &mut loads);
            residency.leave(adapter, step);
            residency.check(std::iter::empty());
            (loads.hits, loads.copies, loads.reads, lora.ticks(&loads))
        };
        let (hit, copy, read) = ((1, 0, 0, 0), (0, 1, 0, 10), (0, 1, 1, 110));
        assert_eq!([use_once(0, 1), use_once(1, 2), use_once(0, 3)], [read, read, hit]);
        assert_eq!(use_once(2, 4), read, "1 leaves the GPU");
        assert_eq!([use_once(0, 5), use_once(1, 6)], [hit, copy]);
        assert_eq!(use_once(3, 7), read, "2 leaves the host, where it was alone");
        assert_eq!([use_once(1, 8), use_once(0, 9), use_once(2, 10)], [hit, copy, read]);
    }

    #[test]
    fn a_batch_holds_no_more_than_it_may() {
        let lora = Lora { max_loras: 1, max_cpu_loras: 1, copy_ticks: 1, read_ticks: 1 };
        let mut residency = Residency::new(lora);
        let mut loads = Loads::default();
        residency.enter(4, &mut loads);
        assert!(residency.admits(4) && !residency.admits(0));
        residency.enter(4, &mut loads);
        residency.leave(4, 1);
        assert!(!residency.admits(0));
        residency.check([4].into_iter());
        residency.leave(4, 2);
        assert!(residency.admits(0) && residency.active() == 0);
        assert_eq!((loads.hits, loads.copies, loads.reads), (1, 1, 1));
    }
}
