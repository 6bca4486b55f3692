//! What keeps a daemon from its own files: somebody else's file, a mode, a disk that is full or may only be read. Looked for when a
//! start has failed, so that the error says what to do (C8, C11).

use std::path::Path;

/// Free space below which a database cannot be opened, in bytes.
#[cfg(unix)]
const LEAST: u64 = 256 * 1024;

/// The first obstacle in a state directory, as a sentence; `None` if nothing shows.
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
            Err(Errno::ROFS) => Some(format!(
                "{} is on a file system that may only be read",
                path.display()
            )),
            Err(Errno::ACCESS | Errno::PERM) => whose(&path),
            Ok(()) | Err(_) => None,
        }
    });
    refused.or_else(|| full(state_dir))
}

#[cfg(not(unix))]
pub(crate) fn obstacle(_state_dir: &Path) -> Option<String> {
    // The system's own text is the one that people can look up.
    None
}

/// Whose the nearest thing at the path is that can be looked at, and what to do.
#[cfg(unix)]
fn whose(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    let mut above = path.ancestors();
    let (at, found) = above.find_map(|at| Some((at, std::fs::metadata(at).ok()?)))?;
    let shown = at.display();
    if found.uid() == me {
        return Some(format!(
            "{shown} belongs to this user, who has no right to use it so: see its mode"
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

/// Says so if the directory's disk has no room.
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
        .then(|| format!("the disk of {shown} has room for no more files: remove some"))
}
