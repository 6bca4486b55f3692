//! The generator of the TypeScript bindings, `ubrn`, and the addon with which Node calls a library:
//! one pinned version from the npm registry, verified by checksum, built once and cached outside
//! the checkout.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshell::cmd;

use super::{CONFIG, NPM};
use crate::process::Workspace;

/// Must match uniffi's version in the root `Cargo.toml`.
const VERSION: &str = "0.31.0-5";
const PACKAGE: &str = "uniffi-bindgen-react-native";
/// The crate of the addon in the same package.
const ADDON: &str = "uniffi-runtime-napi";
/// Name, version and repository of the package, for the notice of what is built from it.
pub(crate) const SOURCE: [&str; 3] = [
    PACKAGE,
    VERSION,
    "https://github.com/jhugman/uniffi-bindgen-react-native",
];
/// The registry's checksum of that version.
const INTEGRITY: &str = "sha512-YtL3gTe+RVXAQx/2P2Iuypic/CunRZC65Cs47v//YRfwWNYU4Ufd1jT3rqxSrH5b5QFCYblP89Nf/9ssZRvNgg==";
/// The package ships without a lock file; this one pins its dependencies.
const LOCK: &str = include_str!("ubrn.lock");

/// TypeScript for Node.
///
/// # Errors
/// The generator cannot be built or fails.
pub(super) fn node(sh: &Workspace, library: &Path, out: &Path) -> Result<()> {
    // The library is found among the platform packages at run time.
    let found = [
        "--lib-package-base",
        "@bowline/runtime",
        "--lib-node-triple",
    ];
    generate(sh, "napi", library, out, &found.map(Path::new))
}

/// TypeScript and C++ for React Native.
///
/// # Errors
/// The generator cannot be built or fails.
pub(super) fn react_native(sh: &Workspace, library: &Path, ts: &Path, cpp: &Path) -> Result<()> {
    generate(sh, "jsi", library, ts, &[Path::new("--cpp-dir"), cpp])
}

/// Moves the enums into a separate module that loads no native code: code that shows values needs
/// their names where the library is absent, for example behind a bridge. Also adds file names to
/// imports, which ES modules need to resolve types.
fn part_enums(sh: &Workspace, folder: &Path) -> Result<()> {
    let path = folder.join("bowline.ts");
    let text = sh.read_file(&path)?;
    let (rest, enums) =
        parted(&text.replace("from \"./bowline-ffi\"", "from \"./bowline-ffi.ts\""));
    sh.write_file(folder.join("enums.ts"), enums)?;
    Ok(sh.write_file(path, rest)?)
}

/// Splits a generated module: the module without its enums, which it imports, and the enums.
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

fn generate(
    sh: &Workspace,
    target: &str,
    library: &Path,
    out: &Path,
    more: &[&Path],
) -> Result<()> {
    let program = ensure_built(sh)?;
    // The generator reads its configuration only from the folder of the crate, but ours is at the
    // top. The copy stays in place: cargo rebuilds the crate whenever the file appears or vanishes.
    let (copy, config) = ("ffi/uniffi.toml", sh.read_file(CONFIG)?);
    if sh.read_file(copy).ok().as_ref() != Some(&config) {
        sh.write_file(copy, config)?;
    }
    // The generator queries cargo for the crate in its working directory.
    let _crate = sh.push_dir("ffi");
    cmd!(
        sh,
        "{program} generate {target} bindings --library --no-format --ts-dir {out} {more...} {library}"
    )
    .run()?;
    part_enums(sh, out)
}

/// Cache folder shared by all checkouts.
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

/// The generator.
fn ensure_built(sh: &Workspace) -> Result<PathBuf> {
    let name = format!("ubrn{}", env::consts::EXE_SUFFIX);
    cached(sh, &name, |sh, target| {
        cmd!(
            sh,
            "cargo build --locked --bin {PACKAGE} --manifest-path crates/ubrn_cli/Cargo.toml
                --config profile.dev.debug=false"
        )
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTFLAGS")
        .run()?;
        Ok(target.join(format!("debug/{PACKAGE}{}", env::consts::EXE_SUFFIX)))
    })
}

/// The addon for this machine: the packages on npm exist for one platform in this version.
///
/// # Errors
/// It cannot be fetched or built.
pub(super) fn addon(sh: &Workspace) -> Result<PathBuf> {
    cached(sh, super::ADDON, |sh, target| {
        cmd!(
            sh,
            "cargo build --locked --release -p {ADDON} --config profile.release.strip=true"
        )
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTFLAGS")
        .run()?;
        let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        let name = ADDON.replace('-', "_");
        Ok(target.join(format!("release/{prefix}{name}{suffix}")))
    })
}

/// The licence of the addon.
///
/// # Errors
/// It cannot be fetched.
pub(crate) fn addon_licence(sh: &Workspace) -> Result<PathBuf> {
    cached(sh, super::ADDON_LICENCE, |_, target| {
        Ok(target.with_file_name("package").join("LICENSE"))
    })
}

/// A file of the cache; `build` makes it unless it exists, in the folder of the sources, and
/// returns where.
fn cached(
    sh: &Workspace,
    name: &str,
    build: impl FnOnce(&Workspace, &Path) -> Result<PathBuf>,
) -> Result<PathBuf> {
    let folder = cache_dir().join(format!("ubrn-{VERSION}"));
    let file = folder.join(name);
    if file.exists() {
        return Ok(file);
    }
    // Concurrent processes build in separate folders; the last one's file stays.
    let work = sh.create_dir(folder.join(format!("build-{}", std::process::id())))?;
    let began = Instant::now();
    say!("ubrn {VERSION}: fetching it from the npm registry");
    let archive = fetch(sh, &work)?;
    say!("ubrn {VERSION}: building {name}, once for this machine; that takes some minutes");
    cmd!(sh, "tar xzf {archive} -C {work}").run()?;
    let source = work.join("package");
    sh.write_file(source.join("Cargo.lock"), LOCK)?;
    let built = {
        let _source = sh.push_dir(source);
        build(sh, &work.join("target"))?
    };
    fs::rename(built, &file)?;
    sh.remove_path(&work)?;
    let seconds = began.elapsed().as_secs();
    say!("ubrn {VERSION}: {name} is ready after {seconds} s");
    Ok(file)
}

fn fetch(sh: &Workspace, work: &Path) -> Result<PathBuf> {
    let said = cmd!(
        sh,
        "{NPM} pack --json --pack-destination {work} {PACKAGE}@{VERSION}"
    )
    .read()?;
    let said: Value = serde_json::from_str(&said)?;
    // npm before 12 prints a list of one, later versions an object by name.
    let packed = said.get(0).or_else(|| said.as_object()?.values().next());
    let packed = packed.unwrap_or(&said);
    let text = |key: &str| packed.get(key).and_then(Value::as_str);
    ensure!(
        text("integrity") == Some(INTEGRITY),
        "{PACKAGE}@{VERSION}: the checksum differs from the pinned one"
    );
    Ok(work.join(text("filename").context("`npm pack` names no file")?))
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
