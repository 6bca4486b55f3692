//! Tables of layers over one row, and of the bounds of an intent's patches. The explorer has the
//! histories (`machines/tests/explore/patches/`).

use bowline_protocol::{IntentId, RpcReason, error::RpcError, live::Json};

use super::*;
use crate::data::{optimistic::IntentFailure, tables::TableRow};

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

fn upsert(value: &str) -> PatchChange {
    PatchChange::Upsert(json(value))
}

fn merge(fields: &str) -> PatchChange {
    PatchChange::Merge(json(fields))
}

fn id(n: u8) -> IntentId {
    IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16]))
}

fn failure(n: u8) -> Arc<RowFailure> {
    let error = IntentFailure::Refused(RpcError::new(RpcReason::Forbidden, "no"));
    let intent_id = id(n);
    Arc::new(RowFailure { intent_id, error })
}

fn row(value: &str) -> TableRow {
    TableRow {
        key: "a".into(),
        value: json(value),
        omitted_bytes: None,
        unreadable: false,
        pending: false,
        failure: None,
    }
}

/// What a row says: its value, `?` if it is pending, `!` and the intent if one failed.
fn said(row: Option<&TableRow>) -> String {
    let Some(row) = row else {
        return "none".into();
    };
    let pending = if row.pending { "?" } else { "" };
    let failed = row.failure.as_ref();
    let failed = failed.map_or(String::new(), |it| {
        format!("!{}", it.intent_id.as_bytes()[0])
    });
    format!("{}{pending}{failed}", row.value.get())
}

/// Changes of a row, with the number of the intent if it failed.
type Patched = Vec<(PatchChange, Option<u8>)>;

#[test]
fn ld_3_patches_lie_over_a_row_in_order_and_a_failed_one_only_says_so() {
    let none: Option<&str> = None;
    let cases: [(Option<&str>, Patched, &str); 19] = [
        (Some("1"), vec![], "1"),
        (none, vec![(upsert("2"), None)], "2?"),
        (
            Some("1"),
            vec![(upsert("2"), None), (upsert("3"), None)],
            "3?",
        ),
        (
            Some(r#"{"b":1e3,"a":"x"}"#),
            vec![(merge(r#"{"a":null}"#), None), (merge(r#"{"c":[]}"#), None)],
            r#"{"b":1e3,"a":null,"c":[]}?"#,
        ),
        (Some("{}"), vec![(merge("{}"), None)], "{}?"),
        // Nothing can be merged into it, so it is as the daemon has it.
        (Some("1"), vec![(merge("{}"), None)], "1"),
        (
            Some("{}"),
            vec![(upsert("1"), None), (merge("{}"), None)],
            "1?",
        ),
        (none, vec![(merge("{}"), None)], "none"),
        (
            none,
            vec![(upsert("{}"), None), (merge(r#"{"a":1}"#), None)],
            r#"{"a":1}?"#,
        ),
        (Some("1"), vec![(PatchChange::Remove, None)], "none"),
        (none, vec![(PatchChange::Remove, None)], "none"),
        (
            Some("1"),
            vec![(PatchChange::Remove, None), (upsert("2"), None)],
            "2?",
        ),
        (
            Some("1"),
            vec![(upsert("2"), None), (PatchChange::Remove, None)],
            "none",
        ),
        // The row is not changed, and says why.
        (Some("1"), vec![(upsert("2"), Some(7))], "1!7"),
        (Some("1"), vec![(PatchChange::Remove, Some(7))], "1!7"),
        (
            Some("1"),
            vec![
                (upsert("2"), Some(7)),
                (upsert("3"), None),
                (merge("{}"), Some(8)),
            ],
            "3?!8",
        ),
        // A row that is nowhere else is shown as it would have been.
        (none, vec![(upsert("2"), Some(7))], "2!7"),
        (none, vec![(merge("{}"), Some(7))], "none"),
        (
            none,
            vec![(upsert("2"), Some(7)), (PatchChange::Remove, None)],
            "none",
        ),
    ];
    for (base, layers, expected) in cases {
        let base = base.map(row);
        let failures: Vec<_> = layers
            .iter()
            .map(|(_, failed)| failed.map(failure))
            .collect();
        let with = layers
            .iter()
            .zip(&failures)
            .map(|((change, _), failure)| Layer {
                change,
                failure: failure.as_ref(),
            });
        let shown = lay("a", base.as_ref(), with);
        assert_eq!(said(shown.as_ref()), expected, "{base:?} {layers:?}");
    }
}

#[test]
fn ld_3_a_value_that_was_too_large_to_be_sent_is_replaced_but_nothing_is_merged_into_it() {
    let mut large = row("null");
    large.omitted_bytes = Some(300_000);
    let lay_one = |change: &PatchChange| {
        let failure = None;
        lay("a", Some(&large), [Layer { change, failure }]).unwrap()
    };
    let merged = lay_one(&merge(r#"{"a":1}"#));
    assert_eq!(
        (merged.omitted_bytes, merged.pending),
        (Some(300_000), false)
    );
    let replaced = lay_one(&upsert("1"));
    assert_eq!(
        (replaced.omitted_bytes, said(Some(&replaced)).as_str()),
        (None, "1?")
    );
}

#[test]
fn ld_3_the_patches_of_an_intent_are_bounded() {
    let patch = |key: &str, change: PatchChange| Patch {
        table: "voxel.layers".into(),
        params: None,
        key: key.into(),
        change,
    };
    let many = |count| vec![patch("a", PatchChange::Remove); count];
    assert_eq!(check(&many(MAX_PATCHES)), Ok(()));
    assert_eq!(check(&many(MAX_PATCHES + 1)), Err(PatchError::TooMany));

    let text = |bytes| format!("\"{}\"", "x".repeat(bytes - 2));
    let rest = "voxel.layers".len() + 1;
    let fits = patch("a", upsert(&text(MAX_PATCH_BYTES - rest)));
    assert_eq!(check(std::slice::from_ref(&fits)), Ok(()));
    let over = [fits, patch("b", PatchChange::Remove)];
    let bytes = MAX_PATCH_BYTES + rest;
    assert_eq!(check(&over), Err(PatchError::TooLarge(bytes)));

    let key = |length| check(&[patch(&"k".repeat(length), PatchChange::Remove)]);
    assert_eq!(key(512), Ok(()));
    for length in [0, 513] {
        assert!(matches!(key(length), Err(PatchError::Key(_))), "{length}");
    }
    for fields in ["1", "[]", "null"] {
        let error = check(&[patch("a", merge(fields))]);
        assert_eq!(error, Err(PatchError::Fields("a".into())), "{fields}");
    }
    let mut unnamed = patch("a", PatchChange::Remove);
    unnamed.table = "layers".into();
    assert_eq!(check(&[unnamed]), Err(PatchError::Table("layers".into())));
    let mut long = patch("a", PatchChange::Remove);
    long.params = Some(json(&text(4_097)));
    assert_eq!(
        check(&[long]),
        Err(PatchError::Params("voxel.layers".into()))
    );
}

#[test]
fn ld_3_patches_are_data_that_reads_back() {
    let patches = vec![
        Patch {
            table: "voxel.layers".into(),
            params: Some(json(r#"{"project":"castle"}"#)),
            key: "castle/walls".into(),
            change: upsert(r#"{"n":1.50}"#),
        },
        Patch {
            table: "voxel.layers".into(),
            params: None,
            key: "b".into(),
            change: merge(r#"{"n":1}"#),
        },
        Patch {
            table: "voxel.layers".into(),
            params: None,
            key: "c".into(),
            change: PatchChange::Remove,
        },
    ];
    let text = r#"[{"table":"voxel.layers","params":{"project":"castle"},"key":"castle/walls","change":{"upsert":{"n":1.50}}},{"table":"voxel.layers","key":"b","change":{"merge":{"n":1}}},{"table":"voxel.layers","key":"c","change":"remove"}]"#;
    assert_eq!(serde_json::to_string(&patches).unwrap(), text);
    assert_eq!(serde_json::from_str::<Vec<Patch>>(text).unwrap(), patches);
}

#[test]
fn ld_3_intents_that_are_done_wait_for_tables_up_to_a_bound() {
    let mut patches = Patches::default();
    let number = |n: usize| IntentId::from_uuid(uuid::Uuid::from_u128(n as u128));
    for n in 0..=MAX_AWAITED {
        let patch = Patch {
            table: "voxel.layers".into(),
            params: None,
            key: "a".into(),
            change: PatchChange::Remove,
        };
        patches.handle(Input::Queued {
            intent_id: number(n),
            at: n as i64,
            patches: vec![patch],
        });
    }
    for n in 0..=MAX_AWAITED {
        assert_eq!(patches.entries.len(), MAX_AWAITED + 1);
        let conclusion = Conclusion::Done { seq: 9 };
        patches.handle(Input::Concluded {
            intent_id: number(n),
            conclusion,
        });
    }
    assert_eq!(patches.entries.len(), MAX_AWAITED);
    assert!(!patches.contains(&(0, number(0))), "the oldest");
}
