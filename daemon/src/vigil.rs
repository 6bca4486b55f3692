//! Whether the files that a daemon serves are still those at their paths. A daemon whose folder was removed, or whose database was
//! replaced, would go on with files that nobody can see any more, and lose everything at its end (C6).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use crate::store;

/// Pause between two looks. They are a system call each, on a thread of their own, since a file system may hang.
const PAUSE: Duration = Duration::from_secs(2);

/// The state of a daemon is not where it was.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} was {how} while the daemon ran, and it has ended: nothing more could have been kept. Put the folder back (stop the daemon before files are moved or restored), then start it again", path.display()
)]
pub(crate) struct LostState {
    path: PathBuf,
    /// `removed` or `replaced`.
    how: &'static str,
}

/// Watches the database of a daemon until it is dropped.
#[derive(Debug)]
pub(crate) struct Vigil {
    /// Absent once it was told.
    lost: Option<oneshot::Receiver<LostState>>,
    /// The thread ends when this goes.
    _end: mpsc::Sender<()>,
}

impl Vigil {
    /// Begins with the files as they are now.
    pub(crate) fn begin(state_dir: &Path) -> io::Result<Self> {
        let database = state_dir.join(store::FILE);
        let known = identity(&database)?;
        let (end, ended) = mpsc::channel();
        let (tell, lost) = oneshot::channel();
        thread::Builder::new()
            .name("vigil".to_owned())
            .spawn(move || {
                let how = loop {
                    match ended.recv_timeout(PAUSE) {
                        Err(RecvTimeoutError::Timeout) => {}
                        Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                    }
                    match identity(&database) {
                        Ok(now) if now == known => {}
                        Ok(_) => break "replaced",
                        Err(error) if error.kind() == io::ErrorKind::NotFound => break "removed",
                        // A file system in trouble says nothing of the file.
                        Err(_) => {}
                    }
                };
                let path = database;
                let _ = tell.send(LostState { path, how });
            })?;
        Ok(Self {
            lost: Some(lost),
            _end: end,
        })
    }

    /// Waits until the files are lost; for ever, as long as they are not.
    pub(crate) async fn lost(&mut self) -> LostState {
        if let Some(lost) = &mut self.lost {
            let told = lost.await;
            self.lost = None;
            if let Ok(lost) = told {
                return lost;
            }
        }
        // Told already, or the thread is gone: no news.
        std::future::pending().await
    }
}

/// What tells a file from another one at the same path.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Elsewhere an open file cannot be replaced, and hardly be removed.
#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|_| (0, 0))
}
