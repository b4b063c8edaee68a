//! Peak memory by number of requests.

use crate::{simulate, whole};

/// Peak resident memory of this process so far, in KiB; none where the system does not say.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Prints the peak after runs of more and more requests: what is kept does not depend on their number.
pub fn bench() {
    for requests in [10_000, 100_000, 1_000_000] {
        simulate(&whole::system(8), requests, 8, |_| ());
        match peak_kib() {
            Some(peak) => println!("  {requests:>9} requests: peak {:.1} MB", peak as f64 * 1024.0 / 1e6),
            None => println!("  {requests:>9} requests: peak unknown on this system"),
        }
    }
}
