//! What only the inside can provoke: a commit that fails, a thread that dies.

use bowline_machines::Path;
use bowline_protocol::{
    AgentId, ClientSessionKey, IntentId, PROTOCOL_VERSION, Purpose, Reason, Resume, ServerId,
    SessionEvent, SessionState, handshake::ClientInfo,
};
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

/// A disk that takes nothing, and takes everything again.
async fn set_full(ledger: &Ledger, full: bool) {
    let sql = format!("PRAGMA query_only = {}", u8::from(full));
    let set = ledger.now(move |core| core.conn.execute_batch(&sql).map_err(fault));
    set.await.unwrap();
}

fn hello(key: u8, token: Option<&PairingToken>, resume: Option<Resume>) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        purpose: Purpose::Session,
        client_session_key: ClientSessionKey::from_random([key; 16]),
        client: ClientInfo {
            name: "test".to_owned(),
            version: "1".to_owned(),
            platform: "test".to_owned(),
        },
        capabilities: Vec::new(),
        pairing_token: token.map(ToString::to_string),
        resume,
    }
}

/// Attaches, and tells what became of the session, the cursor, and what has come.
async fn attach(
    ledger: &Ledger,
    device: u8,
    hello: &Hello,
) -> Result<(SessionState, Resume, Attached, Outbound), Refusal> {
    let device = PublicKey::from_bytes([device; 32]);
    let admission = ledger.admit(device, hello).await?;
    let welcome = admission.session().cloned().unwrap();
    let outbound = Outbound::new();
    let handle = ConnectionHandle {
        id: rand(),
        path: Path::Direct,
        outbound: outbound.clone(),
    };
    let attached = ledger.attach(admission, handle).await?;
    let cursor = Resume {
        epoch: welcome.epoch,
        last_seq: welcome.next_seq - 1,
        stamp: welcome.stamp,
    };
    Ok((welcome.state, cursor, attached, outbound))
}

fn rand() -> u64 {
    u64::from_le_bytes(random_bytes().unwrap())
}

/// C8: on a full disk devices heard `rate_limited` for half a minute and could not even read.
#[tokio::test]
async fn case_c8_attaching_reading_and_following_go_on_when_the_disk_is_full() {
    let (dir, ledger) = open();
    let day = std::time::Duration::from_secs(86_400);
    let (first, second) = (
        ledger.create_pairing(day).await.unwrap(),
        ledger.create_pairing(day).await.unwrap(),
    );
    attach(&ledger, 1, &hello(1, Some(&first.token), None))
        .await
        .unwrap();
    set_full(&ledger, true).await;
    let agent: AgentId = "agt_1".parse().unwrap();
    let write = {
        let agent = agent.clone();
        ledger.write(move |tx| tell(tx, &agent)).await
    };
    let refused = write.unwrap_err();
    assert_eq!(refused.reason(), Some(RpcReason::StorageUnavailable));
    assert_eq!(ledger.counters().failed_commits, 1);
    assert!(ledger.failing_since().is_some());

    // One that was there and lost its cursor, and an install of the same device that is new.
    let (state, cursor, old, _) = attach(&ledger, 1, &hello(1, None, None)).await.unwrap();
    assert_eq!(state, SessionState::Reset);
    let (state, new_cursor, new, heard) = attach(&ledger, 1, &hello(2, None, None)).await.unwrap();
    assert_eq!(state, SessionState::New);
    ledger
        .read(|reader| store::devices::list(reader.conn()).map_err(fault))
        .await
        .unwrap();
    let session = new.attachment.as_ref().unwrap().session().clone();
    let follow = {
        let agent = agent.clone();
        ledger.write_as(Some(session), move |tx| tx.follow(&agent))
    };
    follow.await.unwrap();
    // What has to be written is refused, and says why.
    let error = attach(&ledger, 2, &hello(3, Some(&second.token), None))
        .await
        .err()
        .unwrap();
    assert_eq!(error.reason, Reason::StorageUnavailable);
    assert!(error.message.contains("disk"), "{}", error.message);
    assert!(ledger.counters().failed_commits > 1, "every path counts");

    set_full(&ledger, false).await;
    let write = {
        let agent = agent.clone();
        ledger.write(move |tx| {
            let event = SessionEvent::AgentRemoved {
                agent_id: agent.clone(),
            };
            tx.emit(Audience::Subscribers(&agent), &event)
        })
    };
    write.await.unwrap();
    assert!(ledger.failing_since().is_none());
    let mut frames = Vec::new();
    heard.drain_into(&mut frames);
    assert_eq!(frames.len(), 1, "it follows");
    attach(&ledger, 2, &hello(3, Some(&second.token), None))
        .await
        .unwrap();
    drop((old, new));
    ledger.shutdown().await;

    // All of it is in the store now.
    let server_id = ServerId::of_public_key(b"test");
    let options = LedgerOptions::new(dir.path().join("bowline.db"), server_id);
    let ledger = Ledger::open(options).unwrap();
    let (state, ..) = attach(&ledger, 1, &hello(1, None, Some(cursor)))
        .await
        .unwrap();
    assert_eq!(state, SessionState::Resumed);
    let (state, _, attached, heard) = attach(&ledger, 1, &hello(2, None, Some(new_cursor)))
        .await
        .unwrap();
    assert_eq!((state, attached.replay.len()), (SessionState::Resumed, 1));
    let again = ledger.write(move |tx| {
        let event = SessionEvent::AgentRemoved {
            agent_id: agent.clone(),
        };
        tx.emit(Audience::Subscribers(&agent), &event)
    });
    again.await.unwrap();
    let mut frames = Vec::new();
    heard.drain_into(&mut frames);
    assert_eq!(frames.len(), 1, "it follows still");
}

#[tokio::test]
async fn case_c8_a_daemon_that_dies_before_a_session_was_stored_has_lost_nothing() {
    let (dir, ledger) = open();
    let day = std::time::Duration::from_secs(86_400);
    let pairing = ledger.create_pairing(day).await.unwrap();
    attach(&ledger, 1, &hello(1, Some(&pairing.token), None))
        .await
        .unwrap();
    set_full(&ledger, true).await;
    let (_, reset, ..) = attach(&ledger, 1, &hello(1, None, None)).await.unwrap();
    let (_, begun, ..) = attach(&ledger, 1, &hello(2, None, None)).await.unwrap();
    // As it is on the disk now: a kill.
    let copy = tempfile::tempdir().unwrap();
    for name in ["bowline.db", "bowline.db-wal"] {
        let _ = std::fs::copy(dir.path().join(name), copy.path().join(name));
    }
    let server_id = ServerId::of_public_key(b"test");
    let options = LedgerOptions::new(copy.path().join("bowline.db"), server_id);
    let ledger = Ledger::open(options).unwrap();
    let (state, ..) = attach(&ledger, 1, &hello(1, None, Some(reset)))
        .await
        .unwrap();
    assert_eq!(state, SessionState::Reset);
    let (state, ..) = attach(&ledger, 1, &hello(2, None, Some(begun)))
        .await
        .unwrap();
    assert_eq!(state, SessionState::New);
}
