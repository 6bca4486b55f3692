//! The library under the address sanitizer, driven from Node: what the boundary loses or touches after its end.
//!
//! Node is not instrumented, and the checker does not know the heap of JavaScript: V8 and the addon that calls the library have
//! leaks of their own in its report. So nothing is suppressed by a list that could hide ours: the whole report is read, and a leak counts
//! if any frame of its stack is in the library.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    bindings,
    memory::{QUICK_C, SANITIZER, target_dir},
    needs,
    process::{self, Done, Outcome, cargo, host, run as run_command},
    tree, typescript,
};

/// What drives the library, in the workspace of npm.
const PROGRAM: &str = "tests/children/sanitized.mjs";
/// What the checker says first of all it has to say.
const FINDING: &str = "ERROR: AddressSanitizer";

/// Builds the library with the sanitizer and puts it through everything that Node can do to it.
///
/// # Errors
/// When something was found, and when the checker does not find what it must.
pub(crate) fn asan() -> Outcome<Done> {
    let host = host()?;
    if !host.ends_with("linux-gnu") {
        return process::missing(format!("Node is not run under the sanitizer on {host}"));
    }
    if let Err(missing) = needs::look("asan node") {
        return process::missing(missing);
    }
    let Some(runtime) = sanitizer() else {
        return process::missing("gcc names no address sanitizer any more".to_owned());
    };
    for fault in FAULTS {
        must_find(fault, &runtime)?;
    }
    typescript::prepare()?;
    let library = build(&host)?;
    let mut node = node(&runtime);
    node.args(["--expose-gc", PROGRAM])
        .env("BOWLINE_LIBRARY", &library);
    let report = checked(&mut node)?;
    let (ours, others) = leaks(&report, &bindings::library_name());
    say!(
        "leaks with a frame of the library: {}; of Node and the addon alone: {others}",
        ours.len()
    );
    if ours.is_empty() {
        return Ok(Done::Whole);
    }
    Err(format!("the library leaks:\n\n{}", ours.join("\n\n")))
}

fn build(host: &str) -> Outcome<PathBuf> {
    let target = target_dir().join("asan");
    // With `--target`, build scripts and macros are not instrumented.
    let mut build = cargo([
        "build",
        "--locked",
        "--package=bowline-ffi",
        "--lib",
        "--target",
        host,
    ]);
    build
        .args(QUICK_C)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", SANITIZER)
        .env("CARGO_TARGET_DIR", &target);
    run_command(&mut build)?;
    Ok(target
        .join(host)
        .join("debug")
        .join(bindings::library_name()))
}

/// The sanitizer's library. Of the compilers that have one it is gcc's: Rust links its own into programs only, and their calls are
/// the same.
pub(crate) fn sanitizer() -> Option<PathBuf> {
    let mut gcc = Command::new("gcc");
    let output = gcc.arg("-print-file-name=libasan.so").output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    // Without one, gcc says the name alone.
    path.is_absolute().then_some(path)
}

/// Node with the sanitizer loaded before all else.
fn node(runtime: &Path) -> Command {
    let mut node = Command::new("node");
    node.current_dir(typescript::workspace())
        .env("LD_PRELOAD", runtime)
        // A leak is judged by us, for which every frame must name its file; all else ends the process at once.
        .env(
            "ASAN_OPTIONS",
            "detect_leaks=1:stack_trace_format=\"    #%n %f %S (%m)\"",
        )
        .env("LSAN_OPTIONS", "exitcode=0");
    node
}

/// Runs it to its end and gives what the checker said.
fn checked(node: &mut Command) -> Outcome<String> {
    let shown = process::show(node);
    let output = node
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{shown}` could not be started: {error}"))?;
    crate::say::out(format_args!("{}", String::from_utf8_lossy(&output.stdout)));
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && !report.contains(FINDING) {
        return Ok(report);
    }
    Err(format!("`{shown}` ended with {}:\n{report}", output.status))
}

/// The leaks whose stacks touch a file, and how many others there are.
fn leaks<'a>(report: &'a str, file: &str) -> (Vec<&'a str>, usize) {
    let file = format!("/{file})\n");
    let found = report
        .split("\n\n")
        .filter(|part| part.contains("leak of "));
    let (ours, others): (Vec<_>, Vec<_>) =
        found.partition(|leak| format!("{leak}\n").contains(&file));
    (ours, others.len())
}

/// An addon that does, in Node, what the checker may not overlook.
struct Fault {
    name: &'static str,
    body: &'static str,
    says: &'static str,
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "node_leak",
        body: "(100..200_usize).for_each(|bytes| std::mem::forget(std::hint::black_box(vec![7_u8; bytes])));",
        says: "leak of ",
    },
    Fault {
        name: "node_use_after_free",
        body: "let freed = Box::into_raw(Box::new([7_u8; 64]));
        drop(unsafe { Box::from_raw(freed) });
        std::hint::black_box(unsafe { std::ptr::read_volatile(freed.cast::<u8>()) });",
        says: "heap-use-after-free",
    },
];

/// A checker that finds nothing anywhere proves nothing.
fn must_find(fault: &Fault, runtime: &Path) -> Outcome {
    let folder = target_dir().join("faults");
    let (source, addon) = (
        folder.join(format!("{}.rs", fault.name)),
        folder.join(format!("{}.node", fault.name)),
    );
    let text = format!(
        "#[unsafe(no_mangle)]\npub extern \"C\" fn napi_register_module_v1(_: *mut (), exports: *mut ()) -> *mut () {{\n{}\nexports\n}}\n",
        fault.body
    );
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&source, text))
        .map_err(|error| format!("{}: {error}", source.display()))?;
    let mut rustc = Command::new("rustc");
    rustc
        .args([
            "--edition",
            "2024",
            "-g",
            SANITIZER,
            "--crate-type",
            "cdylib",
        ])
        .arg(&source)
        .arg("-o")
        .arg(&addon)
        .current_dir(tree::root())
        .env("RUSTC_BOOTSTRAP", "1");
    run_command(&mut rustc)?;
    let mut node = node(runtime);
    node.args(["-e", "process.dlopen({ exports: {} }, process.argv[1])"])
        .arg(&addon);
    let report = match checked(&mut node) {
        Ok(report) => leaks(&report, &format!("{}.node", fault.name)).0.join("\n"),
        Err(report) => report,
    };
    if !report.contains(fault.says) {
        return Err(format!(
            "the checker does not work here: it did not find the fault `{}`; it said: {report}",
            fault.name
        ));
    }
    say!(
        "shown a {} in Node it finds it",
        fault.name.replace(['_'], " ")
    );
    Ok(())
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
