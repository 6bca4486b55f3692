//! A turn's program as a child of the daemon itself: where there is no launcher (Windows, and programs that use the
//! daemon as a plain library).

use std::{io, process::Stdio};

use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    task::JoinHandle,
};

use super::{
    environment,
    process::{Exit, Happened, Spec},
};

/// A child that leads a group of its own. Dropping it kills the whole group, unless it was released.
pub(super) struct Direct {
    child: Child,
    armed: bool,
    exited: bool,
    feed: Option<JoinHandle<()>>,
    #[cfg(unix)]
    id: Option<rustix::process::Pid>,
}

impl Direct {
    /// Starts a command as the leader of a new group.
    pub(super) fn spawn(spec: &Spec) -> Result<Self, String> {
        let (program, arguments) = spec
            .argv
            .split_first()
            .ok_or("The provider has no command.")?;
        let mut command = Command::new(program);
        environment::apply(&mut command, &spec.turn, &spec.agent);
        command
            .args(arguments)
            .current_dir(&spec.cwd)
            .env("PWD", &spec.cwd)
            .stdin(if spec.input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command
            .spawn()
            .map_err(|error| failed(program, spec, &error))?;
        let feed = child
            .stdin
            .take()
            .zip(spec.input.clone())
            .map(|(stdin, input)| tokio::spawn(feed(stdin, input)));
        Ok(Self {
            #[cfg(unix)]
            id: child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(rustix::process::Pid::from_raw),
            child,
            armed: true,
            exited: false,
            feed,
        })
    }

    pub(super) fn child(&mut self) -> Option<&mut Child> {
        Some(&mut self.child)
    }

    /// The exit, then, at once, that nothing more will be known. Cancel-safe.
    pub(super) async fn happened(&mut self) -> Happened {
        if self.exited {
            return Happened::Gone;
        }
        let status = self.child.wait().await;
        self.exited = true;
        match status {
            Ok(status) => Happened::Exited(Exit {
                code: status.code(),
                signal: signal(status),
            }),
            Err(error) => {
                tracing::warn!(%error, "cannot tell how a program ended");
                Happened::Gone
            }
        }
    }

    /// Asks every process of the group to end. On Windows only the child itself can be ended.
    pub(super) fn terminate(&mut self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::TERM);
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
    }

    /// Ends every process of the group.
    pub(super) fn kill(&mut self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::KILL);
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
    }

    /// The turn ended by itself: what it has put into the background may stay.
    pub(super) fn release(&mut self) {
        self.armed = false;
    }

    /// The system does not reuse the number of a group that still has a process, so this reaches our group
    /// or, when it is empty, nothing.
    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(id) = self.id {
            // An error says that the group is empty.
            let _ = rustix::process::kill_process_group(id, signal);
        }
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        if let Some(feed) = &self.feed {
            feed.abort();
        }
        if self.armed {
            self.kill();
        }
    }
}

/// Writes the prompt and closes the pipe. A process that does not want it has its reasons.
async fn feed(mut stdin: ChildStdin, prompt: String) {
    let _ = stdin.write_all(prompt.as_bytes()).await;
    let _ = stdin.shutdown().await;
}

/// The folder and the program fail alike here, so the folder is looked at once more.
fn failed(program: &str, spec: &Spec, error: &io::Error) -> String {
    #[cfg(unix)]
    {
        use super::launcher::start::{folder_text, program_text};
        match std::fs::read_dir(&spec.cwd) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                folder_text(&spec.cwd, &error)
            }
            _ => program_text(program, std::path::Path::new(&spec.cwd), error),
        }
    }
    #[cfg(not(unix))]
    format!(
        "The provider's program `{program}` cannot be started in `{}`: {error}.",
        spec.cwd
    )
}

#[cfg(unix)]
fn signal(status: std::process::ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_status: std::process::ExitStatus) -> Option<i32> {
    None
}
