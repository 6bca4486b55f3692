//! Deterministic simulation (BX-7): the real runtime and its drivers, over an in-memory network,
//! against a reference daemon, with controlled time. A seed decides all latencies, faults, restarts
//! and clock jumps, and repeats a run.
//!
//! Checked during and after the run: no intent is lost or runs twice, a follower's items are
//! exactly the daemon's timeline, the directory is the daemon's, there is one session, no ERROR is
//! logged, and all of it holds within a bound once the network is healthy.

mod daemon;
mod model;
mod network;
mod scenario;
mod silence;
mod storage;

use std::collections::BTreeMap;

use crate::{log, world::seed};

/// Seeds of a default run. `BOWLINE_SEEDS` sets more, `BOWLINE_SEED` a single one, with its log on
/// failure.
const SEEDS: u64 = 200;

/// Runs one seed with its own clock; returns the log of its transitions.
fn play(seed: u64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    log::keep();
    log::take();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(scenario::run(seed))
    }));
    drop(runtime);
    let log = log::take();
    let errors = log::errors(&log);
    let failure = match outcome {
        Ok(Ok(())) if errors.is_empty() => None,
        Ok(Ok(())) => Some(format!("errors were logged: {errors:?}")),
        Ok(Err(wrong)) => Some(wrong),
        Err(_) => Some("a panic".to_owned()),
    };
    if let Some(failure) = failure {
        let file = std::env::temp_dir().join(format!("bowline-simulation-{seed}.log"));
        let _ = std::fs::write(&file, &log);
        panic!(
            "seed {seed}: {failure}\nplay it again with BOWLINE_SEED={seed}; its log is in {}",
            file.display()
        );
    }
    log.lines().filter_map(transition).collect()
}

/// A log line without its time of day, which differs between runs.
fn transition(line: &str) -> Option<String> {
    let mut record: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    record.remove("timestamp");
    let ours = record.get("target")?.as_str()? == "bowline::transition";
    ours.then(|| format!("{record:?}"))
}

#[test]
fn bx_7_bx_1_bx_2_no_seed_loses_or_repeats_anything_and_all_converge() {
    if std::env::var("BOWLINE_SEED").is_ok() {
        play(seed());
        return;
    }
    let seeds = std::env::var("BOWLINE_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (1..=seeds).filter(|seed| seed % threads == thread) {
                    play(seed);
                }
            });
        }
    });
}

#[test]
fn bx_7_a_seed_plays_the_same_run_again() {
    for seed in [7, 8] {
        let first = play(seed);
        assert!(first.len() > 20, "{}", first.len());
        assert_eq!(first, play(seed));
    }
    assert_ne!(play(7), play(8));
}
