//! Runs clients of other languages (`daemon/tests/foreign`).

use std::{
    collections::hash_map::DefaultHasher,
    ffi::OsStr,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use tokio::process::Command;

use super::within;

/// How to install what the clients of npm need.
pub(crate) const NODE: &str = "install them with `apt-get install nodejs npm`";

/// The folder of the clients.
pub(crate) fn folder() -> PathBuf {
    // From the folder of either crate that has such tests.
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemon/tests/foreign")
}

/// Says what is missing, where that may be.
pub(crate) fn skip(what: &str, how: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{what} is missing, and nothing is skipped in CI; {how}"
    );
    eprintln!("skipped: {what} is missing; {how}");
}

/// Runs a program to its end. `None`: there is no such program.
pub(crate) async fn run(program: &str, args: &[&OsStr], dir: &Path) -> Option<Output> {
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
pub(crate) fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{said}\n{complained}",
        output.status
    );
    said.into_owned()
}

/// A folder with the packages of the lock file installed: made once for each lock file, outside the
/// checkout. `None`: there is no node, or no registry.
pub(crate) async fn modules() -> Option<PathBuf> {
    run("node", &[OsStr::new("--version")], &folder()).await?;
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
