//! Contents of outboxes across restarts, pauses, damage and other processes.

use std::time::Duration;

use bowline_machines::data::patches::{Patch, PatchChange};
use serde_json::value::RawValue;

use super::*;
use crate::{receipt::Receipt, storage::FileStorage};

fn storage(folder: &tempfile::TempDir) -> Arc<dyn Storage> {
    Arc::new(FileStorage::open(folder.path()).unwrap())
}

fn record(n: u8) -> Record {
    other(n, format!("{{\"n\":{n}}}"))
}

fn other(n: u8, params: String) -> Record {
    let request = Request::Other {
        method: "voxel.paint".into(),
        params: RawValue::from_string(params).unwrap(),
    };
    let id = IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16]));
    Record::new(id, request, Vec::new(), i64::from(n))
}

#[test]
fn bx_1_what_has_no_outcome_is_there_again_after_a_restart_and_the_rest_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
    assert!(kept.is_empty());
    for n in 1..=3 {
        outbox.submit(record(n)).unwrap();
    }
    outbox.done(record(2).id);
    drop(outbox);
    let (_outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
    let ids: Vec<_> = kept.iter().map(|record| record.id).collect();
    assert_eq!(ids, [record(1).id, record(3).id]);
    assert_eq!(
        serde_json::to_string(&*kept[1].request).unwrap(),
        r#"{"n":3}"#,
        "sent again to the letter"
    );
}

fn of_size(n: u8, bytes: usize) -> Record {
    other(n, format!("\"{}\"", "x".repeat(bytes)))
}

/// Later versions read the lines of a journal: this is their format.
#[test]
fn a_line_keeps_its_request_as_on_the_wire_and_is_read_back_as_what_it_is() {
    let id = "\"01010101-0101-0101-0101-010101010101\"";
    let line = |method: &str, params: &str| {
        format!(r#"{{"kept":{{"id":{id},"method":"{method}","params":{params},"at":1}}}}"#)
    };
    let agent = format!(r#"{{"intentId":{id},"agentId":"agt_a"}}"#);
    let send = format!(r#"{{"intentId":{id},"agentId":"agt_a","text":"go"}}"#);
    let create = format!(r#"{{"intentId":{id},"provider":"echo","cwd":"/"}}"#);
    let respond =
        format!(r#"{{"intentId":{id},"agentId":"agt_a","permissionId":"p","optionId":"o"}}"#);
    let newer = r#"{"agentId":"agt_a","to":"somebody else"}"#;
    for (method, params, is_known) in [
        ("agents.create", create.as_str(), true),
        ("agents.send", &send, true),
        ("agents.cancel", &agent, true),
        ("agents.archive", &agent, true),
        ("agents.respond", &respond, true),
        ("agents.send", newer, false),
        ("voxel.paint", r#"{"at": [1.10, 2e3]}"#, false),
    ] {
        let line = line(method, params);
        let Line::Kept(record) = serde_json::from_str(&line).unwrap() else {
            panic!("{line}");
        };
        assert_eq!(
            matches!(&*record.request, Request::Other { .. }),
            !is_known,
            "{line}"
        );
        assert_eq!(serde_json::to_string(&Line::Kept(record)).unwrap(), line);
    }
}

#[test]
fn ld_3_patches_are_a_member_of_a_line_and_a_line_without_or_with_unknown_ones_reads() {
    let id = "\"01010101-0101-0101-0101-010101010101\"";
    let line = |patches: &str| {
        format!(r#"{{"kept":{{"id":{id},"method":"voxel.paint","params":{{}},{patches}"at":1}}}}"#)
    };
    let known = r#""patches":[{"table":"voxel.layers","params":{"n":1.0},"key":"a","change":{"upsert":[1e3]}},{"table":"voxel.layers","key":"b","change":"remove"},{"table":"voxel.notes","change":{"append":1e0}}],"#;
    let unknown = r#""patches":[{"table":"voxel.notes","change":{"prepend":1}}],"#;
    for (patches, count) in [("", 0), (known, 3), (unknown, 0)] {
        let line = line(patches);
        let Line::Kept(record) = serde_json::from_str(&line).unwrap() else {
            panic!("{line}");
        };
        assert_eq!(record.patches.len(), count);
        if patches != unknown {
            assert_eq!(serde_json::to_string(&Line::Kept(record)).unwrap(), line);
        }
    }
}

#[test]
fn ld_3_patches_are_there_again_after_a_restart_also_those_of_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let patched = |n| Record {
        patches: [Patch {
            table: "voxel.layers".into(),
            params: None,
            key: "a".into(),
            change: PatchChange::Remove,
        }]
        .into(),
        ..record(n)
    };
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    outbox.submit(patched(1)).unwrap();
    outbox.submit(patched(2)).unwrap();
    outbox.failed(record(1).id, Outcome::Expired);
    outbox.rewrite();
    drop(outbox);
    let (_outbox, kept) = Outbox::open(storage, "outbox").unwrap();
    let kept: Vec<_> = kept
        .iter()
        .map(|record| (record.outcome.is_some(), &*record.patches))
        .collect();
    let patches = patched(1).patches;
    assert_eq!(kept, [(true, &*patches), (false, &*patches)]);
}

#[test]
fn the_outbox_is_bounded_in_number_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    let id = |n: u128| IntentId::from_uuid(uuid::Uuid::from_u128(n));
    for n in 0..OUTBOX_INTENTS as u128 {
        outbox
            .submit(Record {
                id: id(n),
                ..record(0)
            })
            .unwrap();
    }
    assert!(matches!(
        outbox.submit(record(1)),
        Err(IntentError::OutboxFull(OUTBOX_INTENTS))
    ));
    outbox.done(id(7));
    outbox.submit(record(1)).unwrap();
}

#[test]
fn bx_1_however_large_intents_are_the_next_process_can_read_the_outbox() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    let too_large = outbox.submit(of_size(0, INTENT_BYTES));
    assert!(matches!(too_large, Err(IntentError::Invalid(_))));
    // Concluded intents leave the journal, whatever their size.
    for _ in 0..40 {
        outbox.submit(of_size(0, 900_000)).unwrap();
        outbox.take();
        if outbox.done(record(0).id) {
            outbox.rewrite();
        }
    }
    let mut waiting = 0;
    let full = loop {
        match outbox.submit(of_size(waiting + 1, 900_000)) {
            Ok(_) => waiting += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, IntentError::OutboxFull(_)), "{full}");
    drop(outbox);
    let journal = std::fs::metadata(folder.path().join("outbox.0.jsonl")).unwrap();
    assert!(journal.len() < 3 * OUTBOX_BYTES as u64);
    let (_outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
    assert_eq!(kept.len(), usize::from(waiting));
}

#[test]
fn ls_14_a_paused_outbox_holds_no_lock_and_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    for n in 1..=2 {
        outbox.submit(record(n)).unwrap();
    }
    outbox.pause();
    let refused = outbox.submit(record(3));
    assert!(matches!(
        refused,
        Err(IntentError::Storage(StorageError::Paused))
    ));
    // Another process takes the same journal with its contents and leaves an intent of its own.
    let (other, adopted) = Outbox::open(storage.clone(), "outbox").unwrap();
    assert_eq!(adopted.len(), 2);
    other.submit(record(4)).unwrap();
    drop(other);
    // An outcome received during the pause counts.
    outbox.done(record(1).id);
    outbox.take();
    outbox.resume().unwrap();
    let ids = |records: &[Record]| -> Vec<_> { records.iter().map(|one| one.id).collect() };
    let new: Vec<_> = outbox.take().into_iter().map(|one| one.record).collect();
    assert_eq!(ids(&new), [record(4).id]);
    outbox.submit(record(5)).unwrap();
    drop(outbox);
    let (_outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
    assert_eq!(ids(&kept), [record(2).id, record(4).id, record(5).id]);
}

#[test]
fn ux_3_what_failed_in_a_pause_is_there_after_a_restart_as_failed() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    outbox.submit(record(1)).unwrap();
    outbox.pause();
    outbox.failed(record(1).id, Outcome::Expired);
    outbox.resume().unwrap();
    drop(outbox);
    let (_outbox, kept) = Outbox::open(storage, "outbox").unwrap();
    let outcomes: Vec<_> = kept.into_iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Expired)]);
}

#[test]
fn bx_1_what_was_sent_in_a_pause_is_in_doubt_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    outbox.submit(record(1)).unwrap();
    outbox.pause();
    outbox.send(record(1).id).unwrap();
    outbox.resume().unwrap();
    drop(outbox);
    let (_outbox, kept) = Outbox::open(storage, "outbox").unwrap();
    assert!(kept.iter().all(|record| record.sent), "{kept:?}");
    assert_eq!(kept.len(), 1);
}

#[test]
fn bx_1_what_another_process_sent_in_a_pause_is_in_doubt_too() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    outbox.submit(record(1)).unwrap();
    outbox.pause();
    let (other, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    other.send(record(1).id).unwrap();
    drop(other);
    outbox.failed(record(1).id, Outcome::Expired);
    outbox.resume().unwrap();
    drop(outbox);
    let (_outbox, kept) = Outbox::open(storage, "outbox").unwrap();
    assert!(kept.iter().all(|record| record.sent), "{kept:?}");
}

#[test]
fn bx_1_what_can_be_read_of_a_damaged_journal_goes_on_and_the_rest_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    for n in 1..=5 {
        outbox.submit(record(n)).unwrap();
    }
    assert_eq!(outbox.trouble(), None);
    drop(outbox);
    // A power cut: zeros over the end of the second line and the beginning of the third; the fourth
    // is truncated and merges with the next.
    let path = folder.path().join("outbox.0.jsonl");
    let mut text = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'\n').collect();
    text.splice(ends[3] - 10..=ends[3], []);
    text[ends[1] - 10..ends[1] + 10].fill(0);
    std::fs::write(&path, &text).unwrap();
    let (outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
    let ids: Vec<_> = kept.iter().map(|record| record.id).collect();
    assert_eq!(ids, [record(1).id, record(5).id]);
    let trouble = outbox.trouble().unwrap();
    assert_eq!(trouble.kind, crate::StorageTrouble::Damaged);
    assert!(trouble.message.contains("outbox.0.jsonl.corrupt"));
    let aside = folder.path().join("outbox.0.jsonl.corrupt");
    assert_eq!(std::fs::read(aside).unwrap(), text);
    outbox.submit(record(6)).unwrap();
    drop(outbox);
    let (outbox, kept) = Outbox::open(storage, "outbox").unwrap();
    assert_eq!(kept.len(), ids.len() + 1);
    assert_eq!(outbox.trouble(), None, "the readable part is intact");
}

#[test]
fn a_journal_that_begins_with_zeros_keeps_what_comes_after_them() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    outbox.submit(record(1)).unwrap();
    drop(outbox);
    let path = folder.path().join("outbox.0.jsonl");
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&[0; 4_096], text.as_slice()].concat()).unwrap();
    let (outbox, kept) = Outbox::open(storage, "outbox").unwrap();
    assert_eq!(kept.len(), 1);
    assert!(outbox.trouble().is_some());
}

#[test]
fn an_outbox_that_cannot_be_taken_up_says_so_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    outbox.submit(record(1)).unwrap();
    outbox.pause();
    outbox.look_after().unwrap();
    assert!(storage.journal("outbox").is_ok(), "nothing in a pause");
    // All locks are held.
    for number in 0..64 {
        let lock = folder.path().join(format!("outbox.{number}.lock"));
        let _ = std::fs::remove_file(&lock);
        std::fs::create_dir(lock).unwrap();
    }
    outbox.resume().unwrap_err();
    let refused = outbox.submit(record(2));
    assert!(matches!(
        refused,
        Err(IntentError::Storage(StorageError::Unavailable { .. }))
    ));
    let trouble = outbox.trouble().unwrap();
    assert_eq!(trouble.kind, crate::StorageTrouble::Unavailable);
    for number in 0..64 {
        std::fs::remove_dir(folder.path().join(format!("outbox.{number}.lock"))).unwrap();
    }
    outbox.look_after().unwrap();
    outbox.submit(record(2)).unwrap();
    assert_eq!(outbox.trouble(), None);
}

#[test]
fn bx_1_intents_of_a_process_that_ends_later_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (old, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    for n in 1..=2 {
        old.submit(record(n)).unwrap();
    }
    old.done(record(2).id);
    let (new, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
    assert!(kept.is_empty());
    new.look_after().unwrap();
    assert!(new.take().is_empty(), "the old one lives");
    old.release();
    new.look_after().unwrap();
    let taken: Vec<_> = new.take().into_iter().map(|one| one.record.id).collect();
    assert_eq!(taken, [record(1).id]);
    drop(new);
    let (_outbox, kept) = Outbox::open(storage, "outbox").unwrap();
    assert_eq!(kept.len(), 1);
}

#[test]
fn bx_1_intents_that_come_and_end_while_the_journal_is_rewritten_stay_so() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    let id = |n: u128| IntentId::from_uuid(uuid::Uuid::from_u128(n));
    let submit = |n: u128| {
        let record = Record {
            id: id(n),
            ..record(0)
        };
        outbox.submit(record).unwrap();
    };
    std::thread::scope(|scope| {
        let rewriter = scope.spawn(|| (0..50).for_each(|_| outbox.rewrite()));
        let mut n = 0;
        while !rewriter.is_finished() || n < 100 {
            submit(n);
            if n % 2 == 0 {
                outbox.done(id(n));
            }
            n += 1;
            outbox.take();
            if n >= 8_000 {
                break;
            }
        }
        submit(1_000_000);
    });
    let open = outbox.lock().open.len();
    drop(outbox);
    let (_outbox, kept) = Outbox::open(storage, "outbox").unwrap();
    assert_eq!(kept.len(), open);
}

#[test]
fn a_long_life_does_not_grow_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    let open = record(250);
    outbox.submit(open.clone()).unwrap();
    outbox.take();
    for _ in 0..5_000 {
        outbox.submit(record(1)).unwrap();
        outbox.take();
        if outbox.done(record(1).id) {
            outbox.rewrite();
        }
    }
    let size = std::fs::metadata(folder.path().join("outbox.0.jsonl"))
        .unwrap()
        .len();
    assert!(size < 512 * 1024, "{size}");
    drop(outbox);
    let (_outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
    assert!(kept.iter().any(|record| record.id == open.id));
}

/// C44: a clock that is set back between two messages must not change their order.
#[test]
fn case_c44_intents_keep_their_order_when_the_clock_is_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    let at = |n: u8, at: i64| Record { at, ..record(n) };
    outbox.submit(at(9, 172_800_000)).unwrap();
    outbox.submit(at(1, 5)).unwrap();
    drop(outbox);
    let (outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
    assert_eq!(
        kept.iter().map(|kept| kept.id).collect::<Vec<_>>(),
        [record(9).id, record(1).id]
    );
    outbox.submit(at(2, 6)).unwrap();
    drop(outbox);
    let (_outbox, kept) = Outbox::open(storage, "outbox").unwrap();
    let ids: Vec<_> = kept.iter().map(|kept| kept.id).collect();
    assert_eq!(ids, [record(9).id, record(1).id, record(2).id]);
}

#[test]
fn case_c44_that_an_intent_was_sent_is_known_after_a_crash_and_a_rewrite() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let (outbox, _) = Outbox::open(storage.clone(), "outbox").unwrap();
    outbox.submit(record(1)).unwrap();
    outbox.submit(record(2)).unwrap();
    outbox.send(record(1).id);
    drop(outbox);
    for _ in 0..2 {
        let (outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
        assert_eq!(
            kept.iter().map(|kept| kept.sent).collect::<Vec<_>>(),
            [true, false]
        );
        outbox.rewrite();
    }
}

/// C10: a journal of a newer version is neither damaged nor adopted; it waits for a program of that
/// version.
#[test]
fn case_c10_a_journal_of_a_newer_version_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(&folder);
    let newer = "{\"version\":99,\"form\":\"another\"}\n{\"queued\":1}\n";
    for number in [0, 1] {
        let path = folder.path().join(format!("outbox.{number}.jsonl"));
        std::fs::write(&path, newer).unwrap();
        let (outbox, kept) = Outbox::open(storage.clone(), "outbox").unwrap();
        assert!(kept.is_empty());
        assert_eq!(outbox.submit(record(1)).is_err(), number == 0);
        if number == 0 {
            let trouble = outbox.trouble().unwrap().message;
            assert!(
                trouble.contains("newer") && trouble.contains("99"),
                "{trouble}"
            );
        }
        drop(outbox);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
        std::fs::remove_file(path).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn ld_1_a_receipt_asked_for_while_its_outcome_is_stored_has_that_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, _) = Outbox::open(storage(&folder), "outbox").unwrap();
    let done = Outcome::Done { result: "1".into() };
    for (n, outcome) in [(1, Outcome::Expired), (2, done)] {
        outbox.submit(record(n)).unwrap();
        let id = record(n).id;
        let teller = outbox.settled(id, Arc::from([])).unwrap();
        let asked = Receipt::new(id, outbox.awaited(id).unwrap());
        if matches!(outcome, Outcome::Done { .. }) {
            outbox.done(id);
        } else {
            outbox.failed(id, outcome.clone());
        }
        teller.tell(outcome.clone());
        assert_eq!(told(asked).await, Some(outcome));
    }
}

#[tokio::test(start_paused = true)]
async fn ld_1_a_receipt_of_a_runtime_whose_driver_has_ended_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, _) = Outbox::open(storage(&folder), "outbox").unwrap();
    outbox.end_receipts();
    let awaited = outbox.submit(record(1)).unwrap();
    assert_eq!(told(Receipt::new(record(1).id, awaited)).await, None);
    assert_eq!(outbox.lock().open.len(), 1, "the intent itself is kept");
}

/// What a receipt tells, which it does without anything else happening.
async fn told(receipt: Receipt) -> Option<Outcome> {
    let waiting = tokio::time::timeout(Duration::from_secs(60), receipt.outcome());
    waiting.await.expect("the outcome")
}
