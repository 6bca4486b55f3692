//! The packages of npm: the bindings, the hooks, and the library of this machine's platform.

use std::{fs, path::PathBuf};

use crate::{
    bindings,
    memory::target_dir,
    process::{Done, Outcome, host},
    typescript,
};

/// Builds and packs them.
///
/// # Errors
/// When something does not build.
pub(crate) fn npm() -> Outcome<Done> {
    typescript::prepare()?;
    // Last, so that the platform's package holds the optimised library.
    bindings::run(&bindings::Options {
        language: Some(bindings::Language::Node),
        check: false,
        release: true,
    })?;
    let to = folder("npm")?;
    let platform = bindings::node_platform(&host()?)?;
    let packages = typescript::workspace().join("packages");
    for name in ["runtime", "react", &format!("runtime-{platform}")] {
        typescript::pack(&packages.join(name), &to)?;
    }
    let library = packages
        .join(format!("runtime-{platform}"))
        .join(bindings::library_name());
    let bytes = fs::metadata(&library).map_or(0, |metadata| metadata.len());
    println!(
        "the library for {platform}: {:.1} MiB",
        bytes as f64 / f64::from(1 << 20)
    );
    println!("packages are in {}", to.display());
    println!("libraries of other platforms are packaged there, by the same command");
    Ok(Done::Whole)
}

fn folder(name: &str) -> Outcome<PathBuf> {
    let folder = target_dir().join("package").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}
