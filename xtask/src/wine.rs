//! Wine with a separate prefix for each run: a user's Wine prefix is neither read nor changed.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use xshell::{Cmd, cmd};

use crate::process::Workspace;

/// Debian's folder of Wine, outside of `PATH`.
const DEBIAN: &str = "/usr/lib/wine";

/// Path of the 64-bit loader, if installed.
pub(crate) fn loader() -> Option<PathBuf> {
    program("wine64").or_else(|| program("wine"))
}

fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = env::split_paths(&path).collect();
    folders.push(DEBIAN.into());
    let mut programs = folders.iter().map(|folder| folder.join(name));
    programs.find(|program| program.is_file())
}

/// A running Wine. Dropping it ends its server and every program it runs.
pub(crate) struct Wine<'a> {
    sh: &'a Workspace,
    loader: PathBuf,
    server: PathBuf,
    prefix: PathBuf,
}

impl<'a> Wine<'a> {
    /// Starts Wine with the fresh prefix `folder`, without a display.
    ///
    /// # Errors
    /// Wine is not installed or does not start.
    pub(crate) fn start(sh: &'a Workspace, folder: &Path) -> Result<Self> {
        let missing = "Wine is not installed";
        let wine = Self {
            sh,
            loader: loader().context(missing)?,
            server: program("wineserver").context(missing)?,
            prefix: folder.to_owned(),
        };
        wine.end();
        sh.remove_path(folder)?;
        let loader = &wine.loader;
        // Services that Wine leaves running would keep a pipe open.
        wine.equip(cmd!(sh, "{loader} wineboot --init").ignore_stdout())
            .run()?;
        // Consoles need a window; this driver needs no display.
        let driver = r"HKCU\Software\Wine\Drivers";
        let null = cmd!(sh, "{loader} reg add {driver} /v Graphics /d null /f");
        wine.equip(null.ignore_stdout()).run()?;
        Ok(wine)
    }

    /// Copies a library into the system folder, unless Wine has one of that name.
    ///
    /// # Errors
    /// The library cannot be copied.
    pub(crate) fn add_library(&self, library: &Path) -> Result<()> {
        let name = library.file_name().unwrap_or_default();
        let place = self.prefix.join("drive_c/windows/system32").join(name);
        if !place.exists() {
            self.sh.copy_file(library, place)?;
        }
        Ok(())
    }

    /// Path of the loader.
    pub(crate) fn loader(&self) -> &Path {
        &self.loader
    }

    /// Sets up a command so that Windows programs it starts use this Wine.
    pub(crate) fn equip<'b>(&self, command: Cmd<'b>) -> Cmd<'b> {
        command
            .env("WINEPREFIX", &self.prefix)
            .env("WINEDEBUG", "-all")
            // Nothing here needs .NET or HTML, which Wine would offer to download.
            .env("WINEDLLOVERRIDES", "mscoree=;mshtml=")
            .env_remove("DISPLAY")
            // Encoding of arguments.
            .env("LC_ALL", "C.UTF-8")
    }

    /// Ends every program of this Wine.
    fn end(&self) {
        let kill = self.sh.cmd(&self.server).arg("--kill");
        // Fails when nothing runs.
        let _ = self.equip(kill).ignore_stderr().run();
    }
}

impl Drop for Wine<'_> {
    fn drop(&mut self) {
        self.end();
        // The prefix takes most of a gigabyte and is recreated by the next run.
        let _ = fs::remove_dir_all(&self.prefix);
    }
}
