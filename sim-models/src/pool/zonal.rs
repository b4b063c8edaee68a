//! Zone aware routing: calls go to replicas in the zone of their caller, as far as these have room.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::random::{KeyedDraws, unit};

use super::Front;
use crate::call::CallId;
use crate::component::ComponentId;
use crate::context::Ctx;
use crate::error::ConfigError;
use crate::system::zones::{Locality, Zones};
use crate::units::Probability;

/// Zone aware routing as in Envoy (`ZoneAwareLbConfig` of 1.39; what it does is in "Zone aware routing" of its
/// documentation and in `load_balancer_impl.cc`). As many calls as possible stay in the zone of their caller while all
/// replicas get about as many. A zone with a larger share of the callers than of the replicas sends what is too much
/// to the others, by what these have left. Shares are of callers and replicas that are known to be well.
///
/// The front goes by the balancer alone while callers or replicas are in fewer than two zones, while there are fewer
/// replicas than `min_cluster_size`, and in a panic of the callers or the replicas (`health`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ZoneAware {
    /// Share of the calls that it is for. Default: 1, Envoy's 100%.
    pub routing_enabled: Probability,
    /// The fewest healthy replicas that it is done with. Default: 6, Envoy's.
    pub min_cluster_size: u32,
}

impl Default for ZoneAware {
    fn default() -> Self {
        Self { routing_enabled: Probability::new(1.0).expect("a share"), min_cluster_size: 6 }
    }
}

/// Sets the luck of a call with its zone apart from what else is drawn for it.
const LUCK: u32 = 0x5EED_0002;

/// All of it, in parts that Envoy counts shares in.
const WHOLE: u64 = 10_000;

/// Where a call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// To any replica.
    Anywhere,
    /// To one in this zone.
    In(u16),
    /// Nowhere: the callers are in a panic, and traffic is to fail then.
    Nowhere,
}

/// The replicas of a list that may be picked, by zone.
#[derive(Debug, Default)]
pub(super) struct ByZone {
    lists: Vec<Vec<u32>>,
    total: u64,
}

impl ByZone {
    fn set(&mut self, list: &[u32], zone_of: &[u16]) {
        self.lists.iter_mut().for_each(Vec::clear);
        for replica in list {
            self.lists[usize::from(zone_of[*replica as usize])].push(*replica);
        }
        self.total = list.len() as u64;
    }

    pub(super) fn list(&self, zone: u16) -> &[u32] {
        &self.lists[usize::from(zone)]
    }

    /// The share of a zone.
    fn share(&self, zone: u16) -> u64 {
        (WHOLE * self.list(zone).len() as u64).checked_div(self.total).unwrap_or(0)
    }
}

/// The zones of a pool.
#[derive(Debug)]
pub(super) struct Zonal {
    /// By replica.
    zone_of: Vec<u16>,
    /// Zones that have any of its replicas.
    zones: Vec<u16>,
    in_panic: bool,
    pub(super) all: ByZone,
    /// Those of a version that a router sends a share to.
    pub(super) new: ByZone,
    /// Calls whose zone is known, and those of them that went to another.
    calls: u64,
    crossed: u64,
}

impl Front {
    /// Whether it can go by zones at all.
    pub(super) fn check_zone_aware(&self) -> Result<(), ConfigError> {
        let wrong = |message: &str, help: &str| {
            Err(ConfigError::new(["zone_aware"], message.to_owned()).help(help.to_owned()))
        };
        match &self.fleet {
            _ if self.zone_aware.is_none() => Ok(()),
            _ if self.balance.is_consistent_hash() => wrong(
                "`consistent_hash` does not go by zones (in Envoy neither `RING_HASH` nor `MAGLEV` does)",
                "expected another balancer, such as \"least_request\"",
            ),
            Some(fleet) if fleet.is_bounded() => wrong(
                "calls that wait in front for a replica with room go to the replicas in turn",
                "expected an autoscaler without a bound on the calls of a replica, or no `zone_aware`",
            ),
            _ => Ok(()),
        }
    }

    /// Learns where its replicas are, before the first event.
    pub(super) fn find_zones(&mut self, ctx: &Ctx) {
        let places = ctx.core.zones.places(ctx.me);
        if places.is_empty() {
            return;
        }
        let first = usize::from(self.first);
        let zone_of: Vec<u16> =
            (first..first + self.members.len()).map(|replica| places[replica % places.len()]).collect();
        let by_zone = || ByZone { lists: vec![Vec::new(); ctx.core.zones.count()], total: 0 };
        let zonal = Zonal {
            zone_of,
            zones: Vec::new(),
            in_panic: false,
            all: by_zone(),
            new: by_zone(),
            calls: 0,
            crossed: 0,
        };
        self.zonal = Some(Box::new(zonal));
        self.sort_by_zone(false);
    }

    /// After the candidates have changed.
    pub(super) fn sort_by_zone(&mut self, in_panic: bool) {
        let Some(zonal) = &mut self.zonal else { return };
        zonal.in_panic = in_panic;
        let present = self.members.iter().zip(&zonal.zone_of).filter(|(member, _)| member.is_present());
        zonal.zones = present.map(|(_, zone)| *zone).collect();
        zonal.zones.sort_unstable();
        zonal.zones.dedup();
        zonal.all.set(&self.candidates, &zonal.zone_of);
        zonal.new.set(self.split.as_ref().map_or(&[], |split| split.of_new()), &zonal.zone_of);
    }

    /// Where a call may go of the replicas of `of`.
    pub(super) fn zone_for(&self, call: CallId, of: impl Fn(&Zonal) -> &ByZone, ctx: &Ctx) -> Choice {
        let (Some(config), Some(zonal), Some(draws)) = (self.zone_aware, &self.zonal, self.draws) else {
            return Choice::Anywhere;
        };
        let (request, call) = (ctx.request(call).key, ctx.call(call));
        let Some(from) = call.from else { return Choice::Anywhere };
        let panic = self.config.panic_threshold.get();
        let draws = draws.routing.draws(request, call.hop ^ self.salt() ^ LUCK, call.attempt);
        match zonal.choose(of(zonal), from, (config, panic), &ctx.core.zones, draws) {
            None if self.config.fail_traffic_on_panic => Choice::Nowhere,
            choice => choice.unwrap_or(Choice::Anywhere),
        }
    }

    /// A call goes to a replica: where that is.
    #[inline]
    pub(super) fn note_zone(&mut self, call: CallId, replica: usize, ctx: &mut Ctx) {
        let Some(zonal) = &mut self.zonal else { return };
        let (zone, cluster) = (zonal.zone_of[replica], ctx.me);
        let call = ctx.call_mut(call);
        call.at = Some(Locality { zone, cluster });
        if let Some(from) = call.from {
            zonal.calls += 1;
            zonal.crossed += u64::from(from.zone != zone);
        }
    }

    pub(super) fn reset_zones(&mut self) {
        if let Some(zonal) = &mut self.zonal {
            (zonal.calls, zonal.crossed) = (0, 0);
        }
    }

    /// Share of the calls from a known zone that went to another, of a pool in zones.
    pub(super) fn cross_zone_share(&self) -> Option<f64> {
        let zonal = self.zonal.as_ref()?;
        Some(if zonal.calls == 0 { 0.0 } else { zonal.crossed as f64 / zonal.calls as f64 })
    }
}

impl Zonal {
    /// Envoy's way (`regenerateLocalityRoutingStructures` and `tryChooseLocalLocalityHosts`), with its integers; none
    /// in a panic of the callers.
    fn choose(
        &self,
        replicas: &ByZone,
        from: Locality,
        (config, panic): (ZoneAware, f64),
        zones: &Zones,
        mut draws: KeyedDraws,
    ) -> Option<Choice> {
        let callers = Callers::of(from.cluster, zones);
        if self.in_panic
            || self.zones.len() < 2
            || !callers.are_in_several_zones()
            || replicas.total < config.min_cluster_size.into()
            || unit(&mut draws) >= config.routing_enabled.get()
        {
            return Some(Choice::Anywhere);
        }
        if (callers.up as f64) < panic * callers.places.len() as f64 {
            return None;
        }
        // A zone without replicas counts as one without callers, too: there is nothing to be shared out there.
        let shares = |zone: u16| match replicas.share(zone) {
            0 => (0, 0),
            there => (callers.share(zone), there),
        };
        let (here, there) = shares(from.zone);
        if there > 0 && there >= here {
            return Some(Choice::In(from.zone));
        }
        let local = (there * WHOLE).checked_div(here).unwrap_or(0);
        if draws.next_u64() % WHOLE < local {
            return Some(Choice::In(from.zone));
        }
        let others = || self.zones.iter().copied().filter(|zone| *zone != from.zone);
        let residual = |zone: u16| {
            let (callers, replicas) = shares(zone);
            replicas.saturating_sub(callers)
        };
        let Some(mut left) = draws.next_u64().checked_rem(others().map(residual).sum()) else {
            // By rounding there is nothing left anywhere.
            let place = draws.next_u64() % self.zones.len() as u64;
            return Some(Choice::In(self.zones[place as usize]));
        };
        for zone in others() {
            match left.checked_sub(residual(zone)) {
                Some(rest) => left = rest,
                None => return Some(Choice::In(zone)),
            }
        }
        unreachable!("what is left is less than the sum")
    }
}

/// The instances of a caller: Envoy's local cluster.
#[derive(Debug, Clone, Copy)]
struct Callers<'a> {
    zones: &'a Zones,
    places: &'a [u16],
    /// Those whose zone is not lost.
    up: u64,
}

impl<'a> Callers<'a> {
    fn of(cluster: ComponentId, zones: &'a Zones) -> Self {
        let places = zones.places(cluster);
        Self { zones, places, up: places.iter().filter(|zone| !zones.is_lost(**zone)).count() as u64 }
    }

    fn are_in_several_zones(self) -> bool {
        self.places.iter().any(|zone| *zone != self.places[0])
    }

    fn share(self, zone: u16) -> u64 {
        if self.zones.is_lost(zone) {
            return 0;
        }
        let count = self.places.iter().filter(|place| **place == zone).count() as u64;
        (WHOLE * count).checked_div(self.up).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use sim_core::random::{Purpose, Streams};

    use super::*;

    /// Shares of `draws` calls from each zone to each, with so many callers and replicas in each zone.
    fn flows(callers: &[u16], replicas: &[u16], config: ZoneAware) -> Vec<Vec<f64>> {
        let places = |counts: &[u16]| -> Vec<u16> {
            let zones = counts.iter().zip(0..);
            zones.flat_map(|(count, zone)| std::iter::repeat_n(zone, usize::from(*count))).collect()
        };
        let zone_of = places(replicas);
        let zones = Zones::of_one(places(callers), callers.len().max(replicas.len()));
        let mut all = ByZone { lists: vec![Vec::new(); zones.count()], total: 0 };
        all.set(&(0..zone_of.len() as u32).collect::<Vec<u32>>(), &zone_of);
        let mut in_zones = zone_of.clone();
        in_zones.dedup();
        let zonal = Zonal {
            zone_of,
            zones: in_zones,
            in_panic: false,
            all: ByZone::default(),
            new: ByZone::default(),
            calls: 0,
            crossed: 0,
        };
        let routing = Streams::new(1, 0).keyed("db", Purpose::Routing);
        const CALLS: u64 = 100_000;
        let from = (0..callers.len() as u16).map(|zone| Locality { zone, cluster: ComponentId(0) });
        let row = |from: Locality| {
            let mut counts = vec![0u32; zones.count()];
            for call in 0..CALLS {
                let draws = routing.draws(call, u32::from(from.zone), 0);
                match zonal.choose(&all, from, (config, 0.5), &zones, draws) {
                    Some(Choice::In(zone)) => counts[usize::from(zone)] += 1,
                    choice => assert_eq!(choice, Some(Choice::Anywhere)),
                }
            }
            counts.into_iter().map(|count| f64::from(count) / CALLS as f64).collect()
        };
        from.map(row).collect()
    }

    fn assert_flows(callers: &[u16], replicas: &[u16], expected: &[&[f64]]) {
        for (zone, (row, expected)) in
            flows(callers, replicas, ZoneAware::default()).iter().zip(expected).enumerate()
        {
            for (share, expected) in row.iter().zip(*expected) {
                // Four standard errors.
                assert!((share - expected).abs() < 0.0065, "from {zone}: {row:?}");
            }
        }
    }

    /// The two examples in Envoy's `load_balancer_impl.cc`, worked out by hand.
    #[test]
    fn percentages_are_those_of_envoys_examples() {
        // Of 20% of the callers and 10% of the replicas half stays; the rest goes where there is room, to the 90%.
        assert_flows(&[2, 8], &[1, 9], &[&[0.5, 0.5], &[0.0, 1.0]]);
        // 40, 40, 20% and 25, 50, 25%: of zone a 25 / 40 stay, and the rest goes to b and c as 10 to 5.
        assert_flows(&[4, 4, 2], &[2, 4, 2], &[&[0.625, 0.25, 0.125], &[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0]]);
        // From a zone without replicas: all by what is left in the others, 60 - 40 and 40 - 20.
        assert_flows(&[4, 2, 4], &[6, 4, 0], &[&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[0.5, 0.5, 0.0]]);
    }

    #[test]
    fn small_clusters_and_single_zones_are_not_routed_by_zone() {
        let none = |callers: &[u16], replicas: &[u16], config| {
            flows(callers, replicas, config).iter().flatten().all(|share| *share == 0.0)
        };
        let config = ZoneAware::default();
        assert!(none(&[1, 1], &[3, 2], config) && !none(&[1, 1], &[3, 3], config));
        assert!(none(&[2], &[3, 3], config) && none(&[1, 1], &[6], config));
        assert!(none(&[1, 1], &[3, 3], ZoneAware { routing_enabled: Probability::default(), ..config }));
    }
}
