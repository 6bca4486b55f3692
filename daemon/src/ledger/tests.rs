//! What only the inside can provoke: a commit that fails, a thread that dies.

use bowline_machines::Path;
use bowline_protocol::{AgentId, IntentId, ServerId, SessionEvent};
use uuid::Uuid;

use super::*;
use crate::{outbound::Outbound, service::answer};

fn open() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let server_id = ServerId::of_public_key(b"test");
    let options = LedgerOptions::new(dir.path().join("bowline.db"), server_id);
    let ledger = Ledger::open(options).unwrap();
    (dir, ledger)
}

fn tell(tx: &mut Tx<'_>, agent: &AgentId) -> Result<(), RpcError> {
    let event = SessionEvent::AgentRemoved {
        agent_id: agent.clone(),
    };
    tx.emit(Audience::Everyone(agent), &event)
}

#[tokio::test]
async fn a_failed_commit_says_nothing_undoes_everything_and_the_ledger_goes_on() {
    let (_dir, ledger) = open();
    let outbound = Outbound::new();
    let attachment = ledger
        .attach_local(ConnectionHandle {
            id: 1,
            path: Path::Local,
            outbound: outbound.clone(),
        })
        .await
        .unwrap();
    let session = attachment.session().clone();
    let agent: AgentId = "agt_1".parse().unwrap();
    // A violated deferred constraint fails at COMMIT and not before.
    ledger
        .now(|core| {
            core.conn
                .execute_batch(
                    "PRAGMA foreign_keys = ON;
                     CREATE TABLE parent (id INTEGER PRIMARY KEY);
                     CREATE TABLE child (id REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);",
                )
                .map_err(fault)
        })
        .await
        .unwrap();
    let id = IntentId::from_uuid(Uuid::now_v7());
    let acted = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let spoil = {
        let (whose, agent, acted) = (session.clone(), agent.clone(), Arc::clone(&acted));
        ledger.intent(&session, id, "test.spoil", "{}", move |tx| {
            tx.subscribe(&whose, &agent)?;
            tell(tx, &agent)?;
            tx.after_commit(move || acted.store(true, std::sync::atomic::Ordering::SeqCst));
            tx.conn()
                .execute("INSERT INTO child VALUES (7)", [])
                .map_err(fault)?;
            answer("spoiled")
        })
    };
    assert!(spoil.await.is_err());
    assert_eq!(ledger.counters().failed_commits, 1);
    assert_eq!(outbound.queued_bytes(), 0, "nothing was said");
    assert!(!acted.load(std::sync::atomic::Ordering::SeqCst));

    // The subscription was undone, the number given back, the intent forgotten.
    let again = {
        let (session, agent) = (session.clone(), agent.clone());
        ledger.write(move |tx| {
            tell(tx, &agent)?;
            tx.subscribe(&session, &agent)?;
            tell(tx, &agent)
        })
    };
    again.await.unwrap();
    let mut frames = Vec::new();
    outbound.drain_into(&mut frames);
    assert_eq!(frames.len(), 1, "only what came after the subscription");
    assert!(String::from_utf8_lossy(&frames[0]).contains(r#""seq":1,"#));
    let retried = ledger
        .intent(&session, id, "test.spoil", "{}", |_| answer("done"))
        .await;
    assert_eq!(retried.unwrap().get(), r#""done""#);
}

#[tokio::test]
async fn inv_12_nobody_waits_for_a_thread_that_has_died() {
    let (_dir, ledger) = open();
    let waiting = ledger.read(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        Ok(())
    });
    let deadly = Job::Now(Box::new(|_| panic!("a defect of the ledger itself")));
    let (first, ()) = tokio::join!(waiting, async {
        ledger.0.queue.push_always(deadly).unwrap();
    });
    first.unwrap();
    let deadline = tokio::time::Duration::from_secs(20);
    let after = tokio::time::timeout(deadline, ledger.read(|_| Ok(())));
    assert!(after.await.expect("an answer in time").is_err());
}
