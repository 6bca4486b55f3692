//! The Swift bindings: their tests, by the package manager, against the real daemon and relay.

use std::path::PathBuf;

use crate::{
    bindings::{self, Language},
    guide,
    memory::target_dir,
    process::{self, Done, Outcome, run as run_command},
    swift_root::{Toolchain, toolchain},
    tree,
};

/// Generates, compiles and tests.
///
/// # Errors
/// When a test failed; in CI also when there is no Swift and none can be had.
pub(crate) fn test() -> Outcome<Done> {
    let toolchain = match toolchain()? {
        Ok(toolchain) => toolchain,
        Err(missing) => return process::missing(missing),
    };
    bindings::programs()?;
    bindings::for_tests(Language::Swift)?;
    let program = package().join("generated/Guide/main.swift");
    guide::extract("docs/swift.md", "swift", &program)?;
    // Swift Testing: there are no tests of the older kind.
    swift(&toolchain, &["test", "--disable-xctest"])?;
    Ok(Done::Whole)
}

/// Runs a command of the package manager on our package.
///
/// # Errors
/// When it fails.
pub(crate) fn swift(toolchain: &Toolchain, arguments: &[&str]) -> Outcome {
    let library = bindings::library(false);
    let library = library.parent().ok_or("the library is in no folder")?;
    let (library, built) = (library.to_string_lossy(), scratch().join("debug"));
    let built = built.to_string_lossy();
    let mut variables = vec![
        ("BOWLINE_LIBRARY_DIR", &*library),
        ("BOWLINE_PROGRAMS", &*library),
        ("BOWLINE_SWIFT_BUILT", &*built),
        ("LD_LIBRARY_PATH", &*library),
        ("DYLD_LIBRARY_PATH", &*library),
    ];
    if std::env::var_os("CI").is_some() {
        variables.push(("CI", "true"));
    }
    let mut command = toolchain.command("swift", &variables)?;
    let (verb, rest) = arguments.split_first().ok_or("no command")?;
    command
        .arg(verb)
        .arg("--package-path")
        .arg(package())
        .arg("--scratch-path")
        .arg(scratch())
        // A namespace of our own is sandbox enough, and theirs does not work in it.
        .arg("--disable-sandbox")
        .args(rest);
    run_command(&mut command)
}

/// Our package.
pub(crate) fn package() -> PathBuf {
    tree::root().join("bindings/swift")
}

/// Where Swift builds.
fn scratch() -> PathBuf {
    target_dir().join("swift")
}

#[cfg(test)]
mod tests {
    use crate::tree::Tree;

    #[test]
    fn inv_7_no_view_can_connect_or_disconnect() {
        let tree = Tree::read().unwrap();
        let mut seen = 0;
        for (path, text) in tree.texts() {
            let ours = path.starts_with("bindings/swift/Sources/BowlineKit/")
                || path.starts_with("bindings/kotlin/src/main/");
            if !ours {
                continue;
            }
            seen += 1;
            for (n, line) in text.lines().enumerate() {
                let name = ["func ", "fun "]
                    .iter()
                    .find_map(|word| line.split_once(word));
                let name = name
                    .map(|(_, rest)| rest.to_lowercase())
                    .unwrap_or_default();
                let drives = ["connect", "disconnect", "reconnect"];
                let drives = drives.iter().any(|word| name.starts_with(word));
                assert!(!drives, "{path}:{}: {line}", n + 1);
            }
        }
        assert!(seen > 10, "{seen}");
    }
}
