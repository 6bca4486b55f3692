//! The stage: the programs and the network of the acts, and their common operations on a stream.

use std::{path::PathBuf, time::Instant};

use bowline_protocol::AgentId;
use bowline_runtime::{HostState, machines};

use super::{account::Account, client::Client, follow::Told, report::Report, screen::Screen};
use crate::{
    Proxy,
    world::{DaemonProcess, RelayProcess, WorldError},
};

/// One in this many lines of output is shown.
pub(super) const STRIDE: u32 = 20;

/// Everything on the stage.
pub(super) struct Stage {
    pub(super) screen: Screen,
    /// The proxy in front of the daemon's direct address.
    pub(super) proxy: Proxy,
    pub(super) daemon: Option<DaemonProcess>,
    pub(super) relay: RelayProcess,
    pub(super) folder: PathBuf,
    pub(super) client_dir: PathBuf,
    pub(super) connection: Connection,
    /// One in this many lines of output is shown.
    pub(super) stride: u32,
    pub(super) report: Report,
}

/// The connection state last reported by the client.
#[derive(Debug, Default)]
pub(super) struct Connection {
    state: Option<HostState>,
    path: Option<machines::Path>,
    pub(super) generation: u64,
}

impl Connection {
    pub(super) fn is_on(&self, path: machines::Path) -> bool {
        self.state == Some(HostState::Online) && self.path == Some(path)
    }
}

/// One agent's output from a client, and its account.
pub(super) struct Stream {
    pub(super) client: Client,
    pub(super) account: Account,
}

impl Stage {
    /// Starts a client that creates an agent for a command and follows it.
    pub(super) fn stream(&self, command: &str) -> Result<Stream, WorldError> {
        Ok(Stream {
            client: Client::create(&self.client_dir, command)?,
            account: Account::default(),
        })
    }

    /// The agent created by a stream's client.
    pub(super) async fn agent(&self, stream: &mut Stream) -> Result<AgentId, WorldError> {
        loop {
            if let Told::Agent { id } = stream.client.next().await? {
                return Ok(id);
            }
        }
    }

    /// Reads until this many lines have arrived.
    pub(super) async fn lines(&mut self, stream: &mut Stream, last: u32) -> Result<(), WorldError> {
        while stream.account.last_tick() < last {
            self.advance(stream).await?;
        }
        Ok(())
    }

    /// Reads until the command has ended.
    pub(super) async fn end(&mut self, stream: &mut Stream) -> Result<(), WorldError> {
        while stream.account.turn_end.is_none() {
            self.advance(stream).await?;
        }
        Ok(())
    }

    /// Handles the client's next message.
    pub(super) async fn advance(&mut self, stream: &mut Stream) -> Result<(), WorldError> {
        let Stream { client, account } = stream;
        let shown = account.last_tick() / self.stride;
        let told = client.next().await?;
        if let Told::Host {
            state,
            path,
            generation,
            resumed,
            gaps,
        } = &told
        {
            self.connection = Connection {
                state: Some(*state),
                path: *path,
                generation: *generation,
            };
            let path = path.map_or("no path", machines::Path::as_str);
            self.screen.state(&format!(
                "{} · {path} · generation {generation} · resumed {resumed}×",
                state.as_str()
            ));
            self.report.resumed += u64::from(*resumed > 0 && *state == HostState::Online);
            if *gaps > 0 {
                self.fail(format!("{gaps} events were missing before others"));
            }
        }
        account.note(Instant::now(), told);
        let tick = account.last_tick();
        if tick / self.stride > shown {
            self.screen.output(&format!("… tick {tick}"));
        }
        Ok(())
    }

    /// Compares the account with the number of lines that the command printed.
    pub(super) fn check(&mut self, account: &Account, last: u32) {
        let ticks = account.ticks(last);
        self.report.events_received += account.received;
        self.report.lost += ticks.lost;
        self.report.repeated += ticks.repeated;
        self.report.in_order &= ticks.in_order;
        self.report.longest_gap_ms = self
            .report
            .longest_gap_ms
            .max(account.longest_gap.as_millis());
        if ticks.lost + ticks.repeated > 0 || !ticks.in_order || account.repeated_items > 0 {
            self.fail(format!(
                "of {last} lines: {ticks:?}, {} items twice",
                account.repeated_items
            ));
        } else {
            self.screen.good(&format!(
                "{last} lines: none lost, none repeated, all in order"
            ));
        }
    }

    /// Records a failed expectation.
    pub(super) fn fail(&mut self, failure: impl Into<String>) {
        let failure = failure.into();
        self.screen.harm(&format!("DID NOT HOLD: {failure}"));
        self.report.failures.push(failure);
    }
}

/// The error for acts in the wrong order.
pub(super) fn absent(what: &str) -> WorldError {
    WorldError::Unexpected(format!("no {what} is on the stage"))
}
