//! A file from the page cache into the device's memory, by threads.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use sim_models::hardware::microbench::Line;

use super::{Section, Suite};
use crate::cuda::{Error, Gpu, Result};

/// What a thread reads at once.
const PIECE: usize = 16 << 20;

fn failed(error: &std::io::Error) -> Error {
    Error::Other(format!("a file of weights in the folder of temporary files: {error}"))
}

pub(super) fn loading(suite: &mut Suite, section: &mut Section) -> Result<()> {
    let pieces = if suite.is_full() { 256 } else { 64 };
    let path = std::env::temp_dir().join(format!("tenfold-microbench-{}.bin", std::process::id()));
    let outcome = load(suite, section, &path, pieces);
    let _ = std::fs::remove_file(&path);
    outcome
}

fn load(suite: &mut Suite, section: &mut Section, path: &std::path::Path, pieces: usize) -> Result<()> {
    let mut file = File::create_new(path).map_err(|error| failed(&error))?;
    let piece: Vec<u8> = (0..PIECE).map(|i| (i * 31 % 251) as u8).collect();
    (0..pieces).try_for_each(|_| file.write_all(&piece)).map_err(|error| failed(&error))?;
    let file = File::open(path).map_err(|error| failed(&error))?;
    let target = suite.pool.at;
    for threads in [1_usize, 2, 4, 8, 16] {
        if !suite.goes_on(section) {
            continue;
        }
        let start = Instant::now();
        let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| {
                    scope.spawn({
                        let file = &file;
                        move || part(file, target, thread, threads, pieces)
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|_| Err(Error::Other("a thread failed".into()))))
                .collect()
        });
        outcomes.into_iter().collect::<Result<()>>()?;
        let seconds = start.elapsed().as_secs_f64();
        let bytes = (pieces * PIECE) as u64;
        suite.out.write(&Line::Load { threads: threads as u32, bytes, seconds })?;
    }
    suite.filled = None;
    Ok(())
}

/// One thread's pieces, through a pinned buffer of its own.
fn part(file: &File, target: u64, thread: usize, threads: usize, pieces: usize) -> Result<()> {
    let gpu = Gpu::open()?;
    let mut room = gpu.pinned(PIECE)?;
    for piece in (thread..pieces).step_by(threads) {
        let at = (piece * PIECE) as u64;
        file.read_exact_at(room.bytes(), at).map_err(|error| failed(&error))?;
        gpu.upload(target + at, room.bytes())?;
        gpu.wait()?;
    }
    Ok(())
}
