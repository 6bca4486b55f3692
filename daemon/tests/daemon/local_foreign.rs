//! Clients nobody here wrote, of other languages, on the local socket (`daemon/tests/foreign`).
//!
//! They prove that the socket speaks JSON-RPC 2.0, not only what our own client takes for it. Where
//! an interpreter is missing the test says how to install it; with `CI` set that is a failure.

use std::{
    collections::hash_map::DefaultHasher,
    ffi::OsStr,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use tokio::process::Command;

use crate::support::{TestDaemon, within};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign")
}

/// Says what is missing, where that may be.
fn skip(what: &str, how: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{what} is missing, and nothing is skipped in CI; {how}"
    );
    eprintln!("skipped: {what} is missing; {how}");
}

/// Runs a program to its end. `None`: there is no such program.
async fn run(program: &str, args: &[&OsStr], dir: &Path) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).kill_on_drop(true);
    let output = command.stdin(Stdio::null()).output();
    match within(program, output).await {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{program}: {error}"),
    }
}

/// What it printed, if it ended well.
fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{said}\n{complained}",
        output.status
    );
    said.into_owned()
}

#[cfg(unix)]
#[tokio::test]
async fn sv_4_python_without_any_library() {
    let daemon = TestDaemon::start().await;
    let script = folder().join("python/client.py");
    let args = [script.as_os_str(), daemon.daemon.socket().as_os_str()];
    let Some(output) = run("python3", &args, &folder()).await else {
        return skip("python3", "install it with `apt-get install python3`");
    };
    let said = printed(&output);
    assert_eq!(
        said.lines().filter(|line| line.starts_with("ok ")).count(),
        6,
        "{said}"
    );
}

#[tokio::test]
async fn sv_4_stock_clients_of_npm() {
    let how = "install them with `apt-get install nodejs npm`";
    let Some(_) = run("node", &[OsStr::new("--version")], &folder()).await else {
        return skip("node", how);
    };
    let Some(modules) = modules().await else {
        return skip("npm, or its registry,", how);
    };
    let daemon = TestDaemon::start().await;
    let script = folder().join("node/client.mjs");
    let args = [
        script.as_os_str(),
        daemon.daemon.socket().as_os_str(),
        modules.as_os_str(),
    ];
    let output = run("node", &args, &modules).await.unwrap();
    let said = printed(&output);
    assert!(
        said.contains("ok vscode-jsonrpc") && said.contains("ok json-rpc-2.0"),
        "{said}"
    );
}

/// A folder with the packages of the lock file installed: made once for each lock file, outside the
/// checkout.
async fn modules() -> Option<PathBuf> {
    let source = folder().join("node");
    let lock = fs::read(source.join("package-lock.json")).unwrap();
    let mut hasher = DefaultHasher::new();
    lock.hash(&mut hasher);
    let made = cache().join(format!("npm-{:016x}", hasher.finish()));
    if made.join("node_modules").is_dir() {
        return Some(made);
    }
    // Made beside it and renamed, so that a half-made one is never used.
    fs::create_dir_all(cache()).unwrap();
    let making = tempfile::tempdir_in(cache()).unwrap();
    for file in ["package.json", "package-lock.json"] {
        fs::copy(source.join(file), making.path().join(file)).unwrap();
    }
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let args = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"].map(OsStr::new);
    let output = run(npm, &args, making.path()).await?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    // Another run may have been faster; its folder is as good.
    if fs::rename(making.path(), &made).is_ok() {
        let _gone = making.keep();
    }
    Some(made)
}

/// Where things that tests download stay between runs.
fn cache() -> PathBuf {
    let of = |name: &str, below: &str| {
        let base = std::env::var_os(name).map(PathBuf::from);
        base.filter(|base| base.is_absolute())
            .map(|base| base.join(below))
    };
    let base = of("XDG_CACHE_HOME", "")
        .or_else(|| of("HOME", ".cache"))
        .or_else(|| of("LOCALAPPDATA", "cache"));
    base.unwrap_or_else(std::env::temp_dir)
        .join("bowline-tests")
}
