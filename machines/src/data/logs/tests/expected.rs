//! Items that intents are expected to add (LD-3). The explorer has the histories.

use super::*;
use crate::data::{
    optimistic::IntentFailure,
    patches::{self, Conclusion, Patch, PatchChange, PatchError},
};

/// An intent that is expected to add an item with this text to the castle's log.
fn queued(n: u8, texts: &[&str]) -> patches::Input {
    let LiveTarget { name, params } = target("castle");
    let patches = texts.iter().map(|text| Patch {
        table: name.clone(),
        params: params.clone(),
        key: String::new(),
        change: PatchChange::Append(json(&format!("{{\"text\":\"{text}\"}}"))),
    });
    patches::Input::Queued {
        intent_id: intent(n),
        at: i64::from(n),
        patches: patches.collect(),
    }
}

fn intent(n: u8) -> IntentId {
    IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16]))
}

fn concluded(n: u8, conclusion: Conclusion) -> patches::Input {
    patches::Input::Concluded {
        intent_id: intent(n),
        conclusion,
    }
}

/// `castle`'s item 100, which an intent has added.
fn added(index: u64, by: u8) -> LogAppended {
    LogAppended {
        intent_id: Some(intent(by)),
        ..appended("castle", index..index + 1)
    }
}

impl Host {
    /// The items: `?` after what is expected, `!` after what failed.
    fn said(&mut self, id: OpenId) -> String {
        let view = self.view(id);
        let items = view.items().map(|row| {
            let value: serde_json::Value = serde_json::from_str(row.json().get()).unwrap();
            let text = value["text"].as_str().unwrap().to_owned();
            match row.expected.as_deref() {
                None => text,
                Some(Expected { failure: None, .. }) => format!("{text}?"),
                Some(_) => format!("{text}!"),
            }
        });
        items.collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn ld_3_expected_items_lie_after_all_others_until_the_step_that_brings_theirs() {
    let mut host = Host::attached();
    let (castle, tower) = (host.open("castle"), host.open("tower"));
    assert_eq!(host.view(castle).state, TableState::Loading);
    host.logs.patch(NOW, queued(1, &["one", "two"]));
    host.logs.patch(NOW, queued(2, &["three"]));
    assert_eq!(
        host.said(castle),
        "one? two? three?",
        "before the first page"
    );
    assert_eq!(host.said(tower), "");
    let ids: Vec<_> = host.view(castle).items().map(|row| row.id()).collect();
    assert_eq!(ids[1], format!("{}/1", intent(1)));
    host.answer(castle, page("castle", 4, 97..100, true));
    assert_eq!(host.said(castle), "97 98 99 one? two? three?");
    let view = host.view(castle);
    assert_eq!((view.len(), view.next), (6, 100));
    host.appended(5, appended("castle", 100..101));
    assert_eq!(host.said(castle), "97 98 99 100 one? two? three?");
    let after: Vec<_> = host.view(castle).items().map(|row| row.id()).collect();
    assert_eq!(
        after[4..],
        ids[..],
        "an identity for as long as it is shown"
    );

    // Both items of the first one come in one step, and what others drop says nothing.
    let mut both = added(101, 1);
    both.items.push(item(102));
    both.next = 103;
    let base = host.view(castle);
    host.appended(6, both);
    assert_eq!(host.said(castle), "97 98 99 100 101 102 three?");
    let changes = host.view(castle).diff(Some(&base)).changes;
    assert!(changes.len() <= 2, "{changes:?}");
    let dropped = LogAppended {
        items: Vec::new(),
        ..added(102, 2)
    };
    host.appended(7, dropped);
    assert!(host.said(castle).ends_with("102 three?"));
    // Its item is too large for the event: it stays until that is fetched.
    let large = LogAppended {
        items: Vec::new(),
        stale: true,
        ..added(103, 2)
    };
    host.appended(8, large);
    assert!(host.said(castle).ends_with("102 three?"));
    host.answer(castle, page("castle", 8, 103..104, false));
    assert!(host.said(castle).ends_with("102 103"));
    host.logs
        .patch(NOW, concluded(1, Conclusion::Done { seq: 6 }));
    host.logs
        .patch(NOW, concluded(2, Conclusion::Done { seq: 8 }));
    assert!(host.logs.patches.is_empty());

    // One whose intent adds nothing leaves with the answer.
    host.logs.patch(NOW, queued(3, &["nothing"]));
    host.logs
        .patch(NOW, concluded(3, Conclusion::Done { seq: 9 }));
    assert!(host.said(castle).ends_with("103 nothing?"));
    host.logs.passed(9);
    assert!(host.said(castle).ends_with("102 103"));
}

#[test]
fn ld_3_an_item_that_was_told_before_the_first_page_leaves_with_that() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.logs.patch(NOW, queued(1, &["mine"]));
    host.logs.patch(NOW, queued(2, &["later"]));
    // It is not known yet whose log this is.
    host.appended(5, added(99, 1));
    host.appended(6, added(100, 2));
    assert_eq!(host.said(castle), "mine? later?");
    host.answer(castle, page("castle", 5, 97..100, true));
    assert_eq!(host.said(castle), "97 98 99 100");

    // Refused after all: the answer was lost, and it was done.
    let refused = Conclusion::Failed(IntentFailure::Expired);
    host.logs.patch(NOW, concluded(1, refused));
    assert_eq!(host.said(castle), "97 98 99 100");
    assert!(!host.logs.is_patched_by(intent(1)));
}

#[test]
fn ld_3_a_refused_item_says_why_until_it_is_dismissed() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(castle, page("castle", 4, 97..100, true));
    host.logs.patch(NOW, queued(1, &["one"]));
    host.logs.patch(NOW, queued(2, &["two"]));
    let refused = Conclusion::Failed(IntentFailure::Expired);
    host.logs.patch(NOW, concluded(1, refused));
    assert_eq!(host.said(castle), "97 98 99 one! two?");
    assert!(host.logs.is_patched_by(intent(1)));
    host.logs.attached(NOW, SessionState::Reset);
    assert_eq!(host.said(castle), "97 98 99 one! two?");
    let intent_id = intent(1);
    host.logs
        .patch(NOW, patches::Input::Dismissed { intent_id });
    assert_eq!(host.said(castle), "97 98 99 two?");
    host.logs.patch(NOW, concluded(2, Conclusion::Dropped));
    assert_eq!(host.said(castle), "97 98 99");
}

#[test]
fn ld_3_an_intent_may_change_rows_and_add_items() {
    let patches::Input::Queued { patches, .. } = queued(1, &["one"]) else {
        panic!("it is queued");
    };
    assert_eq!(patches::check(&patches), Ok(()));
    let stored = serde_json::to_string(&patches).unwrap();
    let name = "voxel.edits";
    let params = r#"{"project":"castle"}"#;
    let expected = format!(
        r#"[{{"table":"{name}","params":{params},"change":{{"append":{{"text":"one"}}}}}}]"#
    );
    assert_eq!(stored, expected, "as it is in the outbox");
    assert_eq!(
        serde_json::from_str::<Vec<Patch>>(&stored).unwrap(),
        patches
    );
    let mut keyed = patches.clone();
    keyed[0].key = "k".to_owned();
    let name = name.to_owned();
    assert_eq!(patches::check(&keyed), Err(PatchError::Keyed(name)));
    let row = Patch {
        key: "k".to_owned(),
        change: PatchChange::Remove,
        ..patches[0].clone()
    };
    let both = patches::Input::Queued {
        intent_id: intent(1),
        at: 1,
        patches: [vec![row], patches].concat(),
    };
    let (rows, items) = both.split();
    let of = |input: patches::Input| match input {
        patches::Input::Queued { patches, .. } => patches.len(),
        _ => panic!("it is queued"),
    };
    assert_eq!((of(rows), of(items)), (1, 1));
}
