//! `cargo xtask fuzz`: runs every fuzz target for a bounded time, starting from the committed
//! corpus.
//!
//! The targets follow the layout of `cargo fuzz` and run with it too. This task builds them with
//! the same flags and the pinned toolchain, so only a C++ compiler for libFuzzer must be installed.

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use crate::{
    needs,
    process::{Workspace, skip, target_dir},
};

/// Targets, in the order of `fuzz/Cargo.toml`.
const TARGETS: [&str; 8] = [
    "lines", "rpc", "hello", "offer", "channel", "frames", "lanes", "noise",
];
/// The flags of `cargo fuzz`: edge and comparison coverage, and the address sanitizer.
const FLAGS: &str = "-Zsanitizer=address -Cpasses=sancov-module \
                     -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1";
/// Default duration per target, in seconds.
const SECONDS: u32 = 5;

/// Targets and duration.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Seconds per target.
    #[arg(long, default_value_t = SECONDS)]
    seconds: u32,
    /// Targets: lines, rpc, hello, offer, channel, frames, lanes, noise. Default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seconds: SECONDS,
            names: Vec::new(),
        }
    }
}

/// Builds the targets and runs the named ones, or all.
///
/// # Errors
/// Names the failed target and the folder of the input that caused the failure.
pub(crate) fn run(sh: &Workspace, options: &Options) -> Result<()> {
    for name in &options.names {
        let known = TARGETS.join(", ");
        ensure!(
            TARGETS.contains(&name.as_str()),
            "no fuzz target `{name}`; there are {known}"
        );
    }
    let host = sh.host()?;
    if !host.contains("linux") && !host.contains("darwin") {
        return skip(format!("libFuzzer is not available for {host}"));
    }
    needs::require("fuzz")?;
    let target = target_dir().join("fuzz");
    // Not `--locked`: the fuzz workspace has its own lock file, which is not updated when a crate
    // gains a dependency. Locked versions stay pinned, new dependencies are added.
    cmd!(
        sh,
        "cargo build --release --manifest-path fuzz/Cargo.toml --target {host}"
    )
    .env("RUSTC_BOOTSTRAP", "1")
    .env("RUSTFLAGS", FLAGS)
    .env("CARGO_TARGET_DIR", &target)
    .run()?;
    let seconds = options.seconds.to_string();
    for name in TARGETS {
        if !options.names.is_empty() && !options.names.iter().any(|asked| asked == name) {
            continue;
        }
        say!("{name}:");
        let program = target.join(&host).join("release").join(name);
        let grown = sh.create_dir(target.join("corpus").join(name))?;
        let failures = sh.create_dir(target.join("artifacts").join(name))?;
        // libFuzzer writes new inputs to the first folder; the committed corpus is only read.
        cmd!(
            sh,
            "{program} {grown} fuzz/corpus/{name} -max_total_time={seconds}
                -artifact_prefix={failures}/ -timeout=10 -rss_limit_mb=1024 -max_len=8192
                -verbosity=0 -print_funcs=0 -print_final_stats=1"
        )
        .run()
        .with_context(|| format!("the failing input is in {}", failures.display()))?;
    }
    Ok(())
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
