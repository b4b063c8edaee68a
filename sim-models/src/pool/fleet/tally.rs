//! What is measured of replicas that come and go.

use sim_core::time::{SimDuration, SimTime};

use super::Fleet;
use crate::autoscaler::Taken;
use crate::measure::Measure;

impl Fleet {
    /// Those that are there or that start or leave, on average.
    pub(in crate::pool) fn held_mean(&self, now: SimTime) -> f64 {
        self.tally.held.mean(now)
    }

    pub(in crate::pool) fn reset_measurements(&mut self, now: SimTime) {
        let tally = &mut self.tally;
        tally.held.reset(now);
        tally.short.reset(now);
        tally.waiting.reset(now);
        tally.desired_max = self.target;
        tally.starts.clear();
        if let Some(interruptions) = &mut self.interruptions {
            interruptions.reset_measurements(now);
        }
        if let Some(versions) = &mut self.versions {
            versions.rollouts.reset_measurements(now);
        }
        if let Some(warm) = &mut self.warm {
            warm.reset_measurements(now);
        }
    }

    pub(in crate::pool) fn measures(&self, now: SimTime) -> Vec<Measure> {
        let tally = &self.tally;
        let stage = |name, stage: fn(&Taken) -> SimDuration, meaning| {
            let sum: f64 = tally.starts.iter().map(|taken| stage(taken).as_secs_f64()).sum();
            let count = tally.starts.len();
            Measure::known(name, (count > 0).then(|| sum / count as f64), meaning)
        };
        let mut list = vec![
            Measure::new(
                "replicas_mean",
                tally.held.mean(now),
                "Replicas there are or that start or leave, on average",
            ),
            Measure::count("replicas_max", tally.held.max(), "The most of them"),
            Measure::count("desired_max", tally.desired_max.into(), "The most that the autoscaler asked for"),
            Measure::new(
                "replicas_short_mean",
                tally.short.mean(now),
                "Replicas that the autoscaler asked for and could not have, on average",
            ),
            Measure::count("cold_starts", tally.starts.len() as u64, "Replicas that were started"),
            stage("cold_start_node_s", |t| t.node, "Mean time of a cold start for a node"),
            stage("cold_start_image_s", |t| t.image, "Mean time of a cold start for the image"),
            stage("cold_start_weights_s", |t| t.weights, "Mean time of a cold start for the weights"),
            stage("cold_start_init_s", |t| t.init, "Mean time of a cold start for the program to be ready"),
            Measure::new(
                "front_queue_mean",
                tally.waiting.mean(now),
                "Calls waiting for a replica, on average",
            ),
            Measure::count("front_queue_max", tally.waiting.max(), "The most of them"),
        ];
        list.extend(self.interruptions.iter().flat_map(|interruptions| interruptions.measures(now)));
        list.extend(self.versions.iter().flat_map(|versions| versions.rollouts.measures(now)));
        list.extend(self.warm.iter().flat_map(|warm| warm.measures(now)));
        list
    }
}
