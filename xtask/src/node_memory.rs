//! The binding library under the address sanitizer, driven from Node: finds leaks and uses after
//! free at the FFI boundary.
//!
//! Node is not instrumented and the sanitizer does not track the JavaScript heap, so V8 and the
//! calling addon have leaks of their own in the report. A suppression list could hide leaks of the
//! library; instead the whole report is parsed, and a leak counts if any frame of its stack is in
//! the library.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use xshell::{Cmd, cmd};

use crate::{
    bindings,
    faults::{self, Kind, SANITIZER},
    memory::{QUICK_C, instrumented},
    needs,
    process::{Workspace, skip, target_dir},
    typescript,
};

/// First line of every report of the sanitizer.
const FINDING: &str = "ERROR: AddressSanitizer";

/// Builds the library with the sanitizer and runs the Node program against it.
///
/// # Errors
/// The sanitizer reports a fault, or misses a known one.
pub(crate) fn asan(sh: &Workspace) -> Result<()> {
    let host = sh.host()?;
    if !host.ends_with("linux-gnu") {
        return skip(format!("Node is not run under the sanitizer on {host}"));
    }
    needs::require("asan node")?;
    let Some(runtime) = sanitizer() else {
        return skip("gcc names no address sanitizer any more".to_owned());
    };
    let load = |addon: &Path| {
        let node = node(sh, &runtime, "-e");
        node.arg("process.dlopen({ exports: {} }, process.argv[1])")
            .arg(addon)
    };
    faults::must_be_found(sh, Kind::Addon, &[SANITIZER], load, |fault| fault.sanitizer)?;
    typescript::prepare(sh)?;
    // With `--target`, build scripts and macros are not instrumented.
    let build = cmd!(
        sh,
        "cargo build --locked -p bowline-ffi --lib --target {host} {QUICK_C...}"
    );
    instrumented(build).run()?;
    let name = bindings::library_name();
    let library = target_dir()
        .join("asan")
        .join(host)
        .join("debug")
        .join(&name);
    let program = "bindings/typescript/tests/children/sanitized.mjs";
    let node = node(sh, &runtime, "--expose-gc")
        .arg(program)
        .env("BOWLINE_LIBRARY", library);
    let node = node.ignore_status();
    let output = node.output()?;
    say!("{}", String::from_utf8_lossy(&output.stdout).trim_end());
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || report.contains(FINDING) {
        bail!("`{node}` ended with {}:\n{report}", output.status);
    }
    let (ours, others) = leaks(&report, &name);
    say!(
        "leaks with a frame of the library: {}; of Node and the addon alone: {others}",
        ours.len()
    );
    ensure!(
        ours.is_empty(),
        "the library leaks:\n\n{}",
        ours.join("\n\n")
    );
    Ok(())
}

/// Path of gcc's sanitizer runtime. Rust links its own only into programs; the interface is the
/// same.
pub(crate) fn sanitizer() -> Option<PathBuf> {
    let mut gcc = std::process::Command::new("gcc");
    let output = gcc.arg("-print-file-name=libasan.so").output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    // Without one, gcc prints the bare name.
    path.is_absolute().then_some(path)
}

/// Node with the sanitizer preloaded.
fn node<'a>(sh: &'a Workspace, runtime: &Path, option: &str) -> Cmd<'a> {
    cmd!(sh, "node {option}")
        .env("LD_PRELOAD", runtime)
        // Leaks are judged here, which needs the file name of every frame; any other fault ends the
        // process at once.
        .env(
            "ASAN_OPTIONS",
            "detect_leaks=1:stack_trace_format=\"    #%n %f %S (%m)\"",
        )
        .env("LSAN_OPTIONS", "exitcode=0")
}

/// The leaks whose stacks contain a frame of `file`, and the number of others.
fn leaks<'a>(report: &'a str, file: &str) -> (Vec<&'a str>, usize) {
    let file = format!("/{file})\n");
    let found = report
        .split("\n\n")
        .filter(|part| part.contains("leak of "));
    let (ours, others): (Vec<_>, Vec<_>) =
        found.partition(|leak| format!("{leak}\n").contains(&file));
    (ours, others.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "==1==ERROR: LeakSanitizer: detected memory leaks\n\n\
        Direct leak of 8 byte(s) in 1 object(s) allocated from:\n    #0 malloc (/x/libasan.so)\n    #1 lose a.rs:1 (/x/libbowline_ffi.so)\n    #2 v8::Call (/usr/bin/node)\n\n\
        Indirect leak of 9 byte(s) in 1 object(s) allocated from:\n    #0 malloc (/x/libasan.so)\n    #1 v8::Page (/usr/bin/node)\n\n\
        SUMMARY: AddressSanitizer: 17 byte(s) leaked in 2 allocation(s).\n";

    #[test]
    fn a_leak_is_ours_if_any_frame_is_whoever_called() {
        let (ours, others) = leaks(REPORT, "libbowline_ffi.so");
        assert_eq!((ours.len(), others), (1, 1));
        assert!(ours[0].starts_with("Direct leak of 8"));
        assert_eq!(leaks("", "libbowline_ffi.so"), (vec![], 0));
    }
}
