//! Output of diagnostics: a bounded queue and a thread that writes it. Logging never waits for the
//! reader; lines that cannot be written are dropped and counted.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Pause before the next attempt to write to a full file (`O_NONBLOCK`, as another program may
/// leave it).
const AGAIN: Duration = Duration::from_millis(20);

/// The queue of one file. Clones share it.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Shared>);

struct Shared {
    name: &'static str,
    most: usize,
    state: Mutex<State>,
    /// The queue is not empty.
    some: Condvar,
    /// The queue is empty.
    none: Condvar,
    /// Opens the file, in the writing thread.
    open: Box<dyn Fn() -> Box<dyn Write> + Send + Sync>,
    /// Formats the line that reports the number of lost lines. It goes through the same queue.
    notice: fn(u64),
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    started: bool,
    /// A line is being written.
    busy: bool,
    lost: u64,
    /// Lost lines already reported in the log.
    told: u64,
}

impl Sink {
    /// A sink with a buffer of `most` bytes; a line over them is dropped and counted. The thread
    /// starts with the first line.
    pub(crate) fn new(
        name: &'static str,
        most: usize,
        open: impl Fn() -> Box<dyn Write> + Send + Sync + 'static,
        notice: fn(u64),
    ) -> Self {
        Self(Arc::new(Shared {
            name,
            most,
            state: Mutex::default(),
            some: Condvar::new(),
            none: Condvar::new(),
            open: Box::new(open),
            notice,
        }))
    }

    /// Queues one line with its line end. Never waits for the file.
    pub(crate) fn push(&self, line: Vec<u8>) {
        let mut state = self.0.lock();
        let bytes = state.bytes.saturating_add(line.len());
        if bytes > self.0.most || !self.started(&mut state) {
            state.lost += 1;
            return;
        }
        state.bytes = bytes;
        state.lines.push_back(line);
        drop(state);
        self.0.some.notify_one();
    }

    /// Waits up to the timeout until all queued lines are written. Returns whether they are.
    pub(crate) fn flush(&self, bound: Duration) -> bool {
        let deadline = Instant::now() + bound;
        let mut state = self.0.lock();
        while state.busy || !state.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.0.none.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lines dropped so far.
    pub(crate) fn lost(&self) -> u64 {
        self.0.lock().lost
    }

    /// Starts the thread. If the system has none available, the next line tries again.
    fn started(&self, state: &mut State) -> bool {
        if !state.started {
            let shared = Arc::clone(&self.0);
            let thread = thread::Builder::new().name(self.0.name.to_owned());
            state.started = thread.spawn(move || shared.run()).is_ok();
        }
        state.started
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut file = (self.open)();
        let mut torn = false;
        loop {
            let line = self.next();
            let written = write(&mut file, &line, &mut torn);
            let mut state = self.lock();
            state.busy = false;
            state.bytes -= line.len();
            let mut untold = None;
            if written.is_err() {
                state.lost += 1;
            } else if state.lines.is_empty() && state.told < state.lost {
                state.told = state.lost;
                untold = Some(state.lost);
            }
            drop(state);
            if let Some(lost) = untold {
                (self.notice)(lost);
            }
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.busy = true;
                return line;
            }
            self.none.notify_all();
            state = self
                .some
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Writes a whole line. `torn` means that the previous line was cut off, so this one starts with a
/// line end.
fn write(file: &mut impl Write, line: &[u8], torn: &mut bool) -> io::Result<()> {
    if *torn {
        write_some(file, b"\n")?;
        *torn = false;
    }
    let mut rest = line;
    while !rest.is_empty() {
        let count = write_some(file, rest)?;
        rest = rest.get(count..).unwrap_or_default();
        *torn = !rest.is_empty();
    }
    file.flush()
}

/// Writes at least one byte, also to a file that is full for the moment.
pub(crate) fn write_some(file: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => pause(),
            outcome => return outcome,
        }
    }
}

/// Waits for a file that is full for the moment.
pub(crate) fn pause() {
    thread::sleep(AGAIN);
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    };

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    /// A file that accepts as many bytes as the test allows.
    struct Slow {
        takes: mpsc::Receiver<Result<usize, ErrorKind>>,
        got: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.takes.recv() {
                Ok(Ok(count)) => {
                    let count = count.min(bytes.len());
                    self.got.lock().unwrap().extend(&bytes[..count]);
                    Ok(count)
                }
                Ok(Err(kind)) => Err(kind.into()),
                Err(_) => {
                    self.got.lock().unwrap().extend(bytes);
                    Ok(bytes.len())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Takes = mpsc::Sender<Result<usize, ErrorKind>>;

    fn sink(most: usize, notice: fn(u64)) -> (Sink, Takes, Arc<Mutex<Vec<u8>>>) {
        let (send, takes) = mpsc::channel();
        let got = Arc::new(Mutex::new(Vec::new()));
        let takes = Mutex::new(Some(takes));
        let written = Arc::clone(&got);
        let open = move || -> Box<dyn Write> {
            Box::new(Slow {
                takes: takes.lock().unwrap().take().unwrap(),
                got: Arc::clone(&written),
            })
        };
        (Sink::new("test", most, open, notice), send, got)
    }

    #[test]
    fn case_c1_a_reader_that_stands_still_holds_nobody_up_and_what_is_lost_is_counted() {
        static TOLD: AtomicU64 = AtomicU64::new(0);
        let (sink, takes, got) = sink(100, |lost| {
            TOLD.store(lost, Ordering::SeqCst);
        });
        for _ in 0..1_000 {
            sink.push(b"0123456789".to_vec());
        }
        assert_eq!(sink.lost(), 990, "one hundred bytes wait");
        assert!(!sink.flush(Duration::from_millis(10)));
        drop(takes);
        assert!(sink.flush(SOON));
        assert_eq!(got.lock().unwrap().len(), 100);
        let begun = Instant::now();
        while TOLD.load(Ordering::SeqCst) != 990 {
            assert!(begun.elapsed() < SOON);
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn case_c1_a_full_disk_loses_lines_and_a_torn_line_does_not_spoil_the_next() {
        let (sink, takes, got) = sink(1_000, |_| {});
        for take in [
            Ok(2),
            Err(ErrorKind::StorageFull),
            Err(ErrorKind::WouldBlock),
            Ok(1),
            Ok(100),
            Err(ErrorKind::BrokenPipe),
        ] {
            takes.send(take).unwrap();
        }
        drop(takes);
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            sink.push(line.into());
        }
        assert!(sink.flush(SOON));
        let got = String::from_utf8(got.lock().unwrap().clone()).unwrap();
        assert_eq!((got.as_str(), sink.lost()), ("on\ntwo\nfour\n", 2));
    }
}
