//! The Swift toolchain: the machine's own, or on Linux a Debian 13 root made for it, since Debian
//! 12 has no Swift.
//!
//! mmdebstrap creates the root once in the user's cache folder, under a name derived from its
//! recipe: a changed recipe makes a new root. It is created under a temporary name and renamed, so
//! that an existing root is complete. Programs run in it in a separate mount namespace and see the
//! checkout and the build folder at their usual paths.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use xshell::{Cmd, cmd};

use crate::{
    bindings,
    needs::{self, is_root},
    process::{Workspace, exists, target_dir},
    tree,
};

/// The Debian release with Swift 6.
const SUITE: &str = "trixie";
/// Packages installed in the root.
const PACKAGES: &str =
    "ca-certificates,swiftlang,libc6-dev,libstdc++-14-dev,binutils,binutils-gold";
/// Version of the recipe; increased when the way of creating a root changes.
const RECIPE: u32 = 1;
/// `PATH` of the root, with Swift.
const PROGRAMS: &str = "/usr/libexec/swift/bin:/usr/bin:/bin";
/// The oldest Swift that compiles the package.
const OLDEST: u32 = 6;

/// Enters the root `$1` with the folders `$2` and `$3` mounted, and runs the remaining arguments in
/// the folder `$2`. Swift needs `/proc` to find its libraries.
const ENTER: &str = r#"
set -eu
root=$1 checkout=$2 target=$3
shift 3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
for folder in "$checkout" "$target"; do
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
done
exec chroot "$root" /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$checkout" "$@"
"#;

/// An available Swift toolchain.
pub(crate) enum Toolchain {
    /// Installed on the machine.
    Native,
    /// In a Debian root at this path.
    Root(PathBuf),
}

impl Toolchain {
    /// A command of the toolchain, in the workspace root.
    ///
    /// # Errors
    /// The build folder cannot be created.
    pub(crate) fn command<'a>(
        &self,
        sh: &'a Workspace,
        program: &Path,
        variables: &[(&str, &Path)],
    ) -> Result<Cmd<'a>> {
        let Self::Root(root) = self else {
            return Ok(sh.cmd(program).envs(variables.iter().copied()));
        };
        let (checkout, target) = (tree::root(), sh.create_dir(target_dir())?);
        let variables = variables
            .iter()
            .map(|(name, value)| format!("{name}={}", value.display()));
        Ok(cmd!(
            sh,
            "unshare --mount --propagation private sh -c {ENTER} sh {root} {checkout} {target}
                env -i HOME=/tmp LANG=C.UTF-8 PATH={PROGRAMS} {variables...} {program}"
        ))
    }
}

/// The Swift of this machine; creates the root if one is needed.
///
/// # Errors
/// Swift is missing and cannot be installed: the step is skipped. Creating a root failed.
pub(crate) fn toolchain(sh: &Workspace) -> Result<Toolchain> {
    needs::require("swift")?;
    match native() {
        Some(version) if version >= OLDEST => return Ok(Toolchain::Native),
        Some(version) => {
            say!("the machine's Swift {version} is too old; the package takes {OLDEST} or later");
        }
        None => {}
    }
    root(sh).map(Toolchain::Root)
}

/// Whether this machine has Swift or can install it: creating a file system and entering it need
/// root privileges. Changes nothing.
pub(crate) fn is_available() -> bool {
    let can_have_root =
        || cfg!(target_os = "linux") && exists("mmdebstrap") && exists("unshare") && is_root();
    native().is_some_and(|version| version >= OLDEST) || can_have_root()
}

/// The major version of the installed Swift.
fn native() -> Option<u32> {
    let output = Command::new("swift").arg("--version").output().ok()?;
    version(&String::from_utf8_lossy(&output.stdout))
}

fn version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Swift version ")?;
    rest.split('.').next()?.trim().parse().ok()
}

/// The root; created if it does not exist.
fn root(sh: &Workspace) -> Result<PathBuf> {
    let recipe = bindings::fnv(format!("{RECIPE} {PACKAGES}").as_bytes());
    let name = format!("swift-{SUITE}-{recipe:016x}");
    let cache = sh.create_dir(bindings::cache_dir())?;
    let place = cache.join(&name);
    if place.is_dir() {
        return Ok(place);
    }
    sweep(&cache);
    let making = cache.join(format!(".{name}.{}.part", process::id()));
    say!(
        "making a Debian {SUITE} root with Swift, once: 2.6 GB in {}",
        place.display()
    );
    let made = debootstrap(&making).and_then(|()| Ok(fs::rename(&making, &place)?));
    if made.is_err() {
        let _ = fs::remove_dir_all(&making);
    }
    // Another process may have created it first.
    if place.is_dir() {
        Ok(place)
    } else {
        made.map(|()| place)
    }
}

/// Removes unfinished roots of processes that have ended.
fn sweep(cache: &Path) {
    let Ok(entries) = fs::read_dir(cache) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let rest = name
            .strip_prefix(".swift-")
            .and_then(|rest| rest.strip_suffix(".part"));
        let maker = rest.and_then(|rest| rest.rsplit('.').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).is_dir()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn debootstrap(into: &Path) -> Result<()> {
    let began = Instant::now();
    let mut child = Command::new("mmdebstrap")
        .args(["--variant=apt", &format!("--include={PACKAGES}"), SUITE])
        .arg(into)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("mmdebstrap could not be started")?;
    let mut last = String::new();
    let stderr = child.stderr.take().map(BufReader::new);
    for line in stderr
        .into_iter()
        .flat_map(BufRead::lines)
        .map_while(Result::ok)
    {
        // Lines of progress; the rest are progress bars.
        if let Some(step) = line.strip_prefix("I: ") {
            say!("  {:>4} s  {step}", began.elapsed().as_secs());
        } else if line.starts_with("E:") || line.starts_with("W:") {
            say!("  {line}");
        }
        last = line;
    }
    let status = child.wait()?;
    ensure!(status.success(), "mmdebstrap ended with {status}: {last}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_swift_says() {
        let text = "Swift version 6.0.3 (swift-6.0.3-RELEASE)\nTarget: x86_64-pc-linux-gnu\n";
        assert_eq!(version(text), Some(6));
        let apple = "swift-driver version: 1.115 Apple Swift version 5.10 (swiftlang-5.10)\n";
        assert_eq!(version(apple), Some(5));
        assert_eq!(version("sh: swift: not found"), None);
    }

    #[test]
    fn a_root_that_was_never_finished_is_swept_away_and_one_in_the_making_is_not() {
        let cache = std::env::temp_dir().join(format!("bowline-sweep-{}", process::id()));
        // No process has the number 0.
        let gone = cache.join(".swift-trixie-0.0.part");
        let own = cache.join(format!(".swift-trixie-0.{}.part", process::id()));
        let whole = cache.join("swift-trixie-0");
        for folder in [&gone, &own, &whole] {
            fs::create_dir_all(folder).unwrap();
        }
        sweep(&cache);
        let left = (gone.is_dir(), whole.is_dir());
        // Without `/proc` live processes cannot be detected.
        let own_left = own.is_dir() || !Path::new("/proc/self").exists();
        fs::remove_dir_all(&cache).unwrap();
        assert_eq!(left, (false, true));
        assert!(own_left);
    }
}
