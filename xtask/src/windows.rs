//! Windows checks from any machine: type-checks the whole workspace, and runs the tests of the
//! named pipe and of the programs under Wine (`testkit/tests/system/windows`).

use std::path::Path;

use anyhow::{Result, ensure};
use xshell::{Cmd, cmd};

use crate::{
    memory::QUICK_C,
    needs,
    process::{Skipped, Workspace, target_dir},
    wine::Wine,
};

const TARGET: &str = "x86_64-pc-windows-gnu";
/// ring and SQLite are compiled from C, even for a check.
pub(crate) const COMPILER: &str = "x86_64-w64-mingw32-gcc";
const PROGRAMS: [&str; 4] = [
    "bowline-daemon",
    "bowline-relay",
    "bowline",
    "bowline-testkit-actor",
];
/// The module of the tests that run the programs.
const TESTS: &str = "windows::";
/// The tests of the local socket's crate, on named pipes.
const PIPE_TESTS: [&str; 4] = ["--test", "client", "--test", "pipe"];
/// Wine 8 lets a second process create the first instance of a pipe. Windows does not.
const NOT_UNDER_WINE: &str = "a_name_has_one_first_instance";

/// Checks with all lints, tests included; then builds and runs.
///
/// # Errors
/// Something does not compile, or a test fails. Missing tools skip the step; in CI they are an
/// error.
pub(crate) fn run(sh: &Workspace) -> Result<()> {
    if cfg!(windows) {
        let why = "this is Windows: the other steps check it".to_owned();
        return Err(anyhow::Error::msg(Skipped(why)));
    }
    needs::require("windows")?;
    cmd!(
        sh,
        "cargo clippy --workspace --lib --bins --locked --target {TARGET} {QUICK_C...} -- -D warnings"
    )
    .run()?;
    // Test helpers used only on Unix are unused here, so such warnings are disabled.
    cmd!(
        sh,
        "cargo check --quiet --workspace --all-targets --locked --target {TARGET} {QUICK_C...}"
    )
    .run()?;
    let bins = PROGRAMS.map(|program| format!("--bin={program}"));
    of_the_programs(sh, "build")
        .args(bins)
        .args(PIPE_TESTS)
        .run()?;
    let programs = target_dir().join(TARGET).join("debug");
    let wine = Wine::start(sh, &target_dir().join("wine"))?;
    let crutch = programs.join("bcryptprimitives.dll");
    compile(sh, &crutch, &["-shared", "-ladvapi32"])?;
    wine.add_library(&crutch)?;
    compile(sh, &programs.join("console.exe"), &["-lshell32"])?;
    compile(sh, &programs.join("exit_code.exe"), &[])?;
    let pipe = of_the_programs(sh, "test")
        .args(PIPE_TESTS)
        .args(["--", "--skip", NOT_UNDER_WINE])
        .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", wine.loader());
    wine.equip(pipe).run()?;
    let system = |list: Option<&str>| {
        // The same packages as in the other steps, so that nothing is rebuilt.
        let packages = ["--workspace", "--test", "system"];
        wine.equip(cmd!(
            sh,
            "cargo test {packages...} --locked -- {TESTS} --ignored {list...}"
        ))
        .env("BOWLINE_TEST_WINDOWS", &programs)
        .env("BOWLINE_TEST_WINE", wine.loader())
    };
    let names = system(Some("--list")).read()?;
    ensure!(
        names.lines().any(|line| line.starts_with(TESTS)),
        "there are no tests `{TESTS}` to run"
    );
    Ok(system(None).run()?)
}

/// A cargo command over the same packages each time, so that nothing is built twice; without debug
/// information: nothing debugs them, and they link faster.
fn of_the_programs<'a>(sh: &'a Workspace, command: &str) -> Cmd<'a> {
    cmd!(
        sh,
        "cargo {command} --locked --target {TARGET} -p bowline-daemon-program -p bowline-relay
            -p bowline-cli -p bowline-testkit -p bowline-local {QUICK_C...}"
    )
    .env("CARGO_PROFILE_DEV_DEBUG", "false")
}

/// Compiles the C file of that name among the tests.
fn compile(sh: &Workspace, to: &Path, libraries: &[&str]) -> Result<()> {
    let name = to.file_stem().unwrap_or_default();
    cmd!(
        sh,
        "{COMPILER} -O1 -Wall -Wextra -Werror -o {to} testkit/tests/system/windows/{name}.c {libraries...}"
    )
    .run()?;
    Ok(())
}
