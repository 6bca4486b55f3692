//! Whose the files of a folder are: what to do about one that may not be read, and files that root makes for somebody else.

#[cfg(unix)]
use std::fs;
use std::{fs::File, io, path::Path};

/// What the system says, with whose the file is and what to do where rights are the trouble.
pub(super) fn explained(path: &Path, source: io::Error) -> io::Error {
    if source.kind() != io::ErrorKind::PermissionDenied {
        return source;
    }
    match owner(path) {
        Some((what, owner)) => io::Error::new(
            source.kind(),
            format!("{source}; {what} belongs to {owner}"),
        ),
        None => source,
    }
}

/// The owner of the nearest thing at the path that can be looked at and is somebody else's, and what to do.
#[cfg(unix)]
fn owner(path: &Path) -> Option<(String, String)> {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    let (at, found) = path
        .ancestors()
        .find_map(|at| Some((at, fs::metadata(at).ok()?)))?;
    if found.uid() == me {
        let what = format!("{}", at.display());
        return Some((
            what,
            "this user, who has no right to do that: see its mode".to_owned(),
        ));
    }
    let whose = match found.uid() {
        0 => "root".to_owned(),
        uid => format!("user {uid}"),
    };
    let folder = if at.is_dir() {
        at
    } else {
        at.parent().unwrap_or(at)
    };
    let remedy = format!(
        "{whose}; `sudo chown -R {me} {}` gives it back",
        folder.display()
    );
    Some((at.display().to_string(), remedy))
}

#[cfg(not(unix))]
fn owner(_path: &Path) -> Option<(String, String)> {
    // On Windows access lists decide, and the system's text is the one that people can look up.
    None
}

/// Gives a file that root has just made to the owner of its folder, so that `sudo` does not lock its user out.
#[cfg(unix)]
pub(super) fn give_to_owner_of(folder: &Path, file: &File) {
    use std::os::unix::fs::{MetadataExt, fchown};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let given = fs::metadata(folder).and_then(|owner| match owner.uid() {
        0 => Ok(()),
        uid => fchown(file, Some(uid), Some(owner.gid())),
    });
    if let Err(error) = given {
        tracing::warn!(folder = %folder.display(), %error, "a file made by root cannot be given to the folder's owner");
    }
}

#[cfg(not(unix))]
pub(super) fn give_to_owner_of(_folder: &Path, _file: &File) {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// C11: an error that names neither owner nor remedy left people with files of root's.
    #[test]
    fn case_c11_a_refusal_says_whose_it_is() {
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        let folder = tempfile::tempdir().unwrap();
        let text = explained(&folder.path().join("none"), refused()).to_string();
        assert!(text.contains("belongs to this user"), "{text}");
        if !rustix::process::geteuid().is_root() {
            let text = explained(Path::new("/etc/shadow"), refused()).to_string();
            assert!(text.contains("root") && text.contains("chown"), "{text}");
        }
        let other = io::Error::from(io::ErrorKind::StorageFull);
        assert!(
            !explained(folder.path(), other)
                .to_string()
                .contains("belongs")
        );
    }
}
