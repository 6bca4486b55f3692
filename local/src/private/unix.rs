//! Private folders by Unix owner and permissions, checked along the whole path, links included.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, Metadata, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use super::PrivacyError;

/// Permissions of a private folder.
const FOLDER: u32 = 0o700;
/// Permissions of a private file.
const FILE: u32 = 0o600;
/// Permission to write for others than the owner: group and everyone.
const OTHERS_WRITE: u32 = 0o022;
/// In such a folder only its owner may rename or remove a file.
const STICKY: u32 = 0o1000;
/// Most symbolic links on the way to a file; the system's own limit.
const MAX_LINKS: usize = 40;
/// What the system shows for an owner that a user namespace does not map, such as root outside of a
/// container.
const UNMAPPED: u32 = 65_534;
/// Whether the system keeps apps apart by a sandbox: the folders above an app's folder belong to
/// the system there, and may not be examined.
const IS_SANDBOXED: bool = cfg!(any(target_os = "android", target_os = "ios"));

/// Creates the folder if it is missing, for this user alone (mode 0700), and checks that only this
/// user may write to it or exchange it. A folder that others may read is accepted: its files are
/// private themselves.
///
/// # Errors
/// [`PrivacyError`]; nothing is created in a folder that is refused.
pub fn make_private_folder(folder: &Path) -> Result<(), PrivacyError> {
    let user = User::this();
    let failed = |error| io_error(folder, error);
    let whole = std::path::absolute(folder).map_err(failed)?;
    // A dangling link exists, and is an error below: its disk may not be mounted.
    let is_there = |path: &&Path| path.symlink_metadata().is_ok();
    if let Some(above) = whole.ancestors().skip(1).find(is_there)
        && whole.symlink_metadata().is_err()
    {
        let (real, found) = user.follow(above)?;
        user.check_above(&real, &found, folder)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(FOLDER)
            .create(&whole)
            .map_err(failed)?;
    }
    let (real, found) = user.follow(&whole)?;
    if !found.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    user.check(&real, &found, FOLDER)
}

/// Checks that only this user may read, write or exchange a file. One that others may only read is
/// made private again, with a warning. A missing file is accepted.
///
/// # Errors
/// [`PrivacyError`].
pub fn check_private_file(file: &Path) -> Result<(), PrivacyError> {
    let user = User::this();
    let (real, found) = match user.follow(file) {
        Err(PrivacyError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(());
        }
        followed => followed?,
    };
    // A folder or a device in the place of a file has an error of its own when it is opened.
    if !found.is_file() {
        return Ok(());
    }
    user.check(&real, &found, FILE)?;
    if found.mode() & 0o077 != 0 {
        let fixed = fs::set_permissions(&real, Permissions::from_mode(FILE)).is_ok();
        tracing::warn!(file = %real.display(), fixed, "the file was readable by others");
    }
    Ok(())
}

/// The user of this process, as far as ownership of files is concerned.
struct User {
    id: u32,
    group: u32,
}

impl User {
    fn this() -> Self {
        Self {
            id: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
        }
    }

    /// Resolves a path as the system does, and checks on the way that no other user may lead it to
    /// another file.
    fn follow(&self, path: &Path) -> Result<(PathBuf, Metadata), PrivacyError> {
        let failed = |error| io_error(path, error);
        if IS_SANDBOXED {
            let found = fs::metadata(path).map_err(failed)?;
            return Ok((path.to_owned(), found));
        }
        let whole = std::path::absolute(path).map_err(failed)?;
        let mut rest = steps(&whole);
        let mut at = PathBuf::from("/");
        let mut found = fs::metadata(&at).map_err(failed)?;
        let mut links = 0;
        while let Some(step) = rest.pop_front() {
            match step {
                Step::Root => at = PathBuf::from("/"),
                Step::Up => {
                    at.pop();
                }
                Step::Down(name) => {
                    let next = at.join(name);
                    let entry = next
                        .symlink_metadata()
                        .map_err(|error| self.unseen(&at, &found, path, error))?;
                    self.check_entry(&at, &found, &next, &entry, path)?;
                    if !entry.is_symlink() {
                        (at, found) = (next, entry);
                        continue;
                    }
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(failed(io::Error::other("too many symbolic links")));
                    }
                    let mut target = steps(&fs::read_link(&next).map_err(failed)?);
                    target.append(&mut rest);
                    rest = target;
                }
            }
            found = fs::metadata(&at).map_err(failed)?;
        }
        Ok((at, found))
    }

    /// The error of an entry that cannot be examined: another user's folder may be the cause.
    fn unseen(
        &self,
        folder: &Path,
        found: &Metadata,
        path: &Path,
        error: io::Error,
    ) -> PrivacyError {
        if error.kind() == io::ErrorKind::PermissionDenied && found.uid() != self.id {
            return self.foreign(folder, found, folder);
        }
        io_error(path, error)
    }

    fn foreign(&self, path: &Path, found: &Metadata, folder: &Path) -> PrivacyError {
        PrivacyError::Foreign {
            path: path.to_owned(),
            owner: found.uid(),
            user: self.id,
            folder: folder.to_owned(),
        }
    }

    /// Checks an entry of a folder on the way to `path`.
    fn check_entry(
        &self,
        folder: &Path,
        found: &Metadata,
        entry: &Path,
        of_entry: &Metadata,
        path: &Path,
    ) -> Result<(), PrivacyError> {
        self.check_above(folder, found, path)?;
        let shared = self.others_write(found) || of_entry.is_symlink();
        if shared && !self.trusts(of_entry.uid()) {
            return Err(PrivacyError::ForeignAbove {
                path: path.to_owned(),
                above: entry.to_owned(),
                owner: of_entry.uid(),
            });
        }
        Ok(())
    }

    /// Checks a folder above `path`.
    fn check_above(&self, above: &Path, found: &Metadata, path: &Path) -> Result<(), PrivacyError> {
        if IS_SANDBOXED {
            return Ok(());
        }
        if !self.trusts(found.uid()) {
            return Err(PrivacyError::ForeignAbove {
                path: path.to_owned(),
                above: above.to_owned(),
                owner: found.uid(),
            });
        }
        if self.others_write(found) && found.mode() & STICKY == 0 {
            return Err(PrivacyError::Exchangeable {
                path: path.to_owned(),
                above: above.to_owned(),
                mode: found.mode() & 0o7777,
            });
        }
        Ok(())
    }

    /// Checks the folder or file itself: it must be this user's, and nobody else may write to it.
    fn check(&self, path: &Path, found: &Metadata, private: u32) -> Result<(), PrivacyError> {
        if found.uid() != self.id {
            let folder = match private {
                FOLDER => path,
                _ => path.parent().unwrap_or(path),
            };
            return Err(self.foreign(path, found, folder));
        }
        let mut others = OTHERS_WRITE;
        // The folders of an app belong to a group of that app alone.
        if IS_SANDBOXED && found.gid() == found.uid() {
            others &= 0o002;
        }
        if found.mode() & others != 0 {
            return Err(PrivacyError::Writable {
                path: path.to_owned(),
                mode: found.mode() & 0o7777,
                private,
            });
        }
        Ok(())
    }

    /// Whether others may write to a folder above. A group of this user's own is none of others:
    /// many systems make home folders writable for it.
    fn others_write(&self, found: &Metadata) -> bool {
        let mode = found.mode();
        // Where all users share a group (`staff`, `users`), its id is not the user's.
        let is_private = self.group == self.id && found.gid() == self.group;
        let is_own_group = found.gid() == 0 || is_private;
        mode & 0o002 != 0 || (mode & 0o020 != 0 && !is_own_group)
    }

    /// Root could change everything anyway.
    fn trusts(&self, owner: u32) -> bool {
        [self.id, 0, UNMAPPED].contains(&owner)
    }
}

/// One step along a path.
enum Step {
    Root,
    Up,
    Down(OsString),
}

fn steps(path: &Path) -> VecDeque<Step> {
    path.components()
        .filter_map(|component| match component {
            Component::RootDir => Some(Step::Root),
            Component::ParentDir => Some(Step::Up),
            Component::Normal(name) => Some(Step::Down(name.to_owned())),
            Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn io_error(path: &Path, error: io::Error) -> PrivacyError {
    PrivacyError::Io {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests;
