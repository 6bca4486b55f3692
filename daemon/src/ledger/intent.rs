//! Exactly-once intents (BX-1): the outcome is remembered in the transaction of its effect.

use bowline_protocol::{
    IntentId, RpcReason,
    error::{RpcError, code},
};
use ring::digest::{Context, SHA256};
use serde_json::{Value, value::RawValue};

use super::{counters::count, tx::Tx, types::SessionRef};
use crate::{
    service::Answer,
    store::{self, fault, intents::IntentRow},
};

/// What identifies an intent, and what it was asked to do.
pub(super) struct IntentKey {
    name: [u8; 32],
    digest: [u8; 32],
}

impl IntentKey {
    /// The key of one request. Order of members and white space of `params` do not matter.
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
        Ok(Self { name, digest })
    }
}

impl Tx<'_> {
    /// Runs `effect` unless its outcome is known. The outer error undoes the job and is not remembered.
    pub(super) fn intent(
        &mut self,
        key: &IntentKey,
        max_intents: u64,
        effect: impl FnOnce(&mut Tx<'_>) -> Answer,
    ) -> Result<Answer, RpcError> {
        if let Some(row) = store::intents::get(self.conn, &key.name).map_err(fault)? {
            return self.repeat(key, row);
        }
        if self.live.intents >= max_intents {
            return Err(RpcError::new(
                RpcReason::Overloaded,
                "the daemon remembers as many intents as it can; the oldest are forgotten after a day",
            ));
        }
        let outcome = self.nested(effect);
        let (ok, text) = match &outcome {
            Ok(result) => (true, result.get().to_owned()),
            Err(error) if !is_final(error) => return Err(error.clone()),
            Err(error) => (
                false,
                serde_json::to_string(error)
                    .map_err(|error| RpcError::internal(error.to_string()))?,
            ),
        };
        let row = IntentRow {
            digest: key.digest,
            ok,
            outcome: text,
        };
        store::intents::insert(self.conn, &key.name, &row, self.lived).map_err(fault)?;
        self.live.add_intent();
        count(&self.counters.intents_run);
        Ok(outcome)
    }

    fn repeat(&self, key: &IntentKey, row: IntentRow) -> Result<Answer, RpcError> {
        if row.digest != key.digest {
            count(&self.counters.intent_conflicts);
            return Err(RpcError::new(
                RpcReason::IntentConflict,
                "this intentId came before with other parameters; every new request needs a new id",
            ));
        }
        count(&self.counters.intents_repeated);
        let damaged = |error: serde_json::Error| {
            RpcError::internal(format!("a stored outcome does not read: {error}"))
        };
        Ok(if row.ok {
            Ok(RawValue::from_string(row.outcome).map_err(damaged)?)
        } else {
            Err(serde_json::from_str(&row.outcome).map_err(damaged)?)
        })
    }
}

/// Whether trying the same again could not end otherwise. Only such an error is an outcome.
fn is_final(error: &RpcError) -> bool {
    match error.reason() {
        Some(
            RpcReason::NotFound
            | RpcReason::Unsupported
            | RpcReason::ProviderFailed
            | RpcReason::Forbidden
            | RpcReason::Cancelled,
        ) => true,
        Some(
            RpcReason::Overloaded
            | RpcReason::IntentConflict
            | RpcReason::ResponseTooLarge
            | RpcReason::Timeout
            | RpcReason::StorageUnavailable,
        ) => false,
        None => error.code == code::INVALID_PARAMS,
    }
}

/// Feeds a value to the hash in one canonical form: each part tagged and with its length.
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
    use super::*;

    fn digest(method: &str, params: &str) -> [u8; 32] {
        let id = IntentId::from_uuid(uuid::Uuid::nil());
        IntentKey::new(&SessionRef::new(1, "local"), id, method, params)
            .unwrap()
            .digest
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

    #[test]
    fn transient_errors_are_not_outcomes() {
        assert!(is_final(&RpcError::new(RpcReason::NotFound, "")));
        assert!(is_final(&RpcError::invalid_params("")));
        assert!(!is_final(&RpcError::new(RpcReason::Overloaded, "")));
        assert!(!is_final(&RpcError::internal("")));
    }
}
