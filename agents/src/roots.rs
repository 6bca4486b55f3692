//! Folder roots: the folders that agents may be started in, with everything below them (TR-6).
//!
//! A folder is compared by its real path, so neither a symbolic link nor `..` leads out of a root.
//! Roots decide where a program starts. They do not confine it: it runs as the daemon's user.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Most roots in one list.
const MAX_ROOTS: usize = 64;
/// Longest root in bytes.
const MAX_ROOT_BYTES: usize = 4_096;

/// The remedy for [`OutsideRoots`] of a provider.
pub(crate) const OTHER_ROOT: &str =
    "create an agent in one of them, or add this one to `roots` of the provider";

/// A list of roots: absolute paths, as written. An empty list allows every folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Roots(Vec<String>);

/// Why a written list of roots is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRoots {
    /// The list is there and empty, which could mean every folder or none.
    #[error("has an empty list of `roots`: name a folder, or leave `roots` out to allow every one")]
    Empty,
    /// The list is too long.
    #[error("has {0} `roots`, and at most {MAX_ROOTS} are possible")]
    TooMany(usize),
    /// One of them is no absolute path.
    #[error("has the root `{0}`, which is neither an absolute path nor begins with `~/`")]
    Relative(String),
    /// One of them is no path of any folder.
    #[error("has a root of {0} bytes or with a NUL character, which no folder can have")]
    Malformed(usize),
    /// `~` stands for nothing.
    #[error("has the root `{0}`, and the home folder is unknown: write the whole path")]
    NoHome(String),
}

/// A folder is in none of the roots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{folder}` is outside of the allowed folders: {allowed}")]
pub(crate) struct OutsideRoots {
    /// The folder, as it was asked for.
    pub(crate) folder: String,
    /// The roots, for people.
    pub(crate) allowed: Roots,
}

impl Roots {
    /// Parses a written list. `~` and `~/…` stand for the home folder of the daemon's user. Nothing
    /// is looked up: a root that is not there contains no folder until it is.
    ///
    /// # Errors
    /// [`InvalidRoots`], whose text follows the name of what the list belongs to.
    pub(crate) fn parse(written: &[String]) -> Result<Self, InvalidRoots> {
        Self::parse_with(written, std::env::home_dir().as_deref())
    }

    fn parse_with(written: &[String], home: Option<&Path>) -> Result<Self, InvalidRoots> {
        if written.is_empty() {
            return Err(InvalidRoots::Empty);
        }
        if written.len() > MAX_ROOTS {
            return Err(InvalidRoots::TooMany(written.len()));
        }
        let roots = written.iter().map(|root| absolute(root, home));
        roots.collect::<Result<_, _>>().map(Self)
    }

    /// Whether every folder is allowed.
    pub(crate) const fn is_everywhere(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that a folder is in one of the roots. Of a folder that is not there, the part that is
    /// there counts, so that the answer tells nothing about what exists outside. Accesses the file
    /// system, which may hang: not for the runtime or the ledger's thread.
    ///
    /// # Errors
    /// [`OutsideRoots`].
    pub(crate) fn check(&self, folder: &Path) -> Result<(), OutsideRoots> {
        if self.is_everywhere() {
            return Ok(());
        }
        let mut ancestors = folder.ancestors();
        let real = ancestors.find_map(|part| fs::canonicalize(part).ok());
        self.check_real(folder, real.as_deref())
    }

    /// Checks that this process's working directory is in one of the roots: after entering a folder
    /// no link on the way to it can be exchanged any more.
    ///
    /// # Errors
    /// [`OutsideRoots`], also when the working directory is unknown.
    #[cfg(unix)]
    pub(crate) fn check_entered(&self, folder: &Path) -> Result<(), OutsideRoots> {
        // The system's own path of it, without links.
        let real = std::env::current_dir().ok();
        self.check_real(folder, real.as_deref())
    }

    /// The folder to enter where no launcher does: its real path, so that no link on the way to it
    /// is followed again. On Windows as it was given, since `cmd` takes no other.
    ///
    /// # Errors
    /// The error of the turn, for people.
    pub(crate) fn entered(&self, folder: &Path) -> Result<PathBuf, String> {
        let given = folder.to_owned();
        if self.is_everywhere() {
            return Ok(given);
        }
        let real = fs::canonicalize(folder).ok();
        let verdict = match &real {
            Some(real) => self.check_real(folder, Some(real)),
            // A folder that is not there fails at the start, with a text of its own.
            None => self.check(folder),
        };
        verdict.map_err(|outside| outside.turn_text())?;
        Ok(real.filter(|_| !cfg!(windows)).unwrap_or(given))
    }

    fn check_real(&self, folder: &Path, real: Option<&Path>) -> Result<(), OutsideRoots> {
        let is_in = |real: &Path| {
            let mut roots = self.0.iter();
            roots.any(|root| fs::canonicalize(root).is_ok_and(|root| real.starts_with(root)))
        };
        if self.is_everywhere() || real.is_some_and(is_in) {
            return Ok(());
        }
        Err(OutsideRoots {
            folder: folder.to_string_lossy().into_owned(),
            allowed: self.clone(),
        })
    }
}

impl OutsideRoots {
    /// The error of a turn, for people.
    pub(crate) fn turn_text(&self) -> String {
        let shown: String = self
            .to_string()
            .chars()
            .map(|c| {
                if c.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect();
        format!("The agent's folder {shown}; {OTHER_ROOT}.")
    }
}

impl fmt::Display for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, root) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}`{root}`")?;
        }
        Ok(())
    }
}

/// The absolute path of a written root.
fn absolute(root: &str, home: Option<&Path>) -> Result<String, InvalidRoots> {
    if root.len() > MAX_ROOT_BYTES || root.contains('\0') {
        return Err(InvalidRoots::Malformed(root.len()));
    }
    let below = root
        .strip_prefix('~')
        .filter(|rest| rest.is_empty() || rest.starts_with(std::path::is_separator));
    let Some(below) = below else {
        return if Path::new(root).is_absolute() {
            Ok(root.to_owned())
        } else {
            Err(InvalidRoots::Relative(root.to_owned()))
        };
    };
    let home = home
        .filter(|home| home.is_absolute())
        .and_then(Path::to_str)
        .ok_or_else(|| InvalidRoots::NoHome(root.to_owned()))?;
    Ok(format!("{}{below}", home.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(written: &[&str]) -> Result<Roots, InvalidRoots> {
        let written: Vec<String> = written.iter().map(|&root| root.to_owned()).collect();
        let home = if cfg!(windows) {
            r"C:\ann"
        } else {
            "/home/ann"
        };
        Roots::parse_with(&written, Some(Path::new(home)))
    }

    #[test]
    fn a_list_of_roots_is_absolute_or_of_the_home_folder() {
        #[cfg(unix)]
        assert_eq!(
            roots(&["/srv", "~", "~/src"]).unwrap().to_string(),
            "`/srv`, `/home/ann`, `/home/ann/src`"
        );
        assert_eq!(roots(&[]), Err(InvalidRoots::Empty));
        for wrong in ["src", "", "~bob/src", "./x"] {
            assert_eq!(
                roots(&[wrong]),
                Err(InvalidRoots::Relative(wrong.to_owned()))
            );
        }
        assert_eq!(roots(&["/\0"]), Err(InvalidRoots::Malformed(2)));
        let many = vec!["~"; MAX_ROOTS + 1];
        assert_eq!(roots(&many), Err(InvalidRoots::TooMany(MAX_ROOTS + 1)));
        let homeless = Roots::parse_with(&["~/src".to_owned()], None);
        assert_eq!(homeless, Err(InvalidRoots::NoHome("~/src".to_owned())));
        assert!(Roots::default().check(Path::new("/no/such/folder")).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn tr_6_neither_a_link_nor_dots_lead_out_of_a_root() {
        use std::os::unix::fs::symlink;

        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["root/in", "root-beside", "out"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        symlink(at("out"), at("root/leads-out")).unwrap();
        symlink(at("root/in"), at("leads-in")).unwrap();
        symlink(at("root"), at("by-a-link")).unwrap();
        let inside = [
            "root",
            "root/in",
            "root/in/..",
            "leads-in",
            "by-a-link/in",
            "root/none/yet",
        ];
        let outside = [
            "out",
            "",
            "root-beside",
            "root/..",
            "root/in/../../out",
            "root/leads-out",
            "root/leads-out/none/yet",
            "leads-in/../..",
            "none/../root-beside",
        ];
        for root in ["root", "by-a-link"] {
            let roots = roots(&[at(root).to_str().unwrap()]).unwrap();
            for folder in inside {
                assert_eq!(roots.check(&at(folder)), Ok(()), "{root}: {folder}");
            }
            for folder in outside {
                let refused = roots.check(&at(folder)).unwrap_err().to_string();
                assert!(
                    refused.contains(&at(root).display().to_string()),
                    "{refused}"
                );
            }
        }
        let gone = roots(&[at("not-there").to_str().unwrap()]).unwrap();
        assert!(
            gone.check(&at("not-there")).is_err(),
            "contains nothing yet"
        );
    }
}
