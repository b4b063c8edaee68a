//! Multi-Instance GPU (MIG): the fixed profiles a GPU can be cut into, and which of them fit together.
//!
//! A GPU has seven compute slices and eight memory slices. An instance holds whole slices at one of a
//! few places: no instance borrows what another leaves idle.

use super::work::Rate;

/// Bytes in a hundredth of a GiB, in which `nvidia-smi` prints memory.
const HUNDREDTH_GIB: u64 = (1 << 30) / 100;
const MEMORY_SLICES: u8 = 8;

/// A kind of GPU instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigProfile {
    /// Its name, such as `2g.20gb`.
    pub name: &'static str,
    /// Memory slices of the eight, which share out memory, its bandwidth and the L2 cache.
    pub memory_slices: u8,
    /// Streaming multiprocessors.
    pub sms: u16,
    /// Memory in hundredths of a GiB.
    memory: u16,
    /// First memory slices at which it may lie.
    places: &'static [u8],
}

impl MigProfile {
    /// Memory in bytes.
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.memory) * HUNDREDTH_GIB
    }

    /// Its share of the memory bandwidth.
    pub fn bandwidth(&self) -> Rate {
        Rate::share(self.memory_slices.into(), MEMORY_SLICES.into())
    }
}

/// The profiles of a GPU.
#[derive(Debug, Clone, Copy)]
pub struct MigGpu {
    /// Its id in the catalogue.
    gpu: &'static str,
    /// Its streaming multiprocessors with MIG off.
    sms: u16,
    profiles: &'static [MigProfile],
}

impl MigGpu {
    /// Share of the whole GPU's multiprocessors that an instance has.
    pub fn compute(&self, profile: &MigProfile) -> Rate {
        Rate::share(profile.sms.into(), self.sms.into())
    }

    /// The profile of a name.
    pub fn profile(&self, name: &str) -> Option<&'static MigProfile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// Names of the profiles.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.profiles.iter().map(|profile| profile.name)
    }
}

const fn profile(
    name: &'static str,
    memory_slices: u8,
    sms: u16,
    memory: u16,
    places: &'static [u8],
) -> MigProfile {
    MigProfile { name, memory_slices, sms, memory, places }
}

const ONE: &[u8] = &[0, 1, 2, 3, 4, 5, 6];
const ONE_WIDE: &[u8] = &[0, 2, 4, 6];
const TWO: &[u8] = &[0, 2, 4];
const THREE: &[u8] = &[0, 4];
const FIRST: &[u8] = &[0];

/// H100: shares and numbers of instances from the NVIDIA Multi-Instance GPU User Guide ("Supported MIG
/// Profiles"), SMs and memory as `nvidia-smi mig -lgip` prints them (jbarrow.ai/field_notes/nvidia-mig). A100: 14,
/// 28 and 42 SMs of 108 are published (NJIT, MIG profile comparison); 56 and 98 continue them by slices
/// (assumption), memory is that of the H100's slices, of the 40 GB card half of it (assumption), and 1g.10gb
/// of the 40 GB card has two memory slices, as four of them fit (the guide prints 1/8). Places are
/// recalled from `nvidia-smi mig -lgipp` (assumption); on the H100 they give the guide's numbers of instances.
const GPUS: [MigGpu; 3] = [
    MigGpu {
        gpu: "a100-sxm-40gb",
        sms: 108,
        profiles: &[
            profile("1g.5gb", 1, 14, 475, ONE),
            profile("1g.10gb", 2, 14, 975, ONE_WIDE),
            profile("2g.10gb", 2, 28, 975, TWO),
            profile("3g.20gb", 4, 42, 1962, THREE),
            profile("4g.20gb", 4, 56, 1962, FIRST),
            profile("7g.40gb", 8, 98, 3950, FIRST),
        ],
    },
    MigGpu {
        gpu: "a100-sxm-80gb",
        sms: 108,
        profiles: &[
            profile("1g.10gb", 1, 14, 975, ONE),
            profile("1g.20gb", 2, 14, 1962, ONE_WIDE),
            profile("2g.20gb", 2, 28, 1962, TWO),
            profile("3g.40gb", 4, 42, 3950, THREE),
            profile("4g.40gb", 4, 56, 3950, FIRST),
            profile("7g.80gb", 8, 98, 7925, FIRST),
        ],
    },
    MigGpu {
        gpu: "h100-sxm",
        sms: 132,
        profiles: &[
            profile("1g.10gb", 1, 16, 975, ONE),
            profile("1g.20gb", 2, 26, 1962, ONE_WIDE),
            profile("2g.20gb", 2, 32, 1962, TWO),
            profile("3g.40gb", 4, 60, 3950, THREE),
            profile("4g.40gb", 4, 64, 3950, FIRST),
            profile("7g.80gb", 8, 132, 7925, FIRST),
        ],
    },
];

/// The profiles of a GPU of the catalogue; none where they are not known.
pub fn mig_gpu(id: &str) -> Option<&'static MigGpu> {
    const { &GPUS }.iter().find(|gpu| gpu.gpu == id)
}

/// Ids of the GPUs whose profiles are known.
pub fn mig_gpus() -> impl Iterator<Item = &'static str> {
    GPUS.iter().map(|gpu| gpu.gpu)
}

/// Whether instances of these profiles fit on one GPU together.
pub(super) fn fit(profiles: &[&MigProfile]) -> bool {
    /// Tries every place of the first of them; `taken` has a bit for each memory slice.
    fn place(profiles: &[&MigProfile], taken: u16) -> bool {
        let Some((first, others)) = profiles.split_first() else { return true };
        first.places.iter().any(|start| {
            let slices = ((1 << first.memory_slices) - 1) << start;
            taken & slices == 0 && place(others, taken | slices)
        })
    }
    // More than seven never fit; the widest first finds an answer soonest.
    let mut widest_first = profiles.to_vec();
    widest_first.sort_by_key(|profile| std::cmp::Reverse(profile.memory_slices));
    profiles.len() <= usize::from(MEMORY_SLICES) && place(&widest_first, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(names: &[&str]) -> bool {
        let gpu = mig_gpu("h100-sxm").unwrap();
        fit(&names.iter().map(|name| gpu.profile(name).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn as_many_instances_as_the_user_guide_says() {
        // H100: 7, 4, 3, 2, 1 and 1.
        for (name, most) in
            [("1g.10gb", 7), ("1g.20gb", 4), ("2g.20gb", 3), ("3g.40gb", 2), ("4g.40gb", 1), ("7g.80gb", 1)]
        {
            assert!(fits(&vec![name; most]), "{most} {name}");
            assert!(!fits(&vec![name; most + 1]), "{} {name}", most + 1);
        }
        assert!(!fits(&["1g.10gb"; 30]));
    }

    #[test]
    fn mixtures_lie_where_they_may() {
        // By the places above.
        for good in [
            &["4g.40gb", "3g.40gb"][..],
            &["3g.40gb", "3g.40gb"],
            &["4g.40gb", "2g.20gb", "1g.10gb"],
            &["2g.20gb", "2g.20gb", "2g.20gb", "1g.10gb"],
            &["1g.10gb", "1g.10gb", "1g.20gb", "3g.40gb"],
        ] {
            assert!(fits(good), "{good:?}");
        }
        for bad in [
            &["7g.80gb", "1g.10gb"][..],
            &["3g.40gb", "3g.40gb", "1g.10gb"],
            &["4g.40gb", "4g.40gb"],
            &["2g.20gb", "2g.20gb", "3g.40gb", "1g.10gb"],
        ] {
            assert!(!fits(bad), "{bad:?}");
        }
    }

    #[test]
    fn every_gpu_is_in_the_catalogue_and_its_slices_are_in_it() {
        for gpu in &GPUS {
            let whole = crate::hardware::catalogue::gpu(gpu.gpu).unwrap();
            for profile in gpu.profiles {
                assert!(profile.memory_bytes() <= whole.memory_bytes, "{} {}", gpu.gpu, profile.name);
                assert!(gpu.compute(profile) <= Rate::FULL);
            }
        }
        assert_eq!(mig_gpu("h100-sxm").unwrap().profile("1g.20gb").unwrap().bandwidth().as_f64(), 0.25);
        assert!(mig_gpu("l4").is_none());
    }
}
