//! The `command` provider: one process a prompt, its output streamed into the timeline, its exit status
//! the end of the turn.

use std::{future::Future, io, pin::Pin, process::Stdio, time::Duration};

use bowline_protocol::{
    ItemKind,
    model::{OutputStream, TurnStatus},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{ChildStdin, Command},
    time::{Instant, sleep_until},
};

use super::{
    process::{Group, TURN_VARIABLE},
    provider::{Provider, Run, Stop, Turn, TurnEnd},
    text::Decoder,
};
use crate::config::PromptVia;

/// Read at once from a process.
const CHUNK: usize = 16 * 1024;
/// From the request to end to the order.
const TERM_TO_KILL: Duration = Duration::from_secs(2);
/// How long output is awaited after the process has ended. A process it left in the background may hold
/// the pipes open for ever.
const LINGER: Duration = Duration::from_secs(1);

/// A configured command.
pub(super) struct CommandProvider {
    /// Program and arguments.
    pub(super) argv: Vec<String>,
    /// How the program gets the prompt.
    pub(super) prompt: PromptVia,
}

impl Provider for CommandProvider {
    fn run(&self, turn: Turn, run: Run) -> Pin<Box<dyn Future<Output = TurnEnd> + Send>> {
        let (argv, via) = (self.argv.clone(), self.prompt);
        Box::pin(async move {
            match start(&argv, via, &turn) {
                Ok((group, input)) => Running::new(group, run).finish(input).await,
                Err(error) => {
                    let program = argv.first().map_or("", String::as_str);
                    TurnEnd::broken(format!(
                        "cannot run `{program}` in {}: {error}",
                        turn.cwd.display()
                    ))
                }
            }
        })
    }
}

/// A prompt on its way to standard input.
type Input = Pin<Box<dyn Future<Output = ()> + Send>>;

fn start(argv: &[String], via: PromptVia, turn: &Turn) -> io::Result<(Group, Option<Input>)> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| io::Error::other("the provider has no command"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    match via {
        PromptVia::Argument => command.arg(&turn.prompt).stdin(Stdio::null()),
        PromptVia::Stdin => command.stdin(Stdio::piped()),
    };
    command
        .current_dir(&turn.cwd)
        .env(TURN_VARIABLE, &turn.name)
        .env("BOWLINE_AGENT", turn.agent.as_str())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut group = Group::spawn(&mut command)?;
    let prompt = turn.prompt.clone();
    let input = group
        .child()
        .stdin
        .take()
        .map(|stdin| Box::pin(feed(stdin, prompt)) as Input);
    Ok((group, input))
}

/// Writes the prompt and closes the pipe. A process that does not want it has its reasons.
async fn feed(mut stdin: ChildStdin, prompt: String) {
    let _ = stdin.write_all(prompt.as_bytes()).await;
    let _ = stdin.shutdown().await;
}

/// What can happen to a running process.
enum Happening {
    Out(OutputStream, io::Result<usize>),
    Exited(io::Result<std::process::ExitStatus>),
    Stop(Stop),
    Fed,
    Deadline,
}

/// One pipe of the process.
struct Pipe<R> {
    reader: Option<R>,
    buffer: Box<[u8]>,
    decoder: Decoder,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(reader: Option<R>) -> Self {
        Self {
            reader,
            buffer: vec![0; CHUNK].into(),
            decoder: Decoder::default(),
        }
    }

    /// Reads some; never ready once the pipe has ended. Cancel-safe.
    async fn read(&mut self) -> io::Result<usize> {
        match &mut self.reader {
            Some(reader) => reader.read(&mut self.buffer).await,
            None => std::future::pending().await,
        }
    }

    /// The text of what was read; an end or an error ends the pipe.
    fn take(&mut self, outcome: io::Result<usize>) -> String {
        match outcome {
            Ok(count) if count > 0 => {
                let bytes = self.buffer.get(..count).unwrap_or_default();
                self.decoder.push(bytes)
            }
            Ok(_) | Err(_) => {
                self.reader = None;
                self.decoder.finish()
            }
        }
    }
}

/// A process and what is known of it.
struct Running {
    group: Group,
    run: Run,
    exit: Option<io::Result<std::process::ExitStatus>>,
    stop: Option<Stop>,
    killed: bool,
    deadline: Option<Instant>,
}

impl Running {
    fn new(group: Group, run: Run) -> Self {
        Self {
            group,
            run,
            exit: None,
            stop: None,
            killed: false,
            deadline: None,
        }
    }

    async fn finish(mut self, mut input: Option<Input>) -> TurnEnd {
        let child = self.group.child();
        let mut stdout = Pipe::new(child.stdout.take());
        let mut stderr = Pipe::new(child.stderr.take());
        loop {
            let open = stdout.reader.is_some() || stderr.reader.is_some();
            if self.exit.is_some() && !open {
                break;
            }
            let happening = tokio::select! {
                outcome = stdout.read() => Happening::Out(OutputStream::Stdout, outcome),
                outcome = stderr.read() => Happening::Out(OutputStream::Stderr, outcome),
                exit = self.group.child().wait(), if self.exit.is_none() => Happening::Exited(exit),
                stop = self.run.stopped(), if self.stop.is_none() => Happening::Stop(stop),
                () = fed(&mut input) => Happening::Fed,
                () = until(self.deadline) => Happening::Deadline,
            };
            match happening {
                Happening::Out(stream, outcome) => {
                    let text = match stream {
                        OutputStream::Stdout => stdout.take(outcome),
                        OutputStream::Stderr => stderr.take(outcome),
                    };
                    self.write(stream, &text).await;
                }
                Happening::Exited(exit) => {
                    self.exit = Some(exit);
                    // A stopped turn already has its deadline.
                    self.deadline.get_or_insert_with(|| Instant::now() + LINGER);
                }
                Happening::Stop(stop) => self.end(stop),
                Happening::Fed => input = None,
                Happening::Deadline if self.stop.is_some() && !self.killed => {
                    self.group.kill();
                    self.killed = true;
                    self.deadline = Some(Instant::now() + LINGER);
                }
                Happening::Deadline => break,
            }
        }
        self.result()
    }

    /// Stores output. If the turn has to end before that succeeds, the rest is read and dropped.
    async fn write(&mut self, stream: OutputStream, text: &str) {
        let stored = self.run.append(ItemKind::Output, Some(stream), text).await;
        if let Err(stop) = stored
            && self.stop.is_none()
        {
            self.end(stop);
        }
    }

    fn end(&mut self, stop: Stop) {
        self.stop = Some(stop);
        self.group.terminate();
        self.deadline = Some(Instant::now() + TERM_TO_KILL);
    }

    fn result(mut self) -> TurnEnd {
        let exit_code = match &self.exit {
            Some(Ok(status)) => status.code(),
            Some(Err(_)) | None => None,
        };
        if self.stop.is_none() {
            self.group.release();
        }
        let (status, error, broken) = match (self.stop, &self.exit) {
            (Some(Stop::Cancelled), _) => (TurnStatus::Cancelled, None, false),
            (Some(Stop::Shutdown), _) => (
                TurnStatus::Interrupted,
                Some("The daemon was stopped while this turn ran.".to_owned()),
                true,
            ),
            (None, Some(Ok(status))) if status.success() => (TurnStatus::Completed, None, false),
            (None, Some(Ok(status))) => (TurnStatus::Failed, signalled(*status), false),
            (None, Some(Err(error))) => (
                TurnStatus::Failed,
                Some(format!("cannot tell how the process ended: {error}")),
                true,
            ),
            (None, None) => (TurnStatus::Failed, None, true),
        };
        TurnEnd {
            status,
            exit_code,
            error,
            broken,
        }
    }
}

/// The signal that ended a process, for people.
#[cfg(unix)]
fn signalled(status: std::process::ExitStatus) -> Option<String> {
    use std::os::unix::process::ExitStatusExt;
    status
        .signal()
        .map(|signal| format!("The process was ended by signal {signal}."))
}

#[cfg(not(unix))]
fn signalled(_status: std::process::ExitStatus) -> Option<String> {
    None
}

async fn fed(input: &mut Option<Input>) {
    match input {
        Some(input) => input.await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
