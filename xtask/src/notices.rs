//! What every package contains: a README and the licences.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::process::Workspace;

/// The licence files in the root of the checkout.
pub(crate) const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Copies a page as `README.md`, and the licences, into a folder.
///
/// # Errors
/// A file is missing or cannot be written.
pub(crate) fn place(sh: &Workspace, readme: &str, folder: &Path) -> Result<()> {
    sh.write_file(folder.join("README.md"), readme)?;
    for licence in LICENCES {
        sh.copy_file(licence, folder)?;
    }
    Ok(())
}

/// Checks that a folder contains all of them.
///
/// # Errors
/// Names the missing file.
pub(crate) fn check(folder: &Path) -> Result<()> {
    for name in LICENCES.iter().chain(&["README.md"]) {
        ensure!(
            folder.join(name).is_file(),
            "{} has no {name}",
            folder.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_placed_is_all_that_is_checked() {
        let sh = Workspace::open().unwrap();
        let folder = sh.create_temp_dir().unwrap();
        assert!(check(folder.path()).is_err());
        place(&sh, "# it\n", folder.path()).unwrap();
        check(folder.path()).unwrap();
    }
}
