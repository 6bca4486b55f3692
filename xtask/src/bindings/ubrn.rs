//! The generator of the TypeScript bindings, `ubrn`: fetched from the npm registry in one version, checked against a known
//! sum, built once, and kept outside of the checkout.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use super::{make, npm, rename, write};
use crate::{
    process::{Outcome, run as run_command},
    tree,
};

/// One locked set with uniffi's version in the root `Cargo.toml`.
pub(crate) const VERSION: &str = "0.31.0-5";
const PACKAGE: &str = "uniffi-bindgen-react-native";
/// What the registry says of that version.
const INTEGRITY: &str = "sha512-YtL3gTe+RVXAQx/2P2Iuypic/CunRZC65Cs47v//YRfwWNYU4Ufd1jT3rqxSrH5b5QFCYblP89Nf/9ssZRvNgg==";
/// The package has no lock file; this one makes every build the same.
const LOCK: &str = include_str!("ubrn.lock");

/// TypeScript for Node.
///
/// # Errors
/// When the generator cannot be had or fails.
pub(super) fn node(library: &Path, config: &Path, out: &Path) -> Outcome {
    let mut command = generator("napi")?;
    command.arg("--ts-dir").arg(out);
    // Found among the packages of each platform at run time.
    command.args([
        "--lib-package-base",
        "@bowline/runtime",
        "--lib-node-triple",
    ]);
    configured(config, || run_command(command.arg(library)))?;
    part_enums(out)
}

/// TypeScript and C++ for React Native.
///
/// # Errors
/// When the generator cannot be had or fails.
pub(super) fn react_native(library: &Path, config: &Path, ts: &Path, cpp: &Path) -> Outcome {
    let mut command = generator("jsi")?;
    command.arg("--ts-dir").arg(ts).arg("--cpp-dir").arg(cpp);
    configured(config, || run_command(command.arg(library)))?;
    part_enums(ts)
}

/// Moves the enums into a module of their own, which loads nothing native: code that shows values needs their names also where the
/// library is not, behind a bridge. And gives every import the name of a file: without, the types of a package of modules lead
/// nowhere.
fn part_enums(folder: &Path) -> Outcome {
    let path = folder.join("bowline.ts");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (rest, enums) =
        parted(&text.replace("from \"./bowline-ffi\"", "from \"./bowline-ffi.ts\""));
    write(&folder.join("enums.ts"), &enums)?;
    write(&path, &rest)
}

/// A generated module without its enums, which it takes from the other one.
fn parted(text: &str) -> (String, String) {
    let (mut rest, mut enums) = (String::new(), String::new());
    let mut names = Vec::new();
    let mut comment = String::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("export enum ") {
            names.push(name.trim_end_matches(['{', ' ']));
            enums.push_str(&std::mem::take(&mut comment));
            inside = true;
        } else if !inside
            && (line.starts_with("/**") || !comment.is_empty() && line.starts_with(" *"))
        {
            comment.push_str(line);
            comment.push('\n');
            continue;
        }
        rest.push_str(&std::mem::take(&mut comment));
        let to = if inside { &mut enums } else { &mut rest };
        to.push_str(line);
        to.push('\n');
        inside &= line != "}";
    }
    rest.push_str(&comment);
    let names = names.join(", ");
    rest.push_str(&format!(
        "import {{ {names} }} from \"./enums.ts\";\nexport {{ {names} }};\n"
    ));
    (rest, enums)
}

fn generator(target: &str) -> Outcome<Command> {
    let mut command = Command::new(ensure()?);
    command
        .args(["generate", target, "bindings", "--library", "--no-format"])
        // It asks cargo about the crate that it is started in.
        .current_dir(tree::root().join("ffi"));
    Ok(command)
}

/// With a library it takes its configuration from the folder of the crate only, and ours is at the top. The copy stays: cargo
/// would build the crate anew whenever it comes or goes.
fn configured(config: &Path, run: impl FnOnce() -> Outcome) -> Outcome {
    let copy = tree::root().join("ffi/uniffi.toml");
    let text = fs::read(config).map_err(|error| format!("{}: {error}", config.display()))?;
    if fs::read(&copy).ok().as_ref() != Some(&text) {
        fs::write(&copy, text).map_err(|error| format!("{}: {error}", copy.display()))?;
    }
    run()
}

/// Where what is fetched or built once for all checkouts is kept.
pub(crate) fn cache_dir() -> PathBuf {
    let home = || env::var_os("HOME").map_or_else(env::temp_dir, PathBuf::from);
    env::var_os("BOWLINE_CACHE").map_or_else(
        || {
            let base = env::var_os(if cfg!(windows) {
                "LOCALAPPDATA"
            } else {
                "XDG_CACHE_HOME"
            });
            base.map_or_else(|| home().join(".cache"), PathBuf::from)
                .join("bowline")
        },
        PathBuf::from,
    )
}

/// Where the generator is, or will be.
pub(crate) fn program() -> PathBuf {
    let name = format!("ubrn{}", env::consts::EXE_SUFFIX);
    cache_dir().join(format!("ubrn-{VERSION}")).join(name)
}

/// The generator, built if it is not there yet.
fn ensure() -> Outcome<PathBuf> {
    let program = program();
    if program.exists() {
        return Ok(program);
    }
    let folder = program.parent().unwrap_or(&program);
    make(folder)?;
    // Another process may do the same: each has a folder of its own, and the last one's program stays.
    let work = folder.join(format!("build-{}", std::process::id()));
    make(&work)?;
    let began = Instant::now();
    say!("ubrn {VERSION}: fetching it from the npm registry");
    let archive = fetch(&work)?;
    say!("ubrn {VERSION}: building it, once for this machine; that takes some minutes");
    let built = build(&work, &archive)?;
    rename(&built, &program)?;
    let _ = fs::remove_dir_all(&work);
    say!(
        "ubrn {VERSION}: ready after {} s",
        began.elapsed().as_secs()
    );
    Ok(program)
}

fn fetch(work: &Path) -> Outcome<PathBuf> {
    let output = Command::new(npm())
        .args(["pack", "--json", &format!("{PACKAGE}@{VERSION}")])
        .current_dir(work)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`npm` could not be started: {error}"))?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("`npm pack {PACKAGE}@{VERSION}` failed"))?;
    // A list of one in npm before 12, an object by name since.
    let packed = said.get(0).or_else(|| said.as_object()?.values().next());
    let packed = packed.unwrap_or(&said);
    let text = |key: &str| packed.get(key).and_then(serde_json::Value::as_str);
    if text("integrity") != Some(INTEGRITY) {
        return Err(format!(
            "{PACKAGE}@{VERSION} is not what it was: its sum is another"
        ));
    }
    let name = text("filename").ok_or("`npm pack` names no file")?;
    Ok(work.join(name))
}

fn build(work: &Path, archive: &Path) -> Outcome<PathBuf> {
    let mut unpack = Command::new("tar");
    run_command(unpack.arg("xzf").arg(archive).current_dir(work))?;
    let source = work.join("package");
    write(&source.join("Cargo.lock"), LOCK)?;
    let mut build = crate::process::cargo(["build", "--locked", "--bin", PACKAGE]);
    build
        .current_dir(&source)
        .arg("--manifest-path")
        .arg(source.join("crates/ubrn_cli/Cargo.toml"))
        .args(["--config", "profile.dev.debug=false"])
        .env("CARGO_TARGET_DIR", work.join("target"))
        .env_remove("RUSTFLAGS");
    run_command(&mut build)?;
    let name = format!("{PACKAGE}{}", env::consts::EXE_SUFFIX);
    Ok(work.join("target/debug").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_move_out_with_their_comments_and_nothing_else_does() {
        let text = "/**\n * A.\n */\nexport enum A {\n    /**\n     * One.\n     */\n    One\n}\n/** B. */\nconst b = A.One;\n";
        let (rest, enums) = parted(text);
        assert_eq!(
            enums,
            "/**\n * A.\n */\nexport enum A {\n    /**\n     * One.\n     */\n    One\n}\n"
        );
        assert_eq!(
            rest,
            "/** B. */\nconst b = A.One;\nimport { A } from \"./enums.ts\";\nexport { A };\n"
        );
    }
}
