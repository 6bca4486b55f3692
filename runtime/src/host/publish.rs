//! The published view of a host: one snapshot per turn, derived from the machines' state alone
//! (INV-14).

use std::{sync::Arc, time::Duration};

use bowline_protocol::Reason;

use super::driver::Driver;
use crate::{
    error::Failure,
    snapshot::{Counters, DirectoryView, ErrorView, HostSnapshot, IntentsView, ProbeView},
};

impl Driver {
    pub(super) fn publish(&mut self) {
        self.publish_views();
        self.publish_live();
        self.publish_screens();
        let state = self.machine.state().kind();
        let active = self.machine.online();
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
                    rtt_ms: result.rtt.map(millis),
                    error: result.error,
                })
            })
            .collect();
        let measured = active.and_then(|(path, ..)| self.machine.probes().get(&path));
        let rtt_ms = measured.and_then(|result| result.rtt).map(millis);
        let last_error = self
            .machine
            .last_error()
            .map(|reason| self.describe(reason));
        let optimistic = self.replica.optimistic();
        let (creating, failed) = (optimistic.creating(), optimistic.failed_creations());
        let session = self.session.counts();
        let counters = Counters {
            last_seq: self.session.last_seq(),
            resumed: session.resumed,
            reset: session.reset,
            events_applied: session.applied,
            events_repeated: session.repeated,
            event_gaps: session.gaps,
            switches_failed: self.machine.switches_failed(),
            stale_dropped: session.stale
                + u64::from(self.machine.stale())
                + self.replica.stale()
                + self.intents.stale(),
            switches: self.machine.switches(),
        };
        let agents = self.replica.agents();
        let source = self.replica.directory();
        let directory = DirectoryView {
            state: source.state().kind(),
            agents,
            creating,
            failed,
            error: source.error(),
            truncated: source.is_truncated(),
            left_out: source.left_out(),
        };
        let host = HostSnapshot {
            rev: 0,
            server_id: self.record.server_id.clone(),
            name: self.record.name.clone(),
            state,
            path: active.map(|(_, path, _)| path),
            address,
            grant: self.grant.clone(),
            last_paired: self.last_paired.clone(),
            generation: self.machine.generation().get(),
            last_error,
            storage: self.outbox.trouble(),
            probes,
            rtt_ms,
            directory,
            intents: IntentsView {
                pending: self.intents.len(),
                recent: Arc::clone(self.intents.recent()),
            },
        };
        self.context.hub.publish(self.publisher, host, counters);
    }

    /// The machine's reason, with the message of its failure if available.
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

fn millis(rtt: Duration) -> f64 {
    rtt.as_secs_f64() * 1_000.0
}
