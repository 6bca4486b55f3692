//! Finds what prevents a daemon from using its own files: another owner, a mode, a full or
//! read-only disk. It runs after a failed start, so that the error says what to do (C8, C11).

use std::path::Path;

/// Free space below which a database cannot be opened, in bytes.
#[cfg(unix)]
const LEAST: u64 = 256 * 1024;

/// The first obstacle in a state directory, as a sentence; `None` if none is found.
#[cfg(unix)]
pub(crate) fn obstacle(state_dir: &Path) -> Option<String> {
    use rustix::{
        fs::{Access, access},
        io::Errno,
    };
    let whole = Access::READ_OK | Access::WRITE_OK;
    let database = crate::store::FILE;
    let wanted = [
        (String::new(), whole | Access::EXEC_OK),
        (crate::state_dir::LOCK.to_owned(), whole),
        (crate::identity::FILE.to_owned(), Access::READ_OK),
        (crate::belonging::MARK.to_owned(), Access::READ_OK),
        (database.to_owned(), whole),
        (format!("{database}-wal"), whole),
        (format!("{database}-shm"), whole),
    ];
    let refused = wanted.into_iter().find_map(|(name, access_to)| {
        let path = match name.as_str() {
            "" => state_dir.to_owned(),
            name => state_dir.join(name),
        };
        match access(&path, access_to) {
            Err(Errno::ROFS) => Some(format!("{} is on a read-only file system", path.display())),
            Err(Errno::ACCESS | Errno::PERM) => whose(&path),
            Ok(()) | Err(_) => None,
        }
    });
    refused.or_else(|| full(state_dir))
}

#[cfg(not(unix))]
pub(crate) fn obstacle(_state_dir: &Path) -> Option<String> {
    // The system's own error text can be looked up.
    None
}

/// The owner of the nearest existing path, and what to do.
#[cfg(unix)]
fn whose(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    let mut above = path.ancestors();
    let (at, found) = above.find_map(|at| Some((at, std::fs::metadata(at).ok()?)))?;
    let shown = at.display();
    if found.uid() == me {
        return Some(format!(
            "{shown} belongs to this user, but its mode denies access: correct its mode"
        ));
    }
    let owner = match found.uid() {
        0 => "root".to_owned(),
        uid => format!("user {uid}"),
    };
    let folder = match at.is_dir() {
        true => at,
        false => at.parent().unwrap_or(at),
    };
    Some(format!(
        "{shown} belongs to {owner}: start the daemon as that user, or `sudo chown -R {me} {}` gives it to this one",
        folder.display()
    ))
}

/// Reports a full disk.
#[cfg(unix)]
fn full(state_dir: &Path) -> Option<String> {
    let mut above = state_dir.ancestors();
    let disk = above.find_map(|at| rustix::fs::statvfs(at).ok())?;
    let blocks = match rustix::process::geteuid().is_root() {
        true => disk.f_bfree,
        false => disk.f_bavail,
    };
    let shown = state_dir.display();
    if disk.f_blocks > 0 && blocks.saturating_mul(disk.f_frsize) < LEAST {
        return Some(format!("the disk of {shown} is full: free some space"));
    }
    (disk.f_files > 0 && disk.f_ffree == 0)
        .then(|| format!("the disk of {shown} has no free inodes: remove some files"))
}
