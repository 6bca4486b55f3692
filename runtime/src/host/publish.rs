//! What a host looks like from outside: one snapshot a turn, made of the machines' state alone (INV-14).

use std::sync::Arc;

use bowline_machines::{
    host::State,
    optimistic::{FailedAgent, PendingAgent},
};
use bowline_protocol::Reason;

use super::driver::Driver;
use crate::{
    error::Failure,
    snapshot::{Counters, DirectoryView, ErrorView, HostSnapshot, IntentsView, ProbeView},
};

/// The creations as they were last shown: the same values while nothing changes.
#[derive(Clone, Default)]
pub(super) struct Creations {
    rev: Option<u64>,
    creating: Arc<[Arc<PendingAgent>]>,
    failed: Arc<[Arc<FailedAgent>]>,
}

impl Driver {
    pub(super) fn publish(&mut self) {
        self.settle_creations();
        self.timelines.publish(&mut self.optimistic, &mut self.rev);
        self.publish_screens();
        // A path that carries nothing is not shown as one that does (INV-6).
        let is_online = matches!(self.machine.state(), State::Online { .. });
        let active = self.machine.active().filter(|_| is_online);
        let address = active
            .and_then(|(connection, _, _)| self.address(connection))
            .map(|address| address.address.clone());
        let probes = self
            .machine
            .probes()
            .iter()
            .filter_map(|(connection, result)| {
                let address = self.address(*connection)?;
                Some(ProbeView {
                    path: address.path,
                    address: address.address.clone(),
                    rtt_ms: result.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
                    error: result.error,
                })
            })
            .collect();
        let connection = active.map(|(connection, ..)| connection);
        let measured = self.machine.probes().iter();
        let mut measured = measured.filter(|(of, _)| Some(**of) == connection);
        let rtt_ms = measured
            .find_map(|(_, result)| result.rtt)
            .map(|rtt| rtt.as_secs_f64() * 1_000.0);
        let last_error = self
            .machine
            .last_error()
            .map(|reason| self.describe(reason));
        if self.creations.rev != Some(self.optimistic.rev()) {
            self.creations = Creations {
                rev: Some(self.optimistic.rev()),
                creating: self.optimistic.creating(),
                failed: self.optimistic.failed_creations(),
            };
        }
        let Creations {
            creating, failed, ..
        } = self.creations.clone();
        let counters = Counters {
            last_seq: self.session.last_seq(),
            switches_failed: self.machine.switches_failed(),
            stale_dropped: self.counters.stale_dropped
                + self.machine.stale_dropped()
                + u64::from(self.directory.stale())
                + self.timelines.stale(),
            ..self.counters
        };
        let directory = DirectoryView {
            state: self.directory.state().name(),
            agents: self.directory.snapshot().agents,
            creating,
            failed,
            error: self.directory.error(),
            truncated: self.directory.is_truncated(),
            left_out: self.directory.left_out(),
        };
        let host = HostSnapshot {
            rev: 0,
            server_id: self.record.server_id.clone(),
            name: self.record.name.clone(),
            state: self.machine.state().name(),
            path: active.map(|(_, path, _)| path),
            address,
            generation: self.machine.generation().get(),
            last_error,
            storage: self.outbox.trouble(),
            probes,
            rtt_ms,
            directory,
            intents: IntentsView {
                pending: self.queue.len(),
                recent: self.recent.clone(),
            },
        };
        self.context.hub.publish(self.publisher, host, counters);
    }

    /// The machine's reason, with the words of the failure that it came from where those are known.
    pub(super) fn describe(&self, reason: Reason) -> ErrorView {
        let words = self
            .last_failure
            .as_ref()
            .filter(|failure| failure.reason == reason);
        words
            .cloned()
            .unwrap_or_else(|| Failure::from(reason))
            .into()
    }
}
