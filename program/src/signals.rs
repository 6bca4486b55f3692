//! What the system asks of a program.

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end, by the signal of that name.
    Stop(&'static str),
    /// To read files again (SIGHUP). Only Unix has a signal for it.
    Reload,
}

/// The signals of this process, noted from when they are armed.
#[cfg(unix)]
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    /// Notes signals from now on. Those that ask to read again only with `reload`; without, SIGHUP does what it does by itself.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn arm(reload: bool) -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: reload.then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    /// Waits until the program is asked to end, and says by which signal.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            if let Signal::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Signal {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = hangup => Signal::Reload,
        }
    }
}

/// The signals of this process.
#[cfg(not(unix))]
#[derive(Debug)]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Notes signals from now on.
    ///
    /// # Errors
    /// Never here.
    pub fn arm(_reload: bool) -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Waits until the program is asked to end, and says by which signal.
    pub async fn stop(&mut self) -> &'static str {
        let _ = tokio::signal::ctrl_c().await;
        "ctrl-c"
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Signal {
        Signal::Stop(self.stop().await)
    }
}
