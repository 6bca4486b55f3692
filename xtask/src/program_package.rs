//! `cargo xtask package programs`: the release archive with the programs for one platform.

use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::cmd;

use crate::{
    notices,
    process::{Workspace, target_dir},
};

const PROGRAMS: [&str; 3] = ["bowline", "bowline-daemon", "bowline-relay"];

/// README of the archive; it must not link to pages that the archive lacks.
const README: &str = concat!(
    "# Bowline ",
    env!("CARGO_PKG_VERSION"),
    "\n\n`bowline-daemon` keeps sessions with the machine it runs on, `bowline` is its client in a terminal, and \
     `bowline-relay` lets clients reach a daemon that nobody can dial. Each has `--help`; the pages are at\n",
    env!("CARGO_PKG_REPOSITORY"),
    "/tree/v",
    env!("CARGO_PKG_VERSION"),
    "\n",
);

/// Builds the programs for a target (default: this machine's) and packs them as
/// `target/package/programs/bowline-VERSION-TARGET.tar.gz`.
///
/// # Errors
/// Something does not build or cannot be written.
pub(crate) fn programs(sh: &Workspace, target: Option<String>) -> Result<()> {
    let target = target.map_or_else(|| sh.host(), Ok)?;
    let bins = PROGRAMS.iter().flat_map(|program| ["--bin", program]);
    cmd!(
        sh,
        "cargo build --release --locked --target {target}
            -p bowline-cli -p bowline-daemon-program -p bowline-relay {bins...}"
    )
    .run()?;
    let built = target_dir().join(&target).join("release");
    let archive = pack(sh, &target, &built, &target_dir().join("package/programs"))?;
    say!("{}", archive.display());
    Ok(())
}

/// Packs the programs in the folder `built` for `target` into an archive in `into`.
fn pack(sh: &Workspace, target: &str, built: &Path, into: &Path) -> Result<PathBuf> {
    let name = format!("bowline-{}-{target}", env!("CARGO_PKG_VERSION"));
    let folder = sh.empty(into.join(&name))?;
    notices::place(sh, README, &folder)?;
    sh.copy_file("CHANGELOG.md", &folder)?;
    let suffix = if target.contains("windows") {
        ".exe"
    } else {
        ""
    };
    for program in PROGRAMS {
        sh.copy_file(built.join(format!("{program}{suffix}")), &folder)?;
    }
    // Paths without a drive: some tar implementations read `C:` as a remote host.
    let _into = sh.push_dir(into);
    cmd!(sh, "tar -czf {name}.tar.gz {name}").run()?;
    Ok(into.join(format!("{name}.tar.gz")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_the_programs_and_what_every_package_carries() {
        let sh = Workspace::open().unwrap();
        let root = sh.create_temp_dir().unwrap();
        let (built, into) = (root.path().join("built"), root.path().join("into"));
        assert!(
            pack(&sh, "x-windows", &built, &into).is_err(),
            "nothing is built"
        );
        for program in PROGRAMS {
            sh.write_file(built.join(format!("{program}.exe")), program)
                .unwrap();
        }
        let archive = pack(&sh, "x-windows", &built, &into).unwrap();
        let listed = cmd!(sh, "tar -tzf {archive}").read().unwrap();
        for file in [
            "bowline.exe",
            "bowline-relay.exe",
            "LICENSE-MIT",
            "README.md",
        ] {
            assert!(listed.contains(&format!("/{file}")), "{file} in {listed}");
        }
    }
}
