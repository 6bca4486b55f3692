//! Console and system events of Windows. A closed window leaves the process about five seconds.

use std::io;

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

use super::{Hangup, Signal, Stop};

const fn stop(name: &'static str, code: u8, insists: bool) -> Signal {
    Signal::Stop(Stop {
        name,
        code,
        insists,
    })
}

/// The streams of events.
pub(super) struct Source {
    interrupt: CtrlC,
    stop: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Source {
    pub(super) fn arm(_: Hangup) -> io::Result<Self> {
        Ok(Self {
            interrupt: ctrl_c()?,
            stop: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => stop("Ctrl-C", 130, true),
            _ = self.stop.recv() => stop("Ctrl-Break", 143, true),
            _ = self.close.recv() => stop("the window's end", 129, false),
            _ = self.shutdown.recv() => stop("the system's end", 143, false),
        }
    }
}
