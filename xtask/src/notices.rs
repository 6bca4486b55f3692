//! The files that every package carries for whoever opens it: what it is, and its licences.

use std::{fs, path::Path};

use crate::{process::Outcome, tree};

/// The licences, in the root of the checkout.
pub(crate) const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Puts a page as `README.md`, and the licences, into a folder.
///
/// # Errors
/// When something is missing or cannot be written.
pub(crate) fn place(readme: &str, folder: &Path) -> Outcome {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    fs::write(folder.join("README.md"), readme)
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    for licence in LICENCES {
        let from = tree::root().join(licence);
        fs::copy(&from, folder.join(licence))
            .map_err(|error| format!("{}: {error}", from.display()))?;
    }
    Ok(())
}

/// Whether all of it is in a folder.
///
/// # Errors
/// Names what is missing.
pub(crate) fn check(folder: &Path) -> Outcome {
    for name in LICENCES.iter().chain(&["README.md"]) {
        if !folder.join(name).is_file() {
            return Err(format!("{} has no {name}", folder.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_placed_is_all_that_is_checked() {
        let folder = std::env::temp_dir().join(format!("bowline-notices-{}", std::process::id()));
        assert!(check(&folder).is_err());
        place("# it\n", &folder).unwrap();
        let checked = check(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(checked, Ok(()));
    }
}
