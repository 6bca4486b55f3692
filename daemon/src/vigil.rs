//! Watches whether the files that a daemon uses are still at their paths. With its folder removed
//! or its database replaced, a daemon would go on with unreachable files and lose everything at its
//! end (C6).

use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{files::identity, store};

/// Interval between two checks. Each is one system call, on a separate thread, since a file system
/// may hang.
const PAUSE: Duration = Duration::from_secs(2);

/// The state of a daemon is no longer at its path.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} was {how} while the daemon ran, and it has ended: nothing more could have been kept. Put the folder back (stop the daemon before files are moved or restored), then start it again", path.display()
)]
pub(crate) struct LostState {
    path: PathBuf,
    /// `removed` or `replaced`.
    how: &'static str,
}

/// Watches a daemon's database until it is dropped.
#[derive(Debug)]
pub(crate) struct Vigil {
    /// Absent once it has been returned.
    lost: Option<oneshot::Receiver<LostState>>,
    /// The thread ends when this is dropped.
    _end: mpsc::Sender<()>,
}

impl Vigil {
    /// Starts with the current files.
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
                        // A failing file system shows nothing about the file.
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

    /// Waits until the files are lost; pending for ever while they are not.
    pub(crate) async fn lost(&mut self) -> LostState {
        if let Some(lost) = &mut self.lost {
            let told = lost.await;
            self.lost = None;
            if let Ok(lost) = told {
                return lost;
            }
        }
        // Already returned, or the thread has ended: nothing more to report.
        std::future::pending().await
    }
}
