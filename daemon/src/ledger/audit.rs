//! The audit log (TR-15): who paired, was refused or revoked, and what each device asked for.

use std::{collections::HashMap, time::Duration};

use bowline_machines::MonotonicTime;
use bowline_protocol::{DeviceId, PublicKey, Reason, error::RpcError};
use serde::Serialize;
use serde_json::json;

use super::{core::Core, intent::Requested, tx::Tx};
use crate::{
    clock::Clock,
    store::{
        self,
        audit::{Class, NewEntry},
        fault,
    },
};

/// Kinds of refused attempts counted until they are written; further ones are counted together.
const MAX_KINDS: usize = 256;
/// Time for which refused attempts are counted before they are written as one row of each kind.
const REFUSED_EVERY: Duration = Duration::from_secs(60);
/// Rows removed at once beyond the bound.
const TRIM_BATCH: u32 = 2_000;

/// Refused attempts, counted so that a flood of them is a few rows.
#[derive(Default)]
pub(super) struct RefusedAttempts {
    counts: HashMap<(Option<DeviceId>, Reason), u64>,
    due: Option<MonotonicTime>,
}

impl RefusedAttempts {
    /// Counts an attempt. A device is named only if it is known here: strangers are counted
    /// together.
    pub(super) fn note(&mut self, device: Option<DeviceId>, reason: Reason, clock: &Clock) {
        let key = if self.counts.len() < MAX_KINDS {
            (device, reason)
        } else {
            (None, reason)
        };
        *self.counts.entry(key).or_default() += 1;
        self.due.get_or_insert(clock.now());
    }

    /// When the counts are written: the first one at once.
    pub(super) const fn due(&self) -> Option<MonotonicTime> {
        self.due
    }
}

impl Core {
    /// Adds a row of what the owner decided, within a transaction.
    pub(super) fn audit(
        &self,
        event: &str,
        device: Option<&DeviceId>,
        detail: &impl Serialize,
    ) -> rusqlite::Result<()> {
        self.audit_as(Class::Security, event, device, detail)
    }

    /// Adds a row, within a transaction.
    pub(super) fn audit_as(
        &self,
        class: Class,
        event: &str,
        device: Option<&DeviceId>,
        detail: &impl Serialize,
    ) -> rusqlite::Result<()> {
        let entry = NewEntry {
            event,
            class,
            device,
            detail: &text(detail),
        };
        store::audit::add(&self.conn, &entry, self.options.clock.unix_millis())
    }

    /// Counts a refused attempt to attach or pair.
    pub(super) fn note_refused(&mut self, device: &PublicKey, reason: Reason) {
        // What passes by itself is no trace of anybody.
        if !reason.retry().is_final() || reason == Reason::DaemonLocked {
            return;
        }
        let is_known = store::devices::standing(&self.conn, device).is_ok_and(|it| it.is_some());
        let known = is_known.then(|| DeviceId::of_public_key(device));
        self.refused.note(known, reason, &self.options.clock);
    }

    /// Writes the counts of refused attempts, and removes rows beyond the bound.
    pub(super) fn write_refused(&mut self) {
        let counts = std::mem::take(&mut self.refused.counts);
        let is_any = !counts.is_empty();
        let written = self.transact(|core| {
            for ((device, reason), times) in &counts {
                let detail = json!({"reason": reason, "times": times});
                core.audit_as(Class::Other, "refused", device.as_ref(), &detail)?;
            }
            Ok(())
        });
        if written.is_err() {
            self.refused.counts = counts;
        }
        let pause = self.options.clock.now() + REFUSED_EVERY;
        // Attempts of the next minute are counted together.
        self.refused.due = is_any.then_some(pause);
    }

    /// Removes the oldest rows beyond the bound. Returns whether more may be left.
    pub(super) fn trim_audit(&mut self) -> bool {
        let removed = self.transact(|core| store::audit::trim(&core.conn, TRIM_BATCH));
        removed.is_ok_and(|removed| removed >= TRIM_BATCH as usize)
    }
}

impl Tx<'_> {
    /// Adds a row that names the requesting device, if there is one. Part of the transaction.
    ///
    /// # Errors
    /// When the store fails.
    pub fn audit(&mut self, event: &str, detail: &impl Serialize) -> Result<(), RpcError> {
        let class = match self.device() {
            Some(_) => Class::Other,
            None => Class::Security,
        };
        self.add_entry(event, class, detail)
    }

    /// Records what a device asked for; the owner's own requests on the local socket are not
    /// recorded.
    pub(super) fn audit_intent(
        &mut self,
        request: &Requested,
        refused: Option<&RpcError>,
    ) -> Result<(), RpcError> {
        #[derive(Serialize)]
        struct Ran<'a> {
            method: &'a str,
            params: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            refused: Option<&'a str>,
        }
        if self.device().is_none() {
            return Ok(());
        }
        let ran = Ran {
            method: &request.method,
            params: &request.params,
            refused: refused.map(|error| error.reason().map_or("error", |reason| reason.as_str())),
        };
        self.add_entry("ran", Class::Request, &ran)
    }

    fn add_entry(
        &mut self,
        event: &str,
        class: Class,
        detail: &impl Serialize,
    ) -> Result<(), RpcError> {
        let device = self.device().map(|key| DeviceId::of_public_key(&key));
        let entry = NewEntry {
            event,
            class,
            device: device.as_ref(),
            detail: &text(detail),
        };
        store::audit::add(self.conn, &entry, self.now).map_err(fault)
    }
}

/// The JSON of a flat structure, which always serialises.
fn text(detail: &impl Serialize) -> String {
    serde_json::to_string(detail).unwrap_or_else(|_| "{}".to_owned())
}
