//! Piecewise-linear functions in floating point, while a profile is made and compiled.

/// The value at `x` of the line through (`xs`, `ys`), which go on beyond their ends as the outermost
/// segments do. `xs` increase, and there is at least one.
pub(super) fn interpolate(xs: &[f64], ys: &[f64], x: f64) -> f64 {
    if xs.len() == 1 {
        return ys[0];
    }
    let segment = xs.partition_point(|at| *at <= x).clamp(1, xs.len() - 1) - 1;
    let share = (x - xs[segment]) / (xs[segment + 1] - xs[segment]);
    ys[segment] + share * (ys[segment + 1] - ys[segment])
}

/// Where `x` lies among `grid`: the indices beside it and their weights. Before the first value it is taken
/// as the first; behind the last, times are taken to grow in proportion.
pub(super) fn neighbours(grid: &[u64], x: f64) -> [(usize, f64); 2] {
    let last = grid.len() - 1;
    if x <= grid[0] as f64 {
        return [(0, 1.0), (0, 0.0)];
    }
    if x >= grid[last] as f64 {
        return [(last, x / grid[last] as f64), (last, 0.0)];
    }
    let upper = grid.partition_point(|at| *at as f64 <= x);
    let (low, high) = (grid[upper - 1] as f64, grid[upper] as f64);
    let share = (x - low) / (high - low);
    [(upper - 1, 1.0 - share), (upper, share)]
}

/// Replaces `values` by the non-decreasing series nearest to them in least squares (pool adjacent
/// violators, Barlow et al. 1972): timings scatter, but more work takes no less time.
pub(super) fn make_monotone(values: &mut [f64]) {
    let mut pools: Vec<(f64, usize)> = Vec::with_capacity(values.len());
    for &value in values.iter() {
        let mut pool = (value, 1);
        while let Some(&(mean, count)) = pools.last() {
            if mean <= pool.0 {
                break;
            }
            pools.pop();
            let together = count + pool.1;
            pool = ((mean * count as f64 + pool.0 * pool.1 as f64) / together as f64, together);
        }
        pools.push(pool);
    }
    let smooth = pools.into_iter().flat_map(|(mean, count)| std::iter::repeat_n(mean, count));
    for (value, smooth) in values.iter_mut().zip(smooth) {
        *value = smooth;
    }
}

/// Rounded to four significant digits, so that files are short.
pub(super) fn four_digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// Microseconds by counts, in a row that increases.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) counts: Vec<f64>,
    /// Non-decreasing.
    pub(super) us: Vec<f64>,
}

impl Series {
    pub(super) fn new(counts: &[u64], us: Vec<f64>) -> Self {
        Self { counts: counts.iter().map(|count| *count as f64).collect(), us }
    }

    pub(super) fn at(&self, count: f64) -> f64 {
        interpolate(&self.counts, &self.us, count.max(self.counts[0]))
    }

    /// The time at `count`, with what is read taking `memory` and what is computed beyond that `compute` times as
    /// long as measured.
    pub(super) fn scaled(&self, count: f64, memory: f64, compute: f64) -> f64 {
        let read = self.us[0];
        memory * read + compute * (self.at(count) - read)
    }

    /// The counts that there are times for.
    pub(super) fn points(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().map(|count| *count as u64)
    }
}

/// The median; none of nothing.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 { Some(upper) } else { Some((values[middle - 1] + upper) / 2.0) }
}
