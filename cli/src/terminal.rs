//! The terminal of `watch`: its size, and keys without Enter.
//!
//! Terminal settings are changed as little as possible (no echo, no waiting for Enter; Ctrl-C and
//! Ctrl-Z keep working) and restored when a [`Terminal`] is dropped: at the end of the command, at
//! Ctrl-C, on a panic, and while suspended. Only SIGKILL prevents that; `stty sane` then restores
//! them.

use std::io;

#[cfg(unix)]
pub(crate) use self::unix::Terminal;

/// Columns and rows if the terminal does not report them.
const USUAL: (usize, usize) = (80, 24);

/// A user action on the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(unix),
    allow(dead_code, reason = "keys and size changes are not read there")
)]
pub(crate) enum Event {
    /// The user quits.
    Leave,
    /// The size changed or the content is stale: repaint everything.
    Redraw,
}

/// Columns and rows of the terminal behind stdout.
fn size() -> (usize, usize) {
    match terminal_size::terminal_size_of(io::stdout()) {
        Some((width, height)) if width.0 > 0 && height.0 > 0 => {
            (usize::from(width.0), usize::from(height.0))
        }
        _ => USUAL,
    }
}

/// Whether the bytes of one read quit: `q`, Esc alone, or Ctrl-D. Keys such as arrows are Esc with
/// more bytes.
#[cfg(any(unix, test))]
fn means_leave(keys: &[u8]) -> bool {
    const ESC: u8 = 0x1b;
    const CTRL_D: u8 = 0x04;
    match keys {
        [ESC] => true,
        [ESC, ..] => false,
        keys => keys.iter().any(|key| matches!(key, b'q' | b'Q' | &CTRL_D)),
    }
}

/// Without key input: Ctrl-C ends the command.
#[cfg(not(unix))]
pub(crate) struct Terminal;

#[cfg(not(unix))]
impl Terminal {
    pub(crate) const fn open() -> Self {
        Self
    }

    pub(crate) fn size() -> (usize, usize) {
        size()
    }

    pub(crate) async fn event(&mut self) -> Event {
        std::future::pending().await
    }
}

#[cfg(unix)]
mod unix {
    use std::{
        io::{self, IsTerminal, Stdin},
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
        time::Duration,
    };

    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        process::{Signal, getpgrp, getpid, kill_process},
        termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr},
    };
    use tokio::{
        signal::unix::{Signal as Signals, SignalKind, signal},
        sync::mpsc,
    };

    use super::{Event, means_leave};

    /// Interval at which the key reader checks whether it is still needed and in the foreground.
    const POLL_INTERVAL: Duration = Duration::from_millis(250);

    /// The terminal during `watch`.
    pub(crate) struct Terminal {
        keys: mpsc::Receiver<Event>,
        /// Settings to restore; `None` while unchanged.
        before: Option<Termios>,
        is_wanted: Arc<AtomicBool>,
        resized: Option<Signals>,
        suspended: Option<Signals>,
        continued: Option<Signals>,
    }

    impl Terminal {
        /// Takes the terminal behind stdin. Without one there are no keys.
        pub(crate) fn open() -> Self {
            let (send, keys) = mpsc::channel(1);
            let is_wanted = Arc::new(AtomicBool::new(true));
            let mut terminal = Self {
                keys,
                before: None,
                is_wanted: Arc::clone(&is_wanted),
                resized: signal(SignalKind::window_change()).ok(),
                suspended: None,
                continued: None,
            };
            if io::stdin().is_terminal() {
                let of = |wanted: Signal| signal(SignalKind::from_raw(wanted.as_raw())).ok();
                terminal.suspended = of(Signal::TSTP);
                terminal.continued = of(Signal::CONT);
                terminal.take();
                // Without this thread there are no keys; everything else works.
                let _ = thread::Builder::new()
                    .name("keys".to_owned())
                    .spawn(move || read(&send, &is_wanted));
            }
            terminal
        }

        /// Columns and rows.
        pub(crate) fn size() -> (usize, usize) {
            super::size()
        }

        /// The next user action on the terminal. Cancel-safe.
        pub(crate) async fn event(&mut self) -> Event {
            loop {
                tokio::select! {
                    Some(event) = self.keys.recv() => return event,
                    () = next(&mut self.resized) => return Event::Redraw,
                    () = next(&mut self.suspended) => {
                        self.trim();
                        let _ = kill_process(getpid(), Signal::STOP);
                    }
                    () = next(&mut self.continued) => {
                        self.take();
                        return Event::Redraw;
                    }
                }
            }
        }

        /// Disables echo and line buffering. Only in the foreground: changing the settings from the
        /// background stops a process.
        fn take(&mut self) {
            let stdin = io::stdin();
            if self.before.is_some() || !is_foreground(&stdin) {
                return;
            }
            let Ok(before) = tcgetattr(&stdin) else {
                return;
            };
            let mut now = before.clone();
            now.local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            if tcsetattr(&stdin, OptionalActions::Now, &now).is_ok() {
                self.before = Some(before);
            }
        }

        fn trim(&mut self) {
            if let Some(before) = self.before.take() {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
            }
        }
    }

    impl Drop for Terminal {
        fn drop(&mut self) {
            self.is_wanted.store(false, Ordering::Relaxed);
            self.trim();
        }
    }

    async fn next(signals: &mut Option<Signals>) {
        match signals {
            Some(signals) => {
                signals.recv().await;
            }
            None => std::future::pending().await,
        }
    }

    fn is_foreground(stdin: &Stdin) -> bool {
        tcgetpgrp(stdin).is_ok_and(|group| group == getpgrp())
    }

    /// Reads keys until no longer wanted. Never in the background, where reading stops a process.
    fn read(send: &mpsc::Sender<Event>, is_wanted: &AtomicBool) {
        let stdin = io::stdin();
        let wait_briefly = Timespec {
            tv_sec: 0,
            tv_nsec: POLL_INTERVAL.subsec_nanos().into(),
        };
        let mut buffer = [0; 64];
        while is_wanted.load(Ordering::Relaxed) {
            match poll(
                &mut [PollFd::new(&stdin, PollFlags::IN)],
                Some(&wait_briefly),
            ) {
                Ok(0) => continue,
                Ok(_) if is_foreground(&stdin) => {}
                Ok(_) | Err(_) => {
                    thread::sleep(POLL_INTERVAL);
                    continue;
                }
            }
            if !is_wanted.load(Ordering::Relaxed) {
                return;
            }
            match rustix::io::read(&stdin, &mut buffer) {
                Ok(count) => {
                    let keys = buffer.get(..count).unwrap_or_default();
                    // No bytes: the terminal has closed.
                    if keys.is_empty() || means_leave(keys) {
                        let _ = send.try_send(Event::Leave);
                        return;
                    }
                }
                Err(_) => thread::sleep(POLL_INTERVAL),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_esc_and_ctrl_d_leave_and_other_keys_do_not() {
        for keys in [&b"q"[..], b"Q", b"\x1b", b"\x04", b"xq"] {
            assert!(means_leave(keys), "{keys:?}");
        }
        for keys in [&b"x"[..], b"\x1b[A", b"\x1bOq", b"\r"] {
            assert!(!means_leave(keys), "{keys:?}");
        }
    }
}
