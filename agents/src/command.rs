//! The `command` provider: one process per prompt. Its output is streamed into the timeline; its
//! exit ends the turn.

use std::{future::Future, io, path::Path, pin::Pin, time::Duration};

use bowline_protocol::{
    ItemKind, RpcReason,
    error::RpcError,
    model::{OutputStream, TurnStatus},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::Instant,
};

use super::{
    leftovers::{self, Daemons},
    process::{Exit, Process, ProcessEvent, Spec, Starter, until},
    prompt::Template,
    provider::{Provider, Run, Stop, Turn, TurnEnd},
    roots::{OTHER_ROOT, Roots},
    text::Decoder,
};

/// Bytes of one read: a full pipe, which keeps the number of transactions low.
const CHUNK: usize = 64 * 1024;
/// Time from the request to end (SIGTERM) to the kill.
const TERM_TO_KILL: Duration = Duration::from_secs(2);
/// Time from the kill until remaining processes are given up.
const KILL_TO_END: Duration = Duration::from_secs(1);
/// Silence after the program's end that ends reading, while background processes hold the pipes.
const LINGER: Duration = Duration::from_secs(1);
/// Time after the program's end until output of background processes is cut.
const LINGER_IN_ALL: Duration = Duration::from_secs(10);
/// Number of reads after the program's end that are certain to have emptied both pipes of its
/// output.
const LAST_READS: u32 = 4;
/// Time to read what is left in the pipes once all processes of a stopped turn are gone.
const REMAINDER: Duration = Duration::from_millis(200);

/// The timeline's text where output of background processes is cut.
const CUT: &str =
    "A background process of this turn goes on printing; its output from here on is not kept.";

/// A configured command.
pub(super) struct CommandProvider {
    /// Program, arguments, and how the program gets the prompt.
    pub(super) template: Template,
    /// Folders that its agents may be started in.
    pub(super) roots: Roots,
    /// Starts its programs.
    pub(super) starter: Starter,
}

impl Provider for CommandProvider {
    fn run(&self, turn: Turn, run: Run) -> Pin<Box<dyn Future<Output = TurnEnd> + Send>> {
        let (template, starter) = (self.template.clone(), self.starter.clone());
        let roots = self.roots.clone();
        Box::pin(async move { serve(&template, roots, &starter, turn, run).await })
    }

    fn check(&self, prompt: &str) -> Result<(), RpcError> {
        let verdict = self.template.check(prompt);
        verdict.map_err(|why| RpcError::invalid_params(format!("the prompt {why}")))
    }

    fn check_folder(&self, folder: &Path) -> Result<(), RpcError> {
        let verdict = self.roots.check(folder);
        verdict.map_err(|outside| {
            RpcError::new(
                RpcReason::Forbidden,
                format!("the folder {outside}; {OTHER_ROOT}"),
            )
        })
    }
}

async fn serve(
    template: &Template,
    roots: Roots,
    starter: &Starter,
    turn: Turn,
    mut run: Run,
) -> TurnEnd {
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
        roots,
        input,
        turn: turn.name.clone(),
        agent: turn.agent.as_str().to_owned(),
    };
    // A folder that does not respond blocks only its own agent (C13).
    let permit = run.permit.clone();
    let hangs = || permit.suspend();
    let started = tokio::select! {
        started = starter.start(spec, &hangs) => Ok(started),
        stop = run.stopped() => Err(stop),
    };
    match started {
        Ok(Ok(process)) => {
            permit.resume();
            Running::new(process, run, turn.name).finish().await
        }
        Ok(Err(why)) => {
            // A start that is still blocked would run the program once it is released.
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

/// The events of a running process.
enum RunEvent {
    Out(OutputStream, io::Result<usize>),
    Process(ProcessEvent),
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

    /// Reads once; pending for ever once the pipe has ended. Cancel-safe.
    async fn read(&mut self) -> io::Result<usize> {
        match &mut self.reader {
            Some(reader) => reader.read(&mut self.buffer).await,
            None => std::future::pending().await,
        }
    }

    /// The text of a read; an end or an error closes the pipe.
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

/// Reads from either pipe, preferring the one that was not read last, so that neither starves the
/// other. Cancel-safe.
async fn read<A, B>(stdout: &mut Pipe<A>, stderr: &mut Pipe<B>, last: OutputStream) -> RunEvent
where
    A: AsyncRead + Unpin,
    B: AsyncRead + Unpin,
{
    match last {
        OutputStream::Stderr => tokio::select! {
            biased;
            outcome = stdout.read() => RunEvent::Out(OutputStream::Stdout, outcome),
            outcome = stderr.read() => RunEvent::Out(OutputStream::Stderr, outcome),
        },
        OutputStream::Stdout => tokio::select! {
            biased;
            outcome = stderr.read() => RunEvent::Out(OutputStream::Stderr, outcome),
            outcome = stdout.read() => RunEvent::Out(OutputStream::Stdout, outcome),
        },
    }
}

/// A running process and its state.
struct Running {
    process: Process,
    run: Run,
    /// The turn's name, which marks its leftover processes.
    name: String,
    exit: Option<Exit>,
    /// No process of the turn is left, or its state can no longer be observed.
    gone: bool,
    /// When the program's end was seen, and the number of reads since.
    over: Option<(Instant, u32)>,
    stop: Option<Stop>,
    killed: bool,
    /// When the next step is due; the step depends on the fields above.
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
            // A flood of output must not delay the end of a stopped turn.
            let overdue =
                self.stop.is_some() && self.deadline.is_some_and(|at| at <= Instant::now());
            let event = tokio::select! {
                biased;
                () = std::future::ready(()), if overdue => RunEvent::Deadline,
                stop = self.run.stopped(), if self.stop.is_none() => RunEvent::Stop(stop),
                event = self.process.next_event(), if !self.gone => RunEvent::Process(event),
                event = read(&mut stdout, &mut stderr, last) => event,
                // Last: readable output means that there is no silence.
                () = until(self.deadline) => RunEvent::Deadline,
            };
            match event {
                RunEvent::Out(stream, outcome) => {
                    last = stream;
                    let text = match stream {
                        OutputStream::Stdout => stdout.take(outcome),
                        OutputStream::Stderr => stderr.take(outcome),
                    };
                    self.write(stream, &text).await;
                    self.was_read();
                }
                RunEvent::Process(event) => self.process_event(event),
                RunEvent::Stop(stop) => self.end(stop),
                RunEvent::Deadline if self.stop.is_some() && !self.killed => {
                    self.process.kill();
                    self.killed = true;
                    self.deadline = Some(Instant::now() + KILL_TO_END);
                }
                RunEvent::Deadline => break,
            }
        }
        // An incomplete character at the very end.
        let rest = (stdout.decoder.finish(), stderr.decoder.finish());
        self.write(OutputStream::Stdout, &rest.0).await;
        self.write(OutputStream::Stderr, &rest.1).await;
        self.result().await
    }

    /// Whether no further output will be kept.
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

    fn process_event(&mut self, event: ProcessEvent) {
        match event {
            ProcessEvent::Exited(exit) => self.exit = Some(exit),
            ProcessEvent::Gone => self.gone = true,
        }
        let now = Instant::now();
        self.over.get_or_insert((now, 0));
        match self.stop {
            // No process is left to write: only the content of the pipes remains.
            Some(_) if self.process.is_surely_gone() => {
                self.killed = true;
                self.deadline = Some(now + REMAINDER);
            }
            Some(_) => {}
            None => self.deadline = Some(now + LINGER),
        }
    }

    /// Restarts the silence timeout after the store has taken the output, however long that took
    /// (C14).
    fn was_read(&mut self) {
        if let Some((_, reads)) = &mut self.over {
            *reads = reads.saturating_add(1);
            if self.stop.is_none() {
                self.deadline = Some(Instant::now() + LINGER);
            }
        }
    }

    /// Stores output. If the turn has to end first, further output is read and dropped.
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
            // Ends its processes before the search, which then finds only processes outside it.
            drop(self.process);
            if !sure {
                let daemons = self.stop.map_or(Daemons::End, spared);
                leftovers::end(vec![self.name], daemons).await;
            }
        }
        end
    }
}

/// Whether background daemons that a stopped turn started are ended too.
const fn spared(stop: Stop) -> Daemons {
    match stop {
        Stop::Shutdown => Daemons::Spare,
        Stop::Cancelled => Daemons::End,
    }
}

/// The end of a turn, from why it was stopped and how its program ended.
fn ended(stop: Option<Stop>, exit: Option<Exit>) -> TurnEnd {
    let end = match (stop, exit) {
        (Some(Stop::Cancelled), _) => TurnEnd::cancelled(),
        (Some(Stop::Shutdown), _) => {
            TurnEnd::interrupted("The daemon was stopped while this turn ran.")
        }
        (None, Some(Exit { code: Some(0), .. })) => TurnEnd::of(TurnStatus::Completed),
        (None, Some(Exit { signal, .. })) => TurnEnd {
            error: signal.map(|signal| format!("The process was ended by signal {signal}.")),
            ..TurnEnd::of(TurnStatus::Failed)
        },
        (None, None) => {
            TurnEnd::broken("The exit of this turn's program is unknown: its launcher was killed.")
        }
    };
    TurnEnd {
        exit_code: exit.and_then(|exit| exit.code),
        ..end
    }
}
