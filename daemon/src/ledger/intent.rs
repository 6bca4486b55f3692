//! Exactly-once intents (BX-1): an outcome is stored in the same transaction as its effect.

use bowline_protocol::{IntentId, RpcReason, error::RpcError};
use ring::digest::{Context, SHA256};
use serde_json::{Value, value::RawValue};

use super::{
    counters::count,
    live::LiveSession,
    tx::Tx,
    types::SessionRef,
    usage::{Fund, Usage, ends_work},
};
use crate::{
    rpc::{Answer, Done, Reply},
    store::{self, fault, intents::IntentRow},
};

/// The identity of an intent, and a digest of its request.
pub(super) struct IntentKey {
    name: [u8; 32],
    digest: [u8; 32],
    /// Bytes of the parameters.
    bytes: usize,
}

/// What was asked for, shortened for the audit log.
pub(super) struct Requested {
    pub(super) method: Box<str>,
    pub(super) params: Box<str>,
}

/// Most bytes of a request's parameters in the audit log.
const MAX_PARAMS: usize = 512;

impl Requested {
    pub(super) fn new(method: &str, params: &str) -> Self {
        let end = params.floor_char_boundary(MAX_PARAMS);
        Self {
            method: method.into(),
            params: params.get(..end).unwrap_or_default().into(),
        }
    }
}

impl IntentKey {
    /// The key of one request. The order of members and white space in `params` do not matter.
    pub(super) fn new(
        session: &SessionRef,
        id: IntentId,
        method: &str,
        params: &str,
    ) -> Result<Self, RpcError> {
        let value: Value = serde_json::from_str(params)
            .map_err(|error| RpcError::invalid_params(error.to_string()))?;
        let mut context = Context::new(&SHA256);
        text(&mut context, method);
        canonical(&mut context, &value);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        let mut name = [0; 32];
        for (to, from) in name
            .iter_mut()
            .zip(session.name.label.iter().chain(id.as_bytes()))
        {
            *to = *from;
        }
        Ok(Self {
            name,
            digest,
            bytes: params.len(),
        })
    }
}

impl Tx<'_> {
    /// Runs `effect` unless its outcome is stored, and says with which event of the session its
    /// effects are told. The outer error undoes the job and is not stored.
    pub(super) fn intent(
        &mut self,
        key: &IntentKey,
        request: &Requested,
        max_intents: u64,
        effect: impl FnOnce(&mut Tx<'_>) -> Answer,
    ) -> Result<Reply, RpcError> {
        if let Some(row) = store::intents::get(self.conn, &key.name).map_err(fault)? {
            return Ok(self.repeat(key, row)?.map(|result| self.done(result)));
        }
        self.check_intents(&request.method, key.bytes)?;
        if self.live.accounts.intents() >= max_intents {
            return Err(RpcError::new(
                RpcReason::Overloaded,
                "the daemon has reached its limit of stored intents; the oldest expire after a day",
            ));
        }
        let room = self.room()?;
        let outcome = self.nested(effect);
        // The events of changed rows are numbered before the number is taken.
        self.tell_changes()?;
        let (ok, text) = match &outcome {
            Ok(result) => (true, result.get().to_owned()),
            Err(error) if !error.is_final() => return Err(error.clone()),
            Err(error) => (
                false,
                serde_json::to_string(error)
                    .map_err(|error| RpcError::internal(error.to_string()))?,
            ),
        };
        self.audit_intent(request, outcome.as_ref().err())?;
        let row = IntentRow {
            digest: key.digest,
            ok,
            outcome: text,
        };
        let (owner, bytes) = (self.owner(), key.bytes + row.outcome.len());
        let cost = (owner.0, i64::try_from(bytes).unwrap_or(i64::MAX));
        store::intents::insert(self.conn, &key.name, &row, cost, self.lived).map_err(fault)?;
        self.charge(owner, Fund::Shared, Usage::intent(bytes));
        if !ends_work(&request.method) {
            self.check_room(room)?;
        }
        count(&self.counters.intents_run);
        Ok(outcome.map(|result| self.done(result)))
    }

    /// The result of the running intent. What a stored outcome did was told in events of the past,
    /// so the session's last one is never too early.
    fn done(&self, result: Box<RawValue>) -> Done {
        let session = self.caller.session.as_ref();
        let live = session.and_then(|session| self.live.sessions.get(&session.id));
        let seq = live.map(LiveSession::last_seq);
        Done {
            result: result.into(),
            seq,
            bytes: None,
        }
    }

    fn repeat(&self, key: &IntentKey, row: IntentRow) -> Result<Answer, RpcError> {
        if row.digest != key.digest {
            count(&self.counters.intent_conflicts);
            return Err(RpcError::new(
                RpcReason::IntentConflict,
                "this intentId was used before with other parameters; every new request needs a new id",
            ));
        }
        count(&self.counters.intents_repeated);
        let damaged = |error: serde_json::Error| {
            RpcError::internal(format!("a stored outcome cannot be parsed: {error}"))
        };
        Ok(if row.ok {
            Ok(RawValue::from_string(row.outcome).map_err(damaged)?)
        } else {
            Err(serde_json::from_str(&row.outcome).map_err(damaged)?)
        })
    }
}

/// Hashes a value in one canonical form: each part with its tag and length.
fn canonical(context: &mut Context, value: &Value) {
    match value {
        Value::Null => context.update(b"n"),
        Value::Bool(true) => context.update(b"t"),
        Value::Bool(false) => context.update(b"f"),
        Value::Number(number) => {
            context.update(b"#");
            text(context, &number.to_string());
        }
        Value::String(string) => {
            context.update(b"s");
            text(context, string);
        }
        Value::Array(items) => {
            context.update(b"[");
            context.update(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| canonical(context, item));
        }
        Value::Object(members) => {
            context.update(b"{");
            context.update(&(members.len() as u64).to_le_bytes());
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in members {
                text(context, name);
                canonical(context, value);
            }
        }
    }
}

fn text(context: &mut Context, text: &str) {
    context.update(&(text.len() as u64).to_le_bytes());
    context.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{super::owner::Account, *};

    fn digest(method: &str, params: &str) -> [u8; 32] {
        let id = IntentId::from_uuid(uuid::Uuid::nil());
        let session = SessionRef::new(1, "local", Account::local());
        IntentKey::new(&session, id, method, params).unwrap().digest
    }

    #[test]
    fn bx_1_the_same_parameters_are_recognised_however_they_are_written() {
        assert_eq!(
            digest("m", r#"{"a":1,"b":{"c":[true,null],"d":"x"}}"#),
            digest(
                "m",
                "{ \"b\": {\"d\":\"\\u0078\", \"c\":[true, null]},\n\"a\": 1 }"
            ),
        );
    }

    #[test]
    fn bx_1_anything_else_is_another_request() {
        let base = digest("m", r#"{"a":["b"]}"#);
        for (method, params) in [
            ("n", r#"{"a":["b"]}"#),
            ("m", r#"{"a":["b",null]}"#),
            ("m", r#"{"a":"b"}"#),
            ("m", r#"{"ab":[""]}"#),
            ("m", r#"{"a":["B"]}"#),
            ("m", r#"{}"#),
        ] {
            assert_ne!(base, digest(method, params), "{method} {params}");
        }
    }
}
