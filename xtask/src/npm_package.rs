//! `cargo xtask package npm`: the bindings, the hooks, and the library of this machine's platform, as npm installs them.
//!
//! ```text
//! target/package/npm/
//!   bowline-runtime-<version>.tgz              @bowline/runtime
//!   bowline-react-<version>.tgz                @bowline/react
//!   bowline-runtime-<platform>-<version>.tgz   the library, a package for each platform: made there
//!   stage                                      what they were packed from
//!   consumer                                   a project that has them installed, and runs the guide's program
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    bindings::{self, npm as program},
    memory::target_dir,
    notices,
    process::{self, Done, Outcome, host, run as run_command},
    typescript,
};

/// The packages that call a library from Node, by platform: where there is one, there is one of ours.
const ADDONS: &str = "@ubjs/node-";
/// A project of nobody's, as `npm init` makes them.
const CONSUMER: &str = "{ \"name\": \"consumer\", \"private\": true, \"type\": \"module\" }\n";
/// What the guide's program and its check need besides ours.
const TOOLS: [&str; 4] = [
    "react@19",
    "@types/react@19",
    "@types/node@20",
    "typescript@5.9",
];

/// Builds, packs and tries them.
///
/// # Errors
/// When something does not build, or does not work once it is installed.
pub(crate) fn npm() -> Outcome<Done> {
    typescript::prepare()?;
    let library = bindings::build(true)?;
    let folder = packed(&library)?;
    let bytes = fs::metadata(&library).map_or(0, |metadata| metadata.len());
    let size = bytes as f64 / f64::from(1 << 20);
    say!(
        "the library: {size:.1} MiB; packages are in {}",
        folder.display()
    );
    say!("libraries of other platforms are packaged there, by the same command");
    installed(&folder)?;
    Ok(Done::Whole)
}

/// The step of the tests: the same with the library that there is already.
///
/// # Errors
/// As [`npm`]; without Node, in CI.
pub(crate) fn test() -> Outcome<Done> {
    if let Err(missing) = typescript::look() {
        return process::missing(missing);
    }
    typescript::prepare()?;
    installed(&packed(&bindings::build(false)?)?)?;
    Ok(Done::Whole)
}

/// Packs everything with that library; the folder of the packages.
fn packed(library: &Path) -> Outcome<PathBuf> {
    let folder = target_dir().join("package/npm");
    let _ = fs::remove_dir_all(&folder);
    let platform = format!("runtime-{}", bindings::node_platform(&host()?)?);
    let sources = typescript::workspace().join("packages");
    for name in ["runtime", "react", &platform] {
        let (from, stage) = (sources.join(name), folder.join("stage").join(name));
        let manifest = read(&from.join("package.json"))?;
        if name == platform {
            copy(library, &stage.join(bindings::library_name()))?;
            let readme = format!(
                "# @bowline/{name}\n\nThe native library of `@bowline/runtime` for one platform; nothing to import.\n"
            );
            notices::place(&readme, &stage)?;
        } else {
            notices::place(&read(&from.join("README.md"))?, &stage)?;
            // Those of its `files` that it has.
            for part in ["dist", "src", "cpp"] {
                copy(&from.join(part), &stage.join(part))?;
            }
        }
        let manifest = published(&manifest)?;
        fs::write(stage.join("package.json"), manifest).map_err(|error| error.to_string())?;
        typescript::pack(&stage, &folder)?;
    }
    Ok(folder)
}

/// The manifest as it is published: with the licences among its files, and with each platform's addon comes the library for it. Among the sources it does not say so,
/// since npm would look for packages that are not there yet.
fn published(manifest: &str) -> Outcome<String> {
    let mut manifest: serde_json::Value =
        serde_json::from_str(manifest).map_err(|error| error.to_string())?;
    if let Some(optional) = manifest
        .get_mut("optionalDependencies")
        .and_then(|all| all.as_object_mut())
    {
        let addons: Vec<_> = optional
            .keys()
            .filter_map(|name| name.strip_prefix(ADDONS))
            .map(str::to_owned)
            .collect();
        for platform in addons {
            optional.insert(
                format!("@bowline/runtime-{platform}"),
                env!("CARGO_PKG_VERSION").into(),
            );
        }
    }
    if let Some(files) = manifest.get_mut("files").and_then(|all| all.as_array_mut()) {
        files.extend(notices::LICENCES.map(Into::into));
    }
    serde_json::to_string_pretty(&manifest)
        .map(|text| text + "\n")
        .map_err(|error| error.to_string())
}

/// Installs the packages into an empty project and runs the guide from there, in both module systems.
fn installed(folder: &Path) -> Outcome {
    let consumer = folder.join("consumer");
    fs::create_dir_all(&consumer)
        .and_then(|()| fs::write(consumer.join("package.json"), CONSUMER))
        .map_err(|error| format!("{}: {error}", consumer.display()))?;
    let mut install = Command::new(program());
    install
        .args(["install", "--no-audit", "--no-fund", "--prefer-offline"])
        .args(TOOLS)
        .args(archives(folder)?);
    run_command(install.current_dir(&consumer))?;
    let platform = format!("runtime-{}", bindings::node_platform(&host()?)?);
    for name in ["runtime", "react", &platform] {
        notices::check(&consumer.join("node_modules/@bowline").join(name))?;
    }
    bindings::programs()?;
    typescript::guide(&consumer)
}

fn archives(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .collect())
}

fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A file, or a folder with all in it; what is not there is left out.
fn copy(from: &Path, to: &Path) -> Outcome {
    let problem = |error: std::io::Error| format!("{}: {error}", from.display());
    if from.is_dir() {
        for entry in fs::read_dir(from).map_err(problem)? {
            let entry = entry.map_err(problem)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if from.exists() {
        fs::create_dir_all(to.parent().unwrap_or(to)).map_err(problem)?;
        fs::copy(from, to).map_err(problem)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_manifest_brings_a_library_for_every_addon() {
        let sources = typescript::workspace().join("packages/runtime/package.json");
        let published = published(&read(&sources).unwrap()).unwrap();
        let published: serde_json::Value = serde_json::from_str(&published).unwrap();
        let optional = published["optionalDependencies"].as_object().unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(published["version"], version);
        let files = published["files"].as_array().unwrap();
        assert!(files.iter().any(|file| file == "LICENSE-MIT"), "{files:?}");
        assert_eq!(optional["@bowline/runtime-linux-x64-gnu"], version);
        let (libraries, addons): (Vec<_>, Vec<_>) = optional
            .keys()
            .partition(|name| name.starts_with("@bowline/"));
        assert_eq!(libraries.len(), addons.len());
    }
}
