//! The `command` provider: one process a prompt, its output streamed into the timeline, its exit status
//! the end of the turn.

use std::{future::Future, io, pin::Pin, time::Duration};

use bowline_protocol::{
    ItemKind,
    error::RpcError,
    model::{OutputStream, TurnStatus},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, sleep_until},
};

use super::{
    leftovers::{self, Daemons},
    process::{Exit, Happened, Process, Spec, Starter},
    prompt::Template,
    provider::{Provider, Run, Stop, Turn, TurnEnd},
    text::Decoder,
};

/// Read at once from a process: all that a pipe holds, so that a slow store is asked seldom.
const CHUNK: usize = 64 * 1024;
/// From the request to end to the order.
const TERM_TO_KILL: Duration = Duration::from_secs(2);
/// From the order to end to giving up on what does not.
const KILL_TO_END: Duration = Duration::from_secs(1);
/// How long nothing may come after the program has ended, while something it left in the background holds the pipes.
const LINGER: Duration = Duration::from_secs(1);
/// How long after the program's end something in the background is read that never falls silent.
const LINGER_IN_ALL: Duration = Duration::from_secs(10);
/// Reads after the program's end that surely have taken from both pipes all that it had written.
const LAST_READS: u32 = 4;
/// How long what is in the pipes is read once every process of a stopped turn is gone, or as good as gone.
const REMAINDER: Duration = Duration::from_millis(200);

/// What is left out when something in the background goes on printing.
const CUT: &str = "Something that this turn left in the background goes on printing; what it printed from here on is not kept.";

/// A configured command.
pub(super) struct CommandProvider {
    /// Program, arguments, and how the program gets the prompt.
    pub(super) template: Template,
    /// How it is started.
    pub(super) starter: Starter,
}

impl Provider for CommandProvider {
    fn run(&self, turn: Turn, run: Run) -> Pin<Box<dyn Future<Output = TurnEnd> + Send>> {
        let (template, starter) = (self.template.clone(), self.starter.clone());
        Box::pin(async move { serve(&template, &starter, turn, run).await })
    }

    fn check(&self, prompt: &str) -> Result<(), RpcError> {
        let verdict = self.template.check(prompt);
        verdict.map_err(|why| RpcError::invalid_params(format!("the prompt {why}")))
    }
}

async fn serve(template: &Template, starter: &Starter, turn: Turn, mut run: Run) -> TurnEnd {
    let (argv, input) = match template.fill(&turn.prompt) {
        Ok(filled) => filled,
        Err(why) => {
            let program = template.program();
            return TurnEnd::broken(format!("The prompt for `{program}` {why}."));
        }
    };
    let spec = Spec {
        argv,
        cwd: turn.cwd.to_string_lossy().into_owned(),
        input,
        turn: turn.name.clone(),
        agent: turn.agent.as_str().to_owned(),
    };
    // A turn whose folder does not answer keeps only its own agent waiting (C13).
    let place = run.place.clone();
    let hangs = || place.leave();
    let started = tokio::select! {
        started = starter.start(spec, &hangs) => Ok(started),
        stop = run.stopped() => Err(stop),
    };
    match started {
        Ok(Ok(process)) => {
            place.take();
            Running::new(process, run, turn.name).finish().await
        }
        Ok(Err(why)) => {
            // What hangs on its way into a program would run once it is released.
            leftovers::end(vec![turn.name], Daemons::End).await;
            TurnEnd::broken(why)
        }
        Err(stop) => {
            // Its program may have been about to run.
            leftovers::end(vec![turn.name], spared(stop)).await;
            ended(Some(stop), None)
        }
    }
}

/// What can happen to a running process.
enum Happening {
    Out(OutputStream, io::Result<usize>),
    Process(Happened),
    Stop(Stop),
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

/// Reads from the one that was not read last if it has something, so that neither waits for the other. Cancel-safe.
async fn read<A, B>(stdout: &mut Pipe<A>, stderr: &mut Pipe<B>, last: OutputStream) -> Happening
where
    A: AsyncRead + Unpin,
    B: AsyncRead + Unpin,
{
    match last {
        OutputStream::Stderr => tokio::select! {
            biased;
            outcome = stdout.read() => Happening::Out(OutputStream::Stdout, outcome),
            outcome = stderr.read() => Happening::Out(OutputStream::Stderr, outcome),
        },
        OutputStream::Stdout => tokio::select! {
            biased;
            outcome = stderr.read() => Happening::Out(OutputStream::Stderr, outcome),
            outcome = stdout.read() => Happening::Out(OutputStream::Stdout, outcome),
        },
    }
}

/// A process and what is known of it.
struct Running {
    process: Process,
    run: Run,
    /// The turn's, by which leftovers are found.
    name: String,
    exit: Option<Exit>,
    /// No process of the turn is left, or nothing more will be known.
    gone: bool,
    /// When the program was known to have ended, and how often was read since.
    over: Option<(Instant, u32)>,
    stop: Option<Stop>,
    killed: bool,
    /// What is done at that time depends on the above.
    deadline: Option<Instant>,
    cut: bool,
}

impl Running {
    fn new(process: Process, run: Run, name: String) -> Self {
        Self {
            process,
            run,
            name,
            exit: None,
            gone: false,
            over: None,
            stop: None,
            killed: false,
            deadline: None,
            cut: false,
        }
    }

    async fn finish(mut self) -> TurnEnd {
        let (stdout, stderr) = self.process.outputs();
        let (mut stdout, mut stderr) = (Pipe::new(stdout), Pipe::new(stderr));
        let mut last = OutputStream::Stderr;
        loop {
            let open = stdout.reader.is_some() || stderr.reader.is_some();
            if self.is_done(open) {
                break;
            }
            // What floods the pipes must not hold back the end of a stopped turn.
            let overdue =
                self.stop.is_some() && self.deadline.is_some_and(|at| at <= Instant::now());
            let happening = tokio::select! {
                biased;
                () = std::future::ready(()), if overdue => Happening::Deadline,
                stop = self.run.stopped(), if self.stop.is_none() => Happening::Stop(stop),
                happened = self.process.happened(), if !self.gone => Happening::Process(happened),
                happening = read(&mut stdout, &mut stderr, last) => happening,
                // Last: as long as there is something to read, nothing has fallen silent.
                () = until(self.deadline) => Happening::Deadline,
            };
            match happening {
                Happening::Out(stream, outcome) => {
                    last = stream;
                    let text = match stream {
                        OutputStream::Stdout => stdout.take(outcome),
                        OutputStream::Stderr => stderr.take(outcome),
                    };
                    self.write(stream, &text).await;
                    self.was_read();
                }
                Happening::Process(happened) => self.hear(happened),
                Happening::Stop(stop) => self.end(stop),
                Happening::Deadline if self.stop.is_some() && !self.killed => {
                    self.process.kill();
                    self.killed = true;
                    self.deadline = Some(Instant::now() + KILL_TO_END);
                }
                Happening::Deadline => break,
            }
        }
        // A character that was cut off at the very end.
        let rest = (stdout.decoder.finish(), stderr.decoder.finish());
        self.write(OutputStream::Stdout, &rest.0).await;
        self.write(OutputStream::Stderr, &rest.1).await;
        self.result().await
    }

    /// Whether nothing more is to come that would be kept.
    fn is_done(&mut self, open: bool) -> bool {
        match (self.stop, self.over) {
            (Some(_), Some(_)) => self.gone && !open,
            (None, Some((since, reads))) => {
                if open && since.elapsed() >= LINGER_IN_ALL && reads >= LAST_READS {
                    self.cut = true;
                }
                !open || self.cut || self.run.missing().is_some()
            }
            (_, None) => false,
        }
    }

    fn hear(&mut self, happened: Happened) {
        match happened {
            Happened::Exited(exit) => self.exit = Some(exit),
            Happened::Gone => self.gone = true,
        }
        let now = Instant::now();
        self.over.get_or_insert((now, 0));
        match self.stop {
            // Nobody is left who could write: only what is in the pipes is to come.
            Some(_) if self.process.is_surely_gone() => {
                self.killed = true;
                self.deadline = Some(now + REMAINDER);
            }
            Some(_) => {}
            None => self.deadline = Some(now + LINGER),
        }
    }

    /// The silence begins now, however long the store has taken for what was read (C14).
    fn was_read(&mut self) {
        if let Some((_, reads)) = &mut self.over {
            *reads = reads.saturating_add(1);
            if self.stop.is_none() {
                self.deadline = Some(Instant::now() + LINGER);
            }
        }
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
        self.process.terminate(stop == Stop::Shutdown);
        self.deadline = Some(Instant::now() + TERM_TO_KILL);
    }

    async fn result(mut self) -> TurnEnd {
        let lost = self.exit.is_none() && self.stop.is_none();
        if self.cut {
            let _ = self.run.append(ItemKind::Error, None, CUT).await;
        }
        let mut end = ended(self.stop, self.exit);
        end.missing = match self.run.missing() {
            Some(missing) => Some(missing),
            None => self.cut.then(|| CUT.to_owned()),
        };
        let sure = self.process.is_surely_gone();
        if self.stop.is_none() && !lost {
            self.process.release();
        } else {
            // Its processes are ended here, before anything is searched for that is none of them.
            drop(self.process);
            if !sure {
                let daemons = self.stop.map_or(Daemons::End, spared);
                leftovers::end(vec![self.name], daemons).await;
            }
        }
        end
    }
}

/// What becomes of daemons that a stopped turn has started.
const fn spared(stop: Stop) -> Daemons {
    match stop {
        Stop::Shutdown => Daemons::Spare,
        Stop::Cancelled => Daemons::End,
    }
}

/// How a turn ended, by why it was stopped and how its program ended.
fn ended(stop: Option<Stop>, exit: Option<Exit>) -> TurnEnd {
    let (status, error, broken) = match (stop, exit) {
        (Some(Stop::Cancelled), _) => (TurnStatus::Cancelled, None, false),
        (Some(Stop::Shutdown), _) => (
            TurnStatus::Interrupted,
            Some("The daemon was stopped while this turn ran.".to_owned()),
            true,
        ),
        (None, Some(Exit { code: Some(0), .. })) => (TurnStatus::Completed, None, false),
        (None, Some(Exit { signal, .. })) => (
            TurnStatus::Failed,
            signal.map(|signal| format!("The process was ended by signal {signal}.")),
            false,
        ),
        (None, None) => (
            TurnStatus::Failed,
            Some("Nobody can tell how this turn's program ended: its launcher was ended from outside.".to_owned()),
            true,
        ),
    };
    TurnEnd {
        status,
        exit_code: exit.and_then(|exit| exit.code),
        error,
        broken,
        missing: None,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
