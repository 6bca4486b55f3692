//! Where Swift comes from: the machine's own, or on Linux a Debian 13 root of our own making, for Debian 12 has none.
//!
//! The root is made once by mmdebstrap and kept in the user's cache folder under a name that follows from its recipe, so
//! that another recipe is another root. It is made beside its place and renamed, so that what is there is whole.
//! Programs run in it in a mount namespace of their own, and see the checkout and the build folder at their usual paths.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    time::Instant,
};

use crate::{
    bindings,
    memory::target_dir,
    needs::is_root,
    process::{Outcome, exists},
    tree,
};

/// The release that has Swift 6.
const SUITE: &str = "trixie";
/// What is installed into it.
const PACKAGES: &str =
    "ca-certificates,swiftlang,libc6-dev,libstdc++-14-dev,binutils,binutils-gold";
/// Changes when the way in which a root is made does.
const RECIPE: u32 = 1;
/// Where its Swift is.
const PROGRAMS: &str = "/usr/libexec/swift/bin:/usr/bin:/bin";
/// The oldest Swift that the package compiles with.
const OLDEST: u32 = 6;

/// Enters the root `$1` with the folders `$2` and `$3` in it, and runs the rest there in the folder `$2`. Swift does not
/// find its own libraries without `/proc`.
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

/// A Swift that can be used.
pub(crate) enum Toolchain {
    /// The machine's own.
    Native,
    /// That of a root.
    Root(PathBuf),
}

impl Toolchain {
    /// A program of the toolchain, in the workspace root.
    ///
    /// # Errors
    /// When the build folder cannot be made.
    pub(crate) fn command(&self, program: &str, variables: &[(&str, &str)]) -> Outcome<Command> {
        let checkout = tree::root();
        match self {
            Self::Native => {
                let mut command = Command::new(program);
                command
                    .current_dir(checkout)
                    .envs(variables.iter().copied());
                Ok(command)
            }
            Self::Root(root) => {
                let target = target_dir();
                make(&target)?;
                let mut command = Command::new("unshare");
                command
                    .args(["--mount", "--propagation", "private"])
                    .args(["sh", "-c", ENTER, "sh"])
                    .args([root, &checkout, &target])
                    .args(["env", "-i", "HOME=/tmp", "LANG=C.UTF-8"])
                    .arg(format!("PATH={PROGRAMS}"));
                for (name, value) in variables {
                    command.arg(format!("{name}={value}"));
                }
                command.arg(program);
                Ok(command)
            }
        }
    }
}

/// The Swift of this machine; makes the root where it takes one and there is none.
///
/// # Errors
/// The outer: a root could not be made although it should. The inner: what is missing, and how to get it.
pub(crate) fn toolchain() -> Outcome<Result<Toolchain, String>> {
    if let Some(version) = native() {
        if version >= OLDEST {
            return Ok(Ok(Toolchain::Native));
        }
        say!("the machine's Swift {version} is too old; the package takes {OLDEST} or later");
    }
    if let Err(missing) = can_have_root() {
        return Ok(Err(missing));
    }
    root().map(|root| Ok(Toolchain::Root(root)))
}

/// Whether this machine has Swift, or can have it. Changes nothing.
///
/// # Errors
/// What is missing, and how to get it.
pub(crate) fn look() -> Result<(), String> {
    match native() {
        Some(version) if version >= OLDEST => Ok(()),
        _ => can_have_root(),
    }
}

/// The major version of the machine's own Swift.
fn native() -> Option<u32> {
    let output = Command::new("swift").arg("--version").output().ok()?;
    version(&String::from_utf8_lossy(&output.stdout))
}

fn version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Swift version ")?;
    rest.split('.').next()?.trim().parse().ok()
}

fn can_have_root() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        let get = if cfg!(target_os = "macos") {
            "`xcode-select --install`"
        } else {
            "https://www.swift.org/install"
        };
        return Err(format!("Swift {OLDEST} is missing; {get}"));
    }
    for (program, package) in [("mmdebstrap", "mmdebstrap"), ("unshare", "util-linux")] {
        if !exists(program) {
            return Err(format!(
                "Swift {OLDEST} is missing, and so is {program} to get it with; `apt-get install {package}`"
            ));
        }
    }
    // Making a file system and entering it are for root.
    if is_root() {
        Ok(())
    } else {
        Err(format!(
            "Swift {OLDEST} is missing, and the Debian {SUITE} root to get it in takes root: run as root, or install \
             Swift from https://www.swift.org/install"
        ))
    }
}

/// The folder of the root, for this recipe.
fn place() -> PathBuf {
    bindings::cache_dir().join(name())
}

fn name() -> String {
    format!("swift-{SUITE}-{:016x}", key(PACKAGES, RECIPE))
}

/// FNV-1a of a recipe.
fn key(packages: &str, recipe: u32) -> u64 {
    let text = format!("{recipe} {packages}");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The root, made if it is not there.
fn root() -> Outcome<PathBuf> {
    let place = place();
    if place.is_dir() {
        return Ok(place);
    }
    let cache = place.parent().unwrap_or(Path::new("/")).to_owned();
    make(&cache)?;
    sweep(&cache);
    let making = cache.join(format!(".{}.{}.part", name(), process::id()));
    say!(
        "making a Debian {SUITE} root with Swift, once: 2.6 GB in {}",
        place.display()
    );
    let made = debootstrap(&making).and_then(|()| {
        fs::rename(&making, &place).map_err(|error| format!("{}: {error}", place.display()))
    });
    if let Err(error) = made {
        let _ = fs::remove_dir_all(&making);
        // Somebody else was quicker, perhaps.
        if !place.is_dir() {
            return Err(error);
        }
    }
    Ok(place)
}

/// Roots that were never finished, by processes that are no more.
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

fn debootstrap(into: &Path) -> Outcome {
    let began = Instant::now();
    let mut child = Command::new("mmdebstrap")
        .args(["--variant=apt", &format!("--include={PACKAGES}"), SUITE])
        .arg(into)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("mmdebstrap could not be started: {error}"))?;
    let mut last = String::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // What it is about; the rest is progress bars.
            if let Some(step) = line.strip_prefix("I: ") {
                say!("  {:>4} s  {step}", began.elapsed().as_secs());
            } else if line.starts_with("E:") || line.starts_with("W:") {
                say!("  {line}");
            }
            last = line;
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("mmdebstrap ended with {status}: {last}")),
        Err(error) => Err(format!("mmdebstrap: {error}")),
    }
}

fn make(folder: &Path) -> Outcome {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
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
    fn another_recipe_is_another_root() {
        assert_ne!(key(PACKAGES, RECIPE), key(PACKAGES, RECIPE + 1));
        assert_ne!(key(PACKAGES, RECIPE), key("swiftlang", RECIPE));
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
        // Without `/proc` nothing tells who still works.
        let own_left = own.is_dir() || !Path::new("/proc/self").exists();
        fs::remove_dir_all(&cache).unwrap();
        assert_eq!(left, (false, true));
        assert!(own_left);
    }
}
