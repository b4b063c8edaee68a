//! How many sequences' KV caches fit: pages of 16 tokens against one reserved piece each.

use sim_models::hardware::catalogue;
use sim_models::hardware::microbench::Line;
use sim_models::hardware::precision::Precision;

use super::attention::{PAGE, shuffled};
use super::{Section, Suite};
use crate::cuda::{Buffer, Error, Result};

/// Longest sequence, in tokens.
const LONGEST: u32 = 4096;

pub(super) fn memory(suite: &mut Suite, section: &mut Section) -> Result<()> {
    let model = catalogue::model("llama-3.1-8b").map_err(|error| Error::Other(error.to_string()))?;
    let bytes_per_token = model.kv_bytes_per_token(Precision::Bf16, 1).unwrap_or(0);
    let (free, _) = suite.gpu.memory()?;
    let budget = free / 10 * 8;
    // Lengths from 64 to the longest, all equally likely, in a random order.
    let order = shuffled(u64::from(LONGEST - 63), 5);
    let tokens: Vec<u32> = (0..4096).map(|i| 64 + order[i % order.len()]).collect();
    for way in ["paged", "contiguous"] {
        if !suite.goes_on(section) {
            continue;
        }
        let (mut held, mut taken, mut fits): (Vec<Buffer>, u64, u64) = (Vec::new(), 0, 0);
        if way == "paged" {
            // One piece of memory, handed out by pages.
            let page = PAGE * bytes_per_token;
            held.push(suite.gpu.alloc(budget / page * page)?);
            for length in &tokens {
                let wanted = u64::from(*length).div_ceil(PAGE) * page;
                if taken + wanted > held[0].bytes {
                    break;
                }
                taken += wanted;
                fits += 1;
            }
        } else {
            let each = u64::from(LONGEST) * bytes_per_token;
            let (before, _) = suite.gpu.memory()?;
            while taken + each <= budget {
                held.push(suite.gpu.alloc(each)?);
                fits += 1;
                // What the allocator rounds up to counts.
                taken = before - suite.gpu.memory()?.0;
            }
        }
        let (free_bytes, _) = suite.gpu.memory()?;
        let counted = tokens[..(fits as usize).min(tokens.len())].to_vec();
        suite.out.write(&Line::Memory {
            way: way.into(),
            bytes_per_token,
            budget_bytes: budget,
            tokens: counted,
            longest: LONGEST,
            fits,
            allocated_bytes: taken,
            free_bytes,
        })?;
    }
    Ok(())
}
