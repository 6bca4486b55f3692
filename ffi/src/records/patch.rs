//! What an intent is expected to change, and what a row says of one that failed.

use bowline_runtime as runtime;

use super::{intent::IntentFailure, mirror};
use crate::error::{BowlineError, error};

/// What an intent is expected to do to one row of a table, or to add to a log. The row or item
/// shows it at once, `pending`, also after a restart of the app, until the daemon's change or
/// refusal replaces it (LD-3). An intent has at most 64, with 64 KiB in total.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Patch {
    /// The table's name; of `Append`, the log's.
    pub table: String,
    /// The parameters with which it is followed, as JSON.
    pub params_json: String,
    /// The row's key; empty with `Append`.
    pub key: String,
    /// The change.
    pub change: PatchChange,
}

/// The expected change of a row, or of a log.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum PatchChange {
    /// The row has this value, whether or not it was there.
    Upsert {
        /// The value as JSON.
        json: String,
    },
    /// These members of the row's value are replaced or added. Without a row nothing is shown.
    Merge {
        /// A JSON object.
        json: String,
    },
    /// The row is gone.
    Remove,
    /// An item with this value is added at the end of the log that is followed with the same
    /// parameters.
    Append {
        /// The value as JSON.
        json: String,
    },
}

mirror! {
    /// Why an intent that concerned a row failed.
    #[derive(Eq)]
    RowFailure of failure: &runtime::RowFailure {
        /// The intent, for `dismiss`.
        intent_id: String = failure.intent_id.to_string(),
        /// The reason.
        reason: IntentFailure = (&failure.error).into(),
    }
}

impl TryFrom<Patch> for runtime::Patch {
    type Error = BowlineError;

    fn try_from(patch: Patch) -> Result<Self, BowlineError> {
        Ok(Self {
            params: Some(json("parameters", &patch.params_json)?),
            change: match patch.change {
                PatchChange::Upsert { json: value } => {
                    runtime::PatchChange::Upsert(json("value", &value)?)
                }
                PatchChange::Merge { json: fields } => {
                    runtime::PatchChange::Merge(json("members", &fields)?)
                }
                PatchChange::Remove => runtime::PatchChange::Remove,
                PatchChange::Append { json: value } => {
                    runtime::PatchChange::Append(json("value", &value)?)
                }
            },
            table: patch.table,
            key: patch.key,
        })
    }
}

fn json(what: &str, text: &str) -> Result<runtime::protocol::live::Json, BowlineError> {
    serde_json::from_str(text).map_err(|problem| {
        let detail = format!("the {what} of a patch: {problem}");
        error!(InvalidIntent, Report, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(params: &str, change: PatchChange) -> Patch {
        Patch {
            table: "voxel.layers".into(),
            params_json: params.into(),
            key: "walls".into(),
            change,
        }
    }

    #[test]
    fn ld_3_what_is_no_json_is_refused_and_the_rest_is_kept_as_written() {
        let upsert = |json: &str| PatchChange::Upsert { json: json.into() };
        let good = patch(r#"{"project":"castle"}"#, upsert("{ \"n\": 1e2 }"));
        let core = runtime::Patch::try_from(good).unwrap();
        assert_eq!(core.params.unwrap().get(), r#"{"project":"castle"}"#);
        let runtime::PatchChange::Upsert(value) = core.change else {
            panic!("an upsert");
        };
        assert_eq!(value.get(), "{ \"n\": 1e2 }");
        let merge = PatchChange::Merge { json: "{".into() };
        for bad in [
            patch("{", PatchChange::Remove),
            patch("{}", upsert("")),
            patch("{}", merge),
            patch("{}", PatchChange::Append { json: "}".into() }),
        ] {
            let error = runtime::Patch::try_from(bad).unwrap_err();
            assert!(
                matches!(error, BowlineError::InvalidIntent { .. }),
                "{error}"
            );
        }
    }
}
