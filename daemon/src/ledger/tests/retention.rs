//! Retention of timelines that are damaged, or of very many small items (TR-12).

use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, ItemId, ItemKind, ServerId, TimelineItem,
};
use uuid::Uuid;

use super::super::{owner::Owner, queue::Job, *};
use crate::store::fault;

/// Stores an agent of the daemon's owner with that many finished turns of one prompt and one output
/// each, and counts them as the agents service does.
async fn agent_with_turns(ledger: &Ledger, turns: u64, bytes: usize) -> i64 {
    let write = ledger.write(move |tx| {
        let summary = AgentSummary {
            id: AgentId::from_uuid(Uuid::now_v7()),
            title: "test".to_owned(),
            provider: "test".to_owned(),
            cwd: "/".to_owned(),
            status: AgentStatus::Idle,
            created_at: 1,
            updated_at: 1,
            attention: None,
            intent_id: None,
        };
        let n = store::agents::insert(tx.conn(), &summary, Owner::LOCAL.0).map_err(fault)?;
        let (mut index, mut total) = (0, 0);
        for _ in 0..turns {
            for kind in [ItemKind::User, ItemKind::Output, ItemKind::TurnEnd] {
                let id = ItemId::from_uuid(Uuid::now_v7());
                let mut item = TimelineItem::new(id, index, kind, 1);
                if kind != ItemKind::TurnEnd {
                    item.text = "x".repeat(bytes);
                }
                let cost = Tx::item_cost(&item.text);
                store::agents::append_item(tx.conn(), n, &item, 1, cost).map_err(fault)?;
                (index, total) = (index + 1, total + cost);
                tx.grow_timeline(Owner::LOCAL.0, n, cost, total);
            }
        }
        Ok(n)
    });
    write.await.unwrap()
}

/// The stored size of a timeline, and the bytes of its texts.
async fn sizes(ledger: &Ledger, n: i64) -> (i64, i64) {
    let sql = "SELECT bytes, (SELECT sum(octet_length(text)) FROM items
             WHERE position >= n * 4294967296 AND position < (n + 1) * 4294967296)
         FROM agents WHERE n = ?1";
    let read = ledger.read(move |reader| {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        reader.conn().query_row(sql, (n,), row).map_err(fault)
    });
    read.await.unwrap()
}

/// Waits until nothing of retention is due.
async fn retained(ledger: &Ledger) {
    bowline_testkit::eventually("retention rests", async || {
        let rests = ledger.ask(Job::Now, |core| {
            Ok(core.retention_due() > core.options.clock.now())
        });
        rests.await.unwrap()
    })
    .await;
}

fn open_with(adjust: impl FnOnce(&mut LedgerOptions)) -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let server_id = ServerId::of_public_key(b"test");
    let mut options = LedgerOptions::new(dir.path().join("bowline.db"), server_id);
    adjust(&mut options);
    let ledger = Ledger::open(options).unwrap();
    (dir, ledger)
}

#[tokio::test]
async fn tr_12_a_damaged_timeline_is_set_aside_and_the_others_are_shortened() {
    let limit = 20_000;
    let (_dir, ledger) = open_with(|options| {
        options.retention.timeline_bytes = limit;
        options.quotas.timeline_bytes = limit;
    });
    let damaged = agent_with_turns(&ledger, 1, 1_000).await;
    let damage = ledger.ask(Job::Now, move |core| {
        let sql = "UPDATE items SET kind = 'unheard of' WHERE position = ?1 * 4294967296";
        core.conn.execute(sql, (damaged,)).map_err(fault)?;
        core.live.overfull.agents.insert(damaged);
        let sql = "UPDATE agents SET bytes = 1000000 WHERE n = ?1";
        core.conn.execute(sql, (damaged,)).map_err(fault)
    });
    assert_eq!(damage.await.unwrap(), 1);
    let healthy = agent_with_turns(&ledger, 20, 1_000).await;
    retained(&ledger).await;
    let (size, text) = sizes(&ledger, healthy).await;
    assert!(size <= 20_000 && text > 0, "{size} {text}");
    assert_eq!(sizes(&ledger, damaged).await, (1_000_000, 2_000));
    // It stays known, and is tried again later.
    let known = ledger.ask(Job::Now, move |core| {
        Ok(core.live.overfull.agents.contains(&damaged))
    });
    assert!(known.await.unwrap());
}

/// What the local socket's timelines are counted with.
async fn counted(ledger: &Ledger) -> i64 {
    let asked = ledger.ask(Job::Now, |core| {
        Ok(core.live.accounts.timeline_bytes(Owner::LOCAL))
    });
    asked.await.unwrap()
}

#[tokio::test]
async fn tr_12_any_number_of_items_fits_a_bound_once_their_texts_are_dropped() {
    let limit = 20_000;
    let (dir, ledger) = open_with(|options| options.retention.timeline_bytes = limit);
    // The items alone would take several times the bound.
    let agent = agent_with_turns(&ledger, 300, 10).await;
    retained(&ledger).await;
    let (size, text) = sizes(&ledger, agent).await;
    let limit = i64::try_from(limit).unwrap();
    assert!(size <= limit && size > limit / 2, "{size}");
    assert!(text > 0, "not everything is dropped");
    assert_eq!(counted(&ledger).await, size);
    ledger.shutdown().await;
    let server_id = ServerId::of_public_key(b"test");
    let options = LedgerOptions::new(dir.path().join("bowline.db"), server_id);
    let ledger = Ledger::open(options).unwrap();
    assert_eq!(counted(&ledger).await, size, "the same after a restart");
}
