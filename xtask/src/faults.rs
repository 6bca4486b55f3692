//! Known faults that every memory checker must report; otherwise a clean result would prove
//! nothing.

use std::path::Path;

use anyhow::{Result, ensure};
use xshell::{Cmd, cmd};

use crate::process::{Workspace, target_dir};

/// Compiler flag of the address sanitizer.
pub(crate) const SANITIZER: &str = "-Zsanitizer=address";

/// A fault, and what the checkers say of it.
pub(crate) struct Fault {
    name: &'static str,
    body: &'static str,
    /// The address sanitizer.
    pub(crate) sanitizer: &'static str,
    /// Valgrind.
    pub(crate) valgrind: &'static str,
}

const FAULTS: [Fault; 2] = [
    Fault {
        name: "use_after_free",
        body: "let freed = Box::into_raw(Box::new([7_u8; 64]));
        drop(unsafe { Box::from_raw(freed) });
        std::hint::black_box(unsafe { std::ptr::read_volatile(freed.cast::<u8>()) });",
        sanitizer: "heap-use-after-free",
        valgrind: "Invalid read",
    },
    Fault {
        name: "lost_memory",
        body: "#[inline(never)]
        fn lose(bytes: usize) {
            std::mem::forget(std::hint::black_box(vec![7_u8; bytes]));
        }
        (100..200).for_each(lose);",
        sanitizer: "leak of ",
        valgrind: "definitely lost",
    },
];

/// What a fault is built into.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A program.
    Program,
    /// An addon of Node.
    Addon,
}

/// Builds each fault and requires that the checker reports it, with a frame of the fault in the
/// stack: `check` makes the command from the built file, `says` selects the expected words.
///
/// # Errors
/// A fault is not found.
pub(crate) fn must_be_found<'a>(
    sh: &'a Workspace,
    kind: Kind,
    flags: &[&str],
    check: impl Fn(&Path) -> Cmd<'a>,
    says: impl Fn(&Fault) -> &'static str,
) -> Result<()> {
    for fault in &FAULTS {
        let (name, body) = (fault.name, fault.body);
        let folder = target_dir().join("faults");
        let (built, text, to) = match kind {
            Kind::Program => (
                folder.join(name),
                format!("fn main() {{\n{body}\n}}\n"),
                "bin",
            ),
            Kind::Addon => (
                folder.join(format!("{name}.node")),
                format!(
                    "#[unsafe(no_mangle)]\npub extern \"C\" fn napi_register_module_v1(_: *mut (), exports: *mut ()) -> *mut () {{\n{body}\nexports\n}}\n"
                ),
                "cdylib",
            ),
        };
        let source = built.with_extension("rs");
        sh.write_file(&source, text)?;
        cmd!(
            sh,
            "rustc --edition 2024 -g --crate-type {to} {flags...} {source} -o {built}"
        )
        .env("RUSTC_BOOTSTRAP", "1")
        .run()?;
        let output = check(&built).ignore_status().output()?;
        let (said, says) = (String::from_utf8_lossy(&output.stderr), says(fault));
        let reported = said
            .split("\n\n")
            .any(|part| part.contains(says) && part.contains(name));
        // Node's leaks are judged by the report alone.
        let failed = !output.status.success() || matches!(kind, Kind::Addon);
        ensure!(
            reported && failed,
            "the checker does not work here: it did not find the fault `{name}`; it ended with {} and said: {said}",
            output.status
        );
        say!(
            "control: a {} is reported as: {says}",
            name.replace('_', " ")
        );
    }
    Ok(())
}
