//! `cargo xtask fuzz`: every fuzz target for a while, beginning at the committed corpus.
//!
//! The targets are laid out as `cargo fuzz` wants them, and can be run with it. This builds them with the same flags and
//! the pinned toolchain, so that nothing needs to be installed but a C++ compiler for libFuzzer.

use std::{fs, path::Path, process::Command};

use crate::{
    memory::target_dir,
    needs,
    process::{self, Done, Outcome, cargo, host, run as run_command},
    tree,
};

/// Targets, in the order of `fuzz/Cargo.toml`.
const TARGETS: &[&str] = &["lines", "rpc", "hello", "offer", "channel"];
/// As `cargo fuzz` has them: coverage of edges and comparisons, and the address sanitizer.
const FLAGS: &str = "-Zsanitizer=address -Cpasses=sancov-module \
                     -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1";
/// Seconds for each target where nobody says otherwise.
pub(crate) const SECONDS: u32 = 5;

/// What is fuzzed, and for how long.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Seconds for each target.
    #[arg(long, default_value_t = SECONDS)]
    seconds: u32,
    /// Which targets: lines, rpc, hello, offer, channel. Default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Fuzzes what was asked for.
///
/// # Errors
/// When a target failed, or there is none of that name.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let unknown = |name: &&String| !TARGETS.contains(&name.as_str());
    if let Some(name) = options.names.iter().find(unknown) {
        return Err(format!(
            "no fuzz target `{name}`; there are {}",
            TARGETS.join(", ")
        ));
    }
    fuzz(&options.names, options.seconds).map(Done::tell)
}

/// Builds the targets and runs those named, or all.
///
/// # Errors
/// Names the target that failed, and the input that made it fail.
pub(crate) fn fuzz(names: &[String], seconds: u32) -> Outcome<Done> {
    let host = host()?;
    if !host.contains("linux") && !host.contains("darwin") {
        return process::missing(format!("libFuzzer is not to be had for {host}"));
    }
    if let Err(missing) = needs::look("fuzz") {
        return process::missing(missing);
    }
    let target = target_dir().join("fuzz");
    // Not `--locked`: its lock file is another workspace's, which whoever gives our crates a dependency has no reason to
    // think of. What it names stays pinned, what is new is added.
    let mut build = cargo(["build", "--release", "--manifest-path", "fuzz/Cargo.toml"]);
    build
        .args(["--target", &host])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_TARGET_DIR", &target);
    run_command(&mut build)?;
    let programs = target.join(&host).join("release");
    for name in TARGETS {
        if names.is_empty() || names.iter().any(|asked| asked == name) {
            one(name, &programs, &target, seconds)?;
        }
    }
    Ok(Done::Whole)
}

fn one(name: &str, programs: &Path, target: &Path, seconds: u32) -> Outcome<()> {
    let grown = target.join("corpus").join(name);
    let failures = target.join("artifacts").join(name);
    for folder in [&grown, &failures] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    say!("{name}:");
    // What it finds goes to the first folder; the committed corpus is only read.
    let mut fuzzer = Command::new(programs.join(name));
    fuzzer
        .arg(&grown)
        .arg(tree::root().join("fuzz/corpus").join(name))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .args([
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-max_len=8192",
            "-verbosity=0",
            "-print_funcs=0",
            "-print_final_stats=1",
        ]);
    run_command(&mut fuzzer)
        .map_err(|error| format!("{error}; what made it fail is in {}", failures.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn every_target_is_built_run_and_has_a_corpus() {
        let tree = Tree::read().unwrap();
        let manifest: toml::Table = tree.text("fuzz/Cargo.toml").unwrap().parse().unwrap();
        let bins = manifest["bin"].as_array().unwrap();
        let names: Vec<_> = bins
            .iter()
            .map(|bin| bin["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, TARGETS);
        for name in TARGETS {
            assert!(
                tree.contains(&format!("fuzz/fuzz_targets/{name}.rs")),
                "{name}"
            );
            assert!(tree.contains(&format!("fuzz/corpus/{name}")), "{name}");
        }
    }
}
