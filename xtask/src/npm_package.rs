//! `cargo xtask package npm`: the bindings, the hooks, and the library of this platform, as npm
//! packages.
//!
//! ```text
//! target/package/npm/
//!   bowline-runtime-<version>.tgz              @bowline/runtime
//!   bowline-react-<version>.tgz                @bowline/react
//!   bowline-runtime-<platform>-<version>.tgz   the library, a package for each platform: made there
//!   stage                                      what they were packed from
//!   consumer                                   a project that has them installed, and runs the guide's program
//! ```

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Map, Value};
use xshell::cmd;

use crate::{
    bindings::{self, NPM},
    needs, notices,
    process::{Workspace, target_dir},
    typescript,
};

/// A new project, as `npm init` creates it.
const CONSUMER: &str = "{ \"name\": \"consumer\", \"private\": true, \"type\": \"module\" }\n";
/// Further packages that the guide's program and its check need.
const TOOLS: [&str; 4] = [
    "react@19",
    "@types/react@19",
    "@types/node@20",
    "typescript@5.9",
];

/// Builds, packs and tests the packages.
///
/// # Errors
/// Something does not build, or does not work once installed.
pub(crate) fn npm(sh: &Workspace) -> Result<()> {
    typescript::prepare(sh)?;
    let library = bindings::build(sh, true)?;
    let folder = packed(sh, &library)?;
    let size = sh.read_binary_file(&library)?.len() as f64 / f64::from(1 << 20);
    say!(
        "the library: {size:.1} MiB; packages are in {}",
        folder.display()
    );
    say!("run the same command on other platforms to package their libraries");
    installed(sh, &folder)
}

/// Test step: the same with the library that is already built.
///
/// # Errors
/// As [`npm`]; in CI also when Node is missing.
pub(crate) fn test(sh: &Workspace) -> Result<()> {
    needs::require("npm")?;
    typescript::prepare(sh)?;
    let folder = packed(sh, &bindings::build(sh, false)?)?;
    installed(sh, &folder)
}

/// The folders of the packages.
fn names(sh: &Workspace) -> Result<[String; 3]> {
    let platform = bindings::node_platform(&sh.host()?)?;
    Ok([
        "runtime".to_owned(),
        "react".to_owned(),
        format!("runtime-{platform}"),
    ])
}

/// Packs everything with `library`. Returns the folder of the packages.
fn packed(sh: &Workspace, library: &Path) -> Result<PathBuf> {
    let folder = sh.empty(target_dir().join("package/npm"))?;
    for name in names(sh)? {
        let from = typescript::workspace().join("packages").join(&name);
        let stage = folder.join("stage").join(&name);
        if name.starts_with("runtime-") {
            sh.copy(library, &stage.join(bindings::library_name()))?;
            sh.copy(&from.join(bindings::ADDON), &stage.join(bindings::ADDON))?;
            sh.copy(
                &bindings::addon_licence(sh)?,
                &stage.join(bindings::ADDON_LICENCE),
            )?;
            let [package, version, source] = bindings::ADDON_SOURCE;
            let readme = format!(
                "# @bowline/{name}\n\nThe native library of `@bowline/runtime` for one platform, and the addon with which Node \
                 calls it; nothing to import.\n\n`{}` is built from `{package}` {version} ({source}), under the Mozilla Public License 2.0.\n",
                bindings::ADDON,
            );
            notices::place(sh, &readme, &stage)?;
        } else {
            notices::place(sh, &sh.read_file(from.join("README.md"))?, &stage)?;
            // Those listed in `files` that exist.
            for part in ["dist", "src", "cpp"].map(|part| from.join(part)) {
                if part.exists() {
                    sh.copy(&part, &stage.join(part.file_name().unwrap_or_default()))?;
                }
            }
        }
        let manifest = published(&sh.read_file(from.join("package.json"))?)?;
        sh.write_file(stage.join("package.json"), manifest)?;
        cmd!(sh, "{NPM} pack {stage} --pack-destination {folder}").run()?;
    }
    Ok(folder)
}

/// The published manifest: adds the licences to its files, and the library package of each
/// platform. The manifest in the sources omits these, since npm would look for packages that are
/// not published yet.
fn published(manifest: &str) -> Result<String> {
    let mut manifest: Map<String, Value> = serde_json::from_str(manifest)?;
    let version = || Value::from(env!("CARGO_PKG_VERSION"));
    let libraries =
        bindings::NODE_PLATFORMS.map(|name| (format!("@bowline/runtime-{name}"), version()));
    if manifest
        .get("name")
        .is_some_and(|name| name == "@bowline/runtime")
    {
        let libraries: Map<String, Value> = libraries.into_iter().collect();
        manifest.insert("optionalDependencies".to_owned(), libraries.into());
    }
    if let Some(Value::Array(files)) = manifest.get_mut("files") {
        files.extend(notices::LICENCES.map(Into::into));
    }
    Ok(serde_json::to_string_pretty(&manifest)? + "\n")
}

/// Installs the packages into an empty project and runs the guide there, in both module systems.
fn installed(sh: &Workspace, folder: &Path) -> Result<()> {
    let consumer = folder.join("consumer");
    sh.write_file(consumer.join("package.json"), CONSUMER)?;
    let mut archives = sh.read_dir(folder)?;
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "tgz"));
    cmd!(
        sh,
        "{NPM} install --prefix {consumer} --no-audit --no-fund --prefer-offline {TOOLS...} {archives...}"
    )
    .run()?;
    for name in names(sh)? {
        notices::check(&consumer.join("node_modules/@bowline").join(name))?;
    }
    bindings::programs(sh)?;
    typescript::guide(sh, &consumer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_manifest_brings_the_library_of_every_platform() {
        let sources = typescript::workspace().join("packages/runtime/package.json");
        let published = published(&std::fs::read_to_string(sources).unwrap()).unwrap();
        let published: serde_json::Value = serde_json::from_str(&published).unwrap();
        let optional = published["optionalDependencies"].as_object().unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(published["version"], version);
        let files = published["files"].as_array().unwrap();
        assert!(files.iter().any(|file| file == "LICENSE-MIT"), "{files:?}");
        assert_eq!(optional["@bowline/runtime-linux-x64-gnu"], version);
        assert_eq!(optional.len(), bindings::NODE_PLATFORMS.len());
    }
}
