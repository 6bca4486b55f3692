//! The terminal as `watch` uses it: its size, and keys that need no Enter.
//!
//! The terminal's settings are changed as little as possible (no echo, no waiting for Enter; Ctrl-C and Ctrl-Z stay what
//! they are) and are given back when a [`Terminal`] is dropped: at the end of the command, at Ctrl-C, when it panics, and
//! while it is suspended. Only SIGKILL leaves them as they are; `stty sane` helps then.

use std::io;

#[cfg(unix)]
pub(crate) use self::unix::Terminal;

/// Columns and rows where the terminal does not say.
const USUAL: (usize, usize) = (80, 24);

/// What the user did with the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(unix),
    allow(
        dead_code,
        reason = "no keys are read there, and no change of size is told"
    )
)]
pub(crate) enum Event {
    /// They want to leave.
    Leave,
    /// It has another size, or shows something else: all of it has to be painted anew.
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

/// Whether what one read of a terminal brought means that the user wants to leave: `q`, Esc alone, or Ctrl-D. Keys
/// such as arrows come as Esc with more behind it.
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

/// Without keys of its own: Ctrl-C ends the command.
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

    /// How long the reader of keys sleeps before it looks whether it is still wanted, and still in the foreground.
    const GLANCE: Duration = Duration::from_millis(250);

    /// The terminal while `watch` has it.
    pub(crate) struct Terminal {
        keys: mpsc::Receiver<Event>,
        /// What to give back; `None` while nothing is changed.
        before: Option<Termios>,
        is_wanted: Arc<AtomicBool>,
        resized: Option<Signals>,
        suspended: Option<Signals>,
        continued: Option<Signals>,
    }

    impl Terminal {
        /// Takes the terminal behind stdin. If there is none, there are no keys.
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
                // Without that thread there are no keys, and everything else is the same.
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

        /// The next thing the user does with the terminal. Cancel-safe.
        pub(crate) async fn event(&mut self) -> Event {
            loop {
                tokio::select! {
                    Some(event) = self.keys.recv() => return event,
                    () = next(&mut self.resized) => return Event::Redraw,
                    () = next(&mut self.suspended) => {
                        self.give_back();
                        let _ = kill_process(getpid(), Signal::STOP);
                    }
                    () = next(&mut self.continued) => {
                        self.take();
                        return Event::Redraw;
                    }
                }
            }
        }

        /// No echo, and keys at once. Only in the foreground: changing the settings from the background stops a process.
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

        fn give_back(&mut self) {
            if let Some(before) = self.before.take() {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
            }
        }
    }

    impl Drop for Terminal {
        fn drop(&mut self) {
            self.is_wanted.store(false, Ordering::Relaxed);
            self.give_back();
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

    /// Reads keys until nobody wants them. Never in the background, where reading stops a process.
    fn read(send: &mpsc::Sender<Event>, is_wanted: &AtomicBool) {
        let stdin = io::stdin();
        let glance = Timespec {
            tv_sec: 0,
            tv_nsec: GLANCE.subsec_nanos().into(),
        };
        let mut buffer = [0; 64];
        while is_wanted.load(Ordering::Relaxed) {
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&glance)) {
                Ok(0) => continue,
                Ok(_) if is_foreground(&stdin) => {}
                Ok(_) | Err(_) => {
                    thread::sleep(GLANCE);
                    continue;
                }
            }
            if !is_wanted.load(Ordering::Relaxed) {
                return;
            }
            match rustix::io::read(&stdin, &mut buffer) {
                Ok(count) => {
                    let keys = buffer.get(..count).unwrap_or_default();
                    // Nothing: the terminal is gone.
                    if keys.is_empty() || means_leave(keys) {
                        let _ = send.try_send(Event::Leave);
                        return;
                    }
                }
                Err(_) => thread::sleep(GLANCE),
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
