//! `cargo xtask types`: the types of apps, generated from what the example service says that it
//! offers (LD-7), by maintained generators in pinned versions.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use xshell::cmd;

use crate::{
    bindings::{self, NPM},
    needs,
    process::{Workspace, target_dir},
    tree,
};

/// The generators and all that they depend on.
const PACKAGE: &str = include_str!("package.json");
const LOCK: &str = include_str!("package-lock.json");
/// Where the generated files are.
const KEPT: &str = "examples/voxel/app-types";
const SCHEMA: &str = "voxel.schema.json";
const FILES: [&str; 4] = [SCHEMA, "voxel.ts", "Voxel.swift", "Voxel.kt"];

/// Generates the files again.
///
/// # Errors
/// A generator cannot be installed or fails; Node is missing.
pub(crate) fn run(sh: &Workspace) -> Result<()> {
    needs::require("typescript")?;
    generate(sh, &tree::root().join(KEPT))
}

/// Compares the files with what is generated now.
///
/// # Errors
/// They differ; as [`run`].
pub(crate) fn check(sh: &Workspace) -> Result<()> {
    let folder = sh.empty(target_dir().join("types"))?;
    generate(sh, &folder)?;
    let kept = tree::root().join(KEPT);
    for name in FILES {
        // A checkout may have other ends of lines.
        let read = |folder: &Path| -> Result<String> {
            Ok(sh.read_file(folder.join(name))?.replace("\r\n", "\n"))
        };
        ensure!(
            read(&kept)? == read(&folder)?,
            "{KEPT}/{name} is not what the service's types give; run `cargo xtask types`"
        );
    }
    Ok(())
}

fn generate(sh: &Workspace, to: &Path) -> Result<()> {
    let bin = generators(sh)?.join("node_modules/.bin");
    sh.create_dir(to)?;
    cmd!(
        sh,
        "cargo build --locked -p bowline-examples --bin voxel-daemon"
    )
    .run()?;
    let program = format!("debug/voxel-daemon{}", std::env::consts::EXE_SUFFIX);
    let program = target_dir().join(program);
    let schema = cmd!(sh, "{program} describe --schema").read()?;
    sh.write_file(to.join(SCHEMA), format!("{schema}\n"))?;
    let _folder = sh.push_dir(to);
    let typescript = bin.join(script("json2ts"));
    cmd!(
        sh,
        "{typescript} --unreachableDefinitions --no-additionalProperties -i {SCHEMA} -o voxel.ts"
    )
    .run()?;
    let quicktype = bin.join(script("quicktype"));
    let source = format!("{SCHEMA}#/definitions/");
    cmd!(
        sh,
        "{quicktype} -s schema {source} -l swift --no-initializers --sendable -o Voxel.swift"
    )
    .run()?;
    cmd!(
        sh,
        "{quicktype} -s schema {source} -l kotlin --framework kotlinx --package dev.bowline.voxel -o Voxel.kt"
    )
    .run()?;
    Ok(())
}

/// The name of a program that npm has installed.
fn script(name: &str) -> String {
    if cfg!(windows) {
        format!("{name}.cmd")
    } else {
        name.to_owned()
    }
}

/// The folder of the generators: installed once for each lock file, and shared by all checkouts.
fn generators(sh: &Workspace) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (PACKAGE, LOCK).hash(&mut hasher);
    let folder = bindings::cache_dir().join(format!("types-{:016x}", hasher.finish()));
    if folder.join("node_modules").exists() {
        return Ok(folder);
    }
    say!("fetching the generators of types from the npm registry, once for this machine");
    let work = folder.with_extension(std::process::id().to_string());
    sh.create_dir(&work)?;
    sh.write_file(work.join("package.json"), PACKAGE)?;
    sh.write_file(work.join("package-lock.json"), LOCK)?;
    {
        let _work = sh.push_dir(&work);
        cmd!(sh, "{NPM} ci --no-audit --no-fund --ignore-scripts").run()?;
    }
    // Of processes that do it at once, the first one's stays.
    if fs::rename(&work, &folder).is_err() {
        sh.remove_path(&work)?;
    }
    ensure!(
        folder.join("node_modules").exists(),
        "the generators of types cannot be put into {}",
        folder.display()
    );
    Ok(folder)
}
