//! Which points of the space are simulated.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::random::{Purpose, Streams, unit};

use super::axes::Axis;

/// Most points of a sweep (assumption: a year of simulations of 3 s each).
pub(super) const MAX_POINTS: u64 = 10_000_000;

/// How points are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Design {
    /// Every combination; the last axis changes fastest.
    Grid,
    /// Each axis is drawn by itself for every point.
    Random,
    /// As many strata as there are samples: in each of them, of every axis, lies one point (McKay, Beckman,
    /// Conover: "A Comparison of Three Methods for Selecting Values of Input Variables", Technometrics 1979).
    #[serde(rename = "lhs")]
    LatinHypercube,
}

impl Design {
    /// All of them, by name.
    pub const ALL: [(&str, Self); 3] =
        [("grid", Self::Grid), ("random", Self::Random), ("lhs", Self::LatinHypercube)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, design)| *design == self).expect("all are there").0
    }
}

/// The points of a sweep.
#[derive(Debug, Clone)]
pub(super) struct Points {
    pub design: Design,
    count: u64,
    streams: Streams,
    /// Of a Latin hypercube: the stratum of each point on each axis.
    strata: Vec<Vec<u32>>,
}

impl Points {
    /// The points of a grid.
    ///
    /// # Errors
    /// What is wrong with the axes, in words.
    pub fn grid(axes: &[Axis]) -> Result<Self, String> {
        let mut count = 1u64;
        for axis in axes {
            let levels = axis.levels().ok_or_else(|| {
                format!(
                    "`{}` is a range without a step or a count, from which nothing but a random or lhs design can draw",
                    axis.path
                )
            })?;
            count = count.saturating_mul(levels.len() as u64);
        }
        if count > MAX_POINTS {
            return Err(format!("the grid has more than {MAX_POINTS} points"));
        }
        Ok(Self { design: Design::Grid, count, streams: Streams::new(0, 0), strata: Vec::new() })
    }

    /// `count` points that are drawn.
    pub fn drawn(design: Design, axes: &[Axis], count: u64, seed: u64) -> Self {
        let streams = Streams::new(seed, 0);
        let strata = match design {
            Design::LatinHypercube => axes.iter().map(|axis| permutation(streams, axis, count)).collect(),
            _ => Vec::new(),
        };
        Self { design, count, streams, strata }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// The value of every axis at a point.
    pub fn values(&self, axes: &[Axis], point: u64) -> Vec<String> {
        if self.design == Design::Grid {
            let mut rest = point;
            let mut values: Vec<String> = axes
                .iter()
                .rev()
                .map(|axis| {
                    let levels = axis.levels().expect("checked when the grid was made");
                    let level = (rest % levels.len() as u64) as usize;
                    rest /= levels.len() as u64;
                    levels[level].clone()
                })
                .collect();
            values.reverse();
            return values;
        }
        let value = |(number, axis): (usize, &Axis)| {
            // Keyed by point and named by path: neither other axes nor more samples change a draw.
            let mut draws = self.streams.keyed(&stream(axis), Purpose::Jitter).draws(point, 0, 0);
            let u = unit(&mut draws);
            axis.at(match self.strata.get(number) {
                Some(strata) => (f64::from(strata[point as usize]) + u) / self.count as f64,
                None => u,
            })
        };
        axes.iter().enumerate().map(value).collect()
    }
}

fn stream(axis: &Axis) -> String {
    format!("sweep.{}", axis.path)
}

/// The strata of an axis in random order (Fisher-Yates).
fn permutation(streams: Streams, axis: &Axis, count: u64) -> Vec<u32> {
    let mut stream = streams.stream(&stream(axis), Purpose::Attributes);
    let mut strata: Vec<u32> = (0..count as u32).collect();
    for last in (1..strata.len()).rev() {
        let other = (unit(&mut stream) * (last + 1) as f64) as usize;
        strata.swap(last, other.min(last));
    }
    strata
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn axes(texts: &[&str]) -> Vec<Axis> {
        texts.iter().map(|text| Axis::read(text).unwrap()).collect()
    }

    #[test]
    fn the_last_axis_of_a_grid_changes_fastest() {
        let axes = axes(&["a=1,2", "b=x,y,z"]);
        let grid = Points::grid(&axes).unwrap();
        let all: Vec<String> = (0..grid.len()).map(|point| grid.values(&axes, point).concat()).collect();
        assert_eq!(all, ["1x", "1y", "1z", "2x", "2y", "2z"]);
        assert!(Points::grid(&self::axes(&["a=1..2"])).unwrap_err().contains("without a step"));
        let big = self::axes(&["a=1..1000/1", "b=1..1000/1", "c=1..1000/1"]);
        assert!(Points::grid(&big).unwrap_err().contains("more than"));
    }

    #[test]
    fn draws_depend_on_the_seed_the_path_and_the_point_alone() {
        let (one, two) = (axes(&["a=0.0..1.0"]), axes(&["b=0.0..1.0", "a=0.0..1.0"]));
        let draw = |axes: &[Axis], seed, count, point| {
            Points::drawn(Design::Random, axes, count, seed).values(axes, point).pop().unwrap()
        };
        assert_eq!(draw(&one, 1, 10, 3), draw(&two, 1, 1_000, 3));
        assert_ne!(draw(&one, 1, 10, 3), draw(&one, 2, 10, 3));
        assert_ne!(draw(&one, 1, 10, 3), draw(&one, 1, 10, 4));
    }

    #[test]
    fn random_points_are_uniform() {
        let axes = axes(&["a=0.0..1.0", "b=1.0..100.0 log"]);
        let points = Points::drawn(Design::Random, &axes, 10_000, 5);
        let (mut linear, mut log) = (0.0, 0.0);
        for point in 0..points.len() {
            let values = points.values(&axes, point);
            linear += values[0].parse::<f64>().unwrap();
            log += libm::log10(values[1].parse::<f64>().unwrap()) / 2.0;
        }
        // Means of 10,000 uniform numbers: standard error 0.0029.
        for mean in [linear / 1e4, log / 1e4] {
            assert!((mean - 0.5).abs() < 4.0 * 0.0029, "{mean}");
        }
    }

    proptest! {
        #[test]
        fn every_stratum_of_a_latin_hypercube_holds_one_point(count in 1u64..200, seed in 0u64..1_000) {
            let axes = axes(&["a=0.0..1.0", "b=1.0..16.0 log"]);
            let points = Points::drawn(Design::LatinHypercube, &axes, count, seed);
            for axis in 0..2 {
                let mut strata: Vec<u64> = (0..count)
                    .map(|point| {
                        let value: f64 = points.values(&axes, point)[axis].parse().unwrap();
                        let u = if axis == 0 { value } else { libm::log2(value) / 4.0 };
                        (u * count as f64) as u64
                    })
                    .collect();
                strata.sort_unstable();
                prop_assert_eq!(strata, (0..count).collect::<Vec<_>>());
            }
        }
    }
}
