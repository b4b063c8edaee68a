//! Other models beside the same measurements: processes that take turns, and sequences that fit into memory.

use sim_models::device::time_slicing_slowdown;
use sim_models::hardware::microbench::{Line, Raw};

/// Tokens of a page of the KV cache, as `tenfold-microbench` hands them out.
const PAGE: u64 = 16;
/// Largest error of the slow-down by time-slicing, and of the sequences that fit.
const BOUNDS: [f64; 2] = [0.15, 0.02];

/// A figure that another model than the profile predicts.
#[derive(Debug, Clone, PartialEq)]
pub struct Beside {
    /// What it is.
    pub what: String,
    /// As measured.
    pub measured: f64,
    /// As predicted.
    pub predicted: f64,
    /// The largest relative error that passes.
    pub bound: f64,
}

impl Beside {
    /// Predicted over measured, less one.
    pub fn error(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }

    /// Whether it keeps to its bound.
    pub fn passed(&self) -> bool {
        self.error().abs() <= self.bound
    }
}

/// All of `raw` that there are models for.
pub(super) fn beside(raw: &Raw) -> Vec<Beside> {
    let mut found = Vec::new();
    let pass_us = |sharing: u32| {
        let times: Vec<f64> = raw
            .lines
            .iter()
            .filter_map(|line| match line {
                Line::Sharing { processes, pass_us, .. } if *processes == sharing => Some(*pass_us),
                _ => None,
            })
            .collect();
        (times.len() == sharing as usize).then(|| times.iter().sum::<f64>() / times.len() as f64)
    };
    if let Some(alone) = pass_us(1) {
        for processes in [2, 4] {
            found.extend(pass_us(processes).map(|shared| Beside {
                what: format!("slow-down of {processes} processes that take turns"),
                measured: shared / alone,
                predicted: time_slicing_slowdown(processes),
                bound: BOUNDS[0],
            }));
        }
    }
    for line in &raw.lines {
        let Line::Memory { way, bytes_per_token, budget_bytes, tokens, longest, fits, .. } = line else {
            continue;
        };
        // Pages are handed out by counting, within one real allocation: little can differ.
        let counted = if way == "paged" { " (counted within one allocation)" } else { "" };
        let predicted = if way == "paged" {
            let blocks = budget_bytes / (PAGE * bytes_per_token);
            let mut left = blocks;
            let fits = tokens.iter().take_while(|tokens| {
                let rest = left.checked_sub(u64::from(**tokens).div_ceil(PAGE));
                left = rest.unwrap_or(0);
                rest.is_some()
            });
            // All that are listed did fit; of those behind them the mean is the best guess.
            let listed = fits.count() as u64;
            let mean = (blocks - left) / listed.max(1);
            listed + left / mean.max(1)
        } else {
            budget_bytes / (u64::from(*longest) * bytes_per_token)
        };
        found.push(Beside {
            what: format!("sequences that fit, KV cache {way}{counted}"),
            measured: *fits as f64,
            predicted: predicted as f64,
            bound: BOUNDS[1],
        });
    }
    found
}
