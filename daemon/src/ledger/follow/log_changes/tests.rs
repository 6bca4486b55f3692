//! How many changes a job keeps, and what is told when a part of it fails.

use bowline_machines::Path;
use bowline_protocol::{RpcReason, ServerId, live::Scope};

use super::*;
use crate::{
    ledger::{Ledger, LedgerOptions, Log},
    outbound::{ConnectionHandle, Outbound},
};

const NOTES: Log<u64> = Log::new("test.notes");

fn kept(tx: &Tx<'_>) -> usize {
    tx.staged.changes.logs.list.len()
}

/// Adds items in a part of the job that fails after them.
fn fail_after(tx: &mut Tx<'_>, items: &[u64], is_told: bool) {
    let failed = tx.nested(|tx| {
        for item in items {
            NOTES.append(tx, "a", item)?;
        }
        if is_told {
            tx.tell_changes()?;
        }
        Err::<(), _>(RpcError::new(RpcReason::NotFound, "on purpose"))
    });
    assert_eq!(failed.unwrap_err().reason(), Some(RpcReason::NotFound));
}

#[tokio::test]
async fn ld_2_items_in_a_row_are_one_change_and_those_of_a_failed_part_are_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let server_id = ServerId::of_public_key(b"test");
    let options = LedgerOptions::new(dir.path().join("bowline.db"), server_id);
    let ledger = Ledger::open(options).unwrap();
    let outbound = Outbound::new();
    let connection = ConnectionHandle {
        id: 1,
        path: Path::Local,
        outbound: outbound.clone(),
    };
    let attachment = ledger.attach_local(connection).await.unwrap();
    let session = attachment.session().id;
    let work = ledger.write(move |tx| {
        let of: Followed = (LiveKind::Log, "test.notes");
        tx.live.follow(session, of, &Scope::row("a").unwrap(), 0)?;
        // Nothing before the part that fails.
        fail_after(tx, &[90, 91], false);
        assert_eq!(kept(tx), 0);
        for item in 0..3 {
            NOTES.append(tx, "a", &item)?;
            NOTES.append(tx, "not followed", &item)?;
        }
        assert_eq!(kept(tx), 1, "for all items in a row");
        // The items before it stay noted, whether or not it told them.
        fail_after(tx, &[92, 93], false);
        fail_after(tx, &[94], true);
        assert_eq!(kept(tx), 1);
        NOTES.append(tx, "a", &3)?;
        tx.tell_changes()?;
        // What is told already is not told again.
        NOTES.append(tx, "a", &4)?;
        assert_eq!(kept(tx), 2);
        fail_after(tx, &[95], true);
        NOTES.append(tx, "a", &5)?;
        assert_eq!(kept(tx), 2);
        NOTES.remove(tx, "a")?;
        NOTES.append(tx, "a", &6)?;
        assert_eq!(kept(tx), 4, "a removal is between them");
        Ok(())
    });
    work.await.unwrap();
    let mut frames = Vec::new();
    outbound.drain_into(&mut frames);
    let told: Vec<_> = frames
        .iter()
        .map(|frame| {
            let message: serde_json::Value = serde_json::from_slice(frame).unwrap();
            let event = &message["params"]["event"];
            let items = event["items"].as_array().unwrap().iter();
            let items = items.map(|item| item["index"].as_u64().zip(item["value"].as_u64()));
            (
                items.collect::<Option<Vec<_>>>().unwrap(),
                message.to_string(),
            )
        })
        .collect();
    let items: Vec<_> = told.iter().map(|(items, _)| items.clone()).collect();
    assert_eq!(
        items,
        [vec![(0, 0), (1, 1), (2, 2), (3, 3)], vec![(6, 6)]],
        "{told:?}"
    );
}
