//! A host with a clock, and short names for its inputs and effects.

use std::time::Duration;

use bowline_protocol::Reason;

use crate::{
    Generation, MonotonicTime, Path, Transition,
    client::paths::{ClientStatus, Effect, HostConfig, HostRuntimeManager, Input, PathId, State},
};

pub(super) const DIRECT: PathId = PathId(1);
pub(super) const RELAY: PathId = PathId(2);
pub(super) const LOCAL: PathId = PathId(3);
pub(super) const DIRECT_B: PathId = PathId(4);

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) struct Bench {
    pub(super) host: HostRuntimeManager,
    pub(super) now: MonotonicTime,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            host: HostRuntimeManager::new(HostConfig::new(5)),
            now: MonotonicTime::from_millis(5_000_000),
        }
    }

    /// A host started with these paths, of the kinds in the constants' names.
    pub(super) fn started(paths: &[PathId]) -> Self {
        let mut bench = Self::new();
        let connections = list(paths);
        bench.feed(Input::Start { connections });
        bench
    }

    /// A host online over the first of these paths, with no cycle running.
    pub(super) fn online(paths: &[PathId]) -> Self {
        let mut bench = Self::started(paths);
        let first = paths[0];
        if paths.len() > 1 {
            for path in paths {
                match *path == first {
                    true => bench.prove(*path, 10),
                    false => bench.disprove(*path, Reason::Unreachable),
                };
            }
        }
        bench.client(ClientStatus::Connected);
        assert_eq!(bench.state(), "online");
        assert_eq!(bench.host.active().unwrap().0, first);
        bench
    }

    /// A host online over the relay, with a candidate on the direct path.
    pub(super) fn switching() -> Self {
        let mut bench = Self::online(&[RELAY, DIRECT]);
        bench.feed(Input::UserSelect(Some(DIRECT)));
        bench.feed(Input::UserSelect(None));
        assert!(bench.host.candidate().is_some());
        bench
    }

    pub(super) fn feed(&mut self, input: Input) -> Vec<String> {
        self.host.handle(self.now, input);
        self.effects()
    }

    /// Feeds a status of the active client.
    pub(super) fn client(&mut self, state: ClientStatus) -> Vec<String> {
        let (_, generation) = self.host.state().active().unwrap();
        self.feed(Input::ClientState { generation, state })
    }

    /// Feeds a status of the candidate.
    pub(super) fn candidate(&mut self, state: ClientStatus) -> Vec<String> {
        let generation = self.host.candidate().unwrap().generation;
        self.feed(Input::ClientState { generation, state })
    }

    /// Feeds a successful probe of the running cycle.
    pub(super) fn prove(&mut self, connection: PathId, rtt: u64) -> Vec<String> {
        self.outcome(connection, Ok(ms(rtt)))
    }

    pub(super) fn disprove(&mut self, connection: PathId, reason: Reason) -> Vec<String> {
        self.outcome(connection, Err(reason))
    }

    fn outcome(&mut self, connection: PathId, outcome: Result<Duration, Reason>) -> Vec<String> {
        let cycle = self.host.probes.last();
        self.feed(Input::ProbeFinished {
            cycle,
            connection,
            outcome,
            retry_after: None,
        })
    }

    /// Waits for a whole cycle while online and answers it. `None` is a lost probe.
    pub(super) fn cycle(&mut self, outcomes: &[(PathId, Option<u64>)]) -> Vec<String> {
        while self.host.probes.running().is_none() {
            self.wait();
        }
        let mut effects = Vec::new();
        for (connection, rtt) in outcomes {
            effects = match rtt {
                Some(rtt) => self.prove(*connection, *rtt),
                None => self.disprove(*connection, Reason::Unreachable),
            };
        }
        assert!(self.host.probes.running().is_none(), "the cycle is over");
        effects
    }

    pub(super) fn advance(&mut self, duration: Duration) -> Vec<String> {
        self.now = self.now + duration;
        self.host.handle_timeout(self.now);
        self.effects()
    }

    /// Advances to the host's next timeout.
    pub(super) fn wait(&mut self) -> Vec<String> {
        self.now = self.host.poll_timeout().unwrap().max(self.now);
        self.advance(Duration::ZERO)
    }

    pub(super) fn transitions(&mut self) -> Vec<Transition> {
        std::iter::from_fn(|| self.host.poll_transition()).collect()
    }

    pub(super) fn state(&self) -> &'static str {
        self.host.state().name()
    }

    pub(super) fn candidate_path(&self) -> Option<PathId> {
        self.host.candidate().map(|candidate| candidate.connection)
    }

    pub(super) fn active_path(&self) -> Option<PathId> {
        self.host.active().map(|(connection, _, _)| connection)
    }

    /// The pause before the next round of selection, if one is scheduled.
    pub(super) fn pause(&self) -> Option<Duration> {
        match *self.host.state() {
            State::SelectingActiveConnection { retry_at, .. } => {
                retry_at.map(|at| at.since(self.now))
            }
            _ => None,
        }
    }

    fn effects(&mut self) -> Vec<String> {
        let effects = std::iter::from_fn(|| self.host.poll_effect());
        effects.map(|effect| short(&effect)).collect()
    }
}

pub(super) fn lost(reason: Reason) -> ClientStatus {
    ClientStatus::Disconnected {
        reason,
        retry_after: None,
    }
}

/// The same with the peer's retry-after in milliseconds.
pub(super) fn lost_until(reason: Reason, millis: u64) -> ClientStatus {
    ClientStatus::Disconnected {
        reason,
        retry_after: Some(ms(millis)),
    }
}

/// A path list; each label's kind is that of its constant's name.
pub(super) fn list(paths: &[PathId]) -> Vec<(PathId, Path)> {
    let kind = |connection| match connection {
        RELAY => Path::Relay,
        LOCAL => Path::Local,
        _ => Path::Direct,
    };
    paths.iter().map(|path| (*path, kind(*path))).collect()
}

fn name(connection: PathId) -> &'static str {
    match connection {
        DIRECT => "direct",
        RELAY => "relay",
        LOCAL => "local",
        DIRECT_B => "direct_b",
        _ => "other",
    }
}

fn short(effect: &Effect) -> String {
    let drained = |drain: Duration| match drain.is_zero() {
        true => "now".to_owned(),
        false => format!("{}s", drain.as_secs()),
    };
    match *effect {
        Effect::StartProbe {
            connection, delay, ..
        } => match delay.as_millis() {
            0 => format!("probe({})", name(connection)),
            delay => format!("probe({}+{delay})", name(connection)),
        },
        Effect::CancelProbes { .. } => "cancel".to_owned(),
        Effect::CreateClient {
            generation,
            connection,
            candidate,
        } => {
            let what = if candidate { "candidate" } else { "client" };
            format!("{what}{generation}({})", name(connection))
        }
        Effect::Promote { generation } => format!("promote{generation}"),
        Effect::Attached { generation } => format!("attached{generation}"),
        Effect::Lost { reason } => format!("lost({})", reason.as_str()),
        Effect::DisposeClient {
            generation, drain, ..
        } => {
            format!("dispose{generation}({})", drained(drain))
        }
        Effect::CheckLiveness { generation } => format!("check{generation}"),
        Effect::NetworkChanged { generation } => format!("network{generation}"),
        Effect::TellAlternative {
            generation,
            is_known,
        } => format!("alternative{generation}({is_known})"),
        Effect::Reconnect { generation } => format!("reconnect{generation}"),
        Effect::SetBackground {
            generation,
            background,
        } => format!("background{generation}({background})"),
    }
}

/// A generation that no client has.
pub(super) const NOBODY: Generation = Generation::new(99);
