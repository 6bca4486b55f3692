//! Faults that only tests inside the crate can provoke: a failing commit, a dying thread.

use std::{cell::RefCell, collections::HashMap};

use bowline_machines::Path;
use bowline_protocol::{
    AgentId, ClientSessionKey, Hello, IntentId, PROTOCOL_VERSION, PublicKey, Purpose, Reason,
    Refusal, Resume, RpcReason, ServerId, SessionEvent, SessionState,
    error::RpcError,
    handshake::{ClientInfo, PairingHello},
    identity::{KeyId, OfferId, PairingSecret, PresharedKey},
    offer::PairingToken,
};
use uuid::Uuid;

use super::{owner::Owner, queue::Job, *};
use crate::{
    outbound::{ConnectionHandle, Outbound},
    rpc::answer,
    store::fault,
};

mod keys;

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
    tx.emit(Audience::Everyone(agent.as_str()), &event)
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
        .ask(Job::Now, |core| {
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
            tx.subscribe(&whose, agent.as_str())?;
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
    assert_eq!(outbound.queued_bytes(), 0, "nothing was sent");
    assert!(!acted.load(std::sync::atomic::Ordering::SeqCst));

    // The subscription is undone, the number is free again, the intent is forgotten.
    let again = {
        let (session, agent) = (session.clone(), agent.clone());
        ledger.write(move |tx| {
            tell(tx, &agent)?;
            tx.subscribe(&session, agent.as_str())?;
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
    assert_eq!(*retried.unwrap().result, *r#""done""#);
}

#[tokio::test]
async fn inv_12_requests_fail_once_the_thread_has_died() {
    let (_dir, ledger) = open();
    let waiting = ledger.read(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        Ok(())
    });
    let deadly = Job::Now(Box::new(|_| panic!("a defect of the ledger itself")));
    let (first, ()) = tokio::join!(waiting, async {
        ledger.0.queue.push_always(Owner::DAEMON, deadly).unwrap();
    });
    first.unwrap();
    let deadline = tokio::time::Duration::from_secs(20);
    let after = tokio::time::timeout(deadline, ledger.read(|_| Ok(())));
    assert!(after.await.expect("an answer in time").is_err());
}

/// Switches the store between a full disk (writes fail) and a working one.
async fn set_full(ledger: &Ledger, full: bool) {
    let sql = format!("PRAGMA query_only = {}", u8::from(full));
    let set = ledger.ask(Job::Now, move |core| {
        core.conn.execute_batch(&sql).map_err(fault)
    });
    set.await.unwrap();
}

fn hello(key: u8, token: Option<&PairingToken>, resume: Option<Resume>) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        purpose: match token {
            Some(_) => Purpose::Pairing,
            None => Purpose::Session,
        },
        client_session_key: ClientSessionKey::from_random([key; 16]),
        client: ClientInfo {
            name: "test".to_owned(),
            version: "1".to_owned(),
            platform: "test".to_owned(),
        },
        capabilities: Vec::new(),
        key: None,
        pairing: token.map(|token| PairingHello {
            offer: OfferId::of_token(token),
            secret: PairingSecret::from_bytes([1; 32]),
        }),
        resume,
    }
}

/// Attaches; returns what happened to the session, the cursor, and the replayed events.
async fn attach(
    ledger: &Ledger,
    device: u8,
    hello: &Hello,
) -> Result<(SessionState, Resume, Attached, Outbound), Refusal> {
    let hello = &Hello {
        key: KEYS.with_borrow(|keys| keys.get(&device).copied()),
        ..hello.clone()
    };
    let device = PublicKey::from_bytes([device; 32]);
    let outbound = Outbound::new();
    let handle = ConnectionHandle {
        id: rand(),
        path: Path::Direct,
        outbound: outbound.clone(),
    };
    let admission = ledger.admit(device, hello).await;
    let admission = admission.map_err(|refused| refused.refusal)?;
    let welcome = admission.session().cloned().unwrap();
    let attached = ledger.attach(admission, handle).await?;
    let cursor = Resume {
        epoch: welcome.epoch,
        last_seq: welcome.next_seq - 1,
        stamp: welcome.stamp,
    };
    Ok((welcome.state, cursor, attached, outbound))
}

thread_local! {
    /// The keys that the devices of one test have paired with; each test has a thread.
    static KEYS: RefCell<HashMap<u8, KeyId>> = RefCell::default();
}

/// Pairs a device with an offer that asks nobody.
async fn pair(ledger: &Ledger, device: u8, token: &PairingToken) -> Result<(), Refusal> {
    let offer = PresharedKey::of_offer(token);
    let key = PresharedKey::of_device(&offer, &PairingSecret::from_bytes([1; 32]));
    KEYS.with_borrow_mut(|keys| keys.insert(device, key.id()));
    let device = PublicKey::from_bytes([device; 32]);
    let admission = ledger.admit(device, &hello(1, Some(token), None)).await;
    let handle = ConnectionHandle {
        id: rand(),
        path: Path::Direct,
        outbound: Outbound::new(),
    };
    let admission = admission.map_err(|refused| refused.refusal)?;
    ledger.attach(admission, handle).await.map(|_| ())
}

fn rand() -> u64 {
    u64::from_le_bytes(bowline_protocol::identity::random_bytes().unwrap())
}

/// C8: a full disk answers reads and attaches; earlier, devices got `rate_limited` for half a
/// minute and could not even read.
#[tokio::test]
async fn case_c8_attaching_reading_and_following_go_on_when_the_disk_is_full() {
    let (dir, ledger) = open();
    let day = std::time::Duration::from_secs(86_400);
    let (first, second) = (
        ledger
            .create_pairing(day, false, super::OfferedGrant::default())
            .await
            .unwrap(),
        ledger
            .create_pairing(day, false, super::OfferedGrant::default())
            .await
            .unwrap(),
    );
    pair(&ledger, 1, &first.token).await.unwrap();
    drop(attach(&ledger, 1, &hello(1, None, None)).await.unwrap());
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

    // One known install that lost its cursor, and one new install of the same device.
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
        ledger.write_as(Some(session), move |tx| tx.follow(agent.as_str()))
    };
    follow.await.unwrap();
    // Requests that have to write are refused with the reason.
    let error = pair(&ledger, 2, &second.token).await.err().unwrap();
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
            tx.emit(Audience::Subscribers(agent.as_str()), &event)
        })
    };
    write.await.unwrap();
    assert!(ledger.failing_since().is_none());
    let mut frames = Vec::new();
    heard.drain_into(&mut frames);
    assert_eq!(frames.len(), 1, "it is subscribed");
    pair(&ledger, 2, &second.token).await.unwrap();
    drop((old, new));
    ledger.shutdown().await;

    // Everything is in the store now.
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
    // The pairing of the other device, and the event of the agent.
    assert_eq!((state, attached.replay.len()), (SessionState::Resumed, 2));
    let again = ledger.write(move |tx| {
        let event = SessionEvent::AgentRemoved {
            agent_id: agent.clone(),
        };
        tx.emit(Audience::Subscribers(agent.as_str()), &event)
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
    let pairing = ledger
        .create_pairing(day, false, super::OfferedGrant::default())
        .await
        .unwrap();
    pair(&ledger, 1, &pairing.token).await.unwrap();
    drop(attach(&ledger, 1, &hello(1, None, None)).await.unwrap());
    set_full(&ledger, true).await;
    let (_, reset, ..) = attach(&ledger, 1, &hello(1, None, None)).await.unwrap();
    let (_, begun, ..) = attach(&ledger, 1, &hello(2, None, None)).await.unwrap();
    // The disk state as a kill leaves it.
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

/// A full disk keeps no device connected, and prompts nobody to leave the daemon open.
#[tokio::test]
async fn tr_5_tr_15_a_full_disk_stops_neither_revocation_nor_lock() {
    let (_dir, ledger) = open();
    let day = std::time::Duration::from_secs(86_400);
    let mut offers = Vec::new();
    for _ in 0..2 {
        let made = ledger.create_pairing(day, false, OfferedGrant::default());
        offers.push(made.await.unwrap());
    }
    for (key, offer) in (1..).zip(&offers) {
        pair(&ledger, key, &offer.token).await.unwrap();
    }
    let (_, _, first, heard) = attach(&ledger, 1, &hello(1, None, None)).await.unwrap();
    let (_, _, _second, other) = attach(&ledger, 2, &hello(2, None, None)).await.unwrap();
    let session = first.attachment.as_ref().unwrap().session().clone();
    set_full(&ledger, true).await;

    let devices = ledger.devices().await.unwrap();
    let revoked = ledger.revoke(devices[0].device_id.clone()).await;
    assert!(revoked.unwrap().not_stored.is_some(), "and says so");
    assert_eq!(heard.close_reason(), Some(Reason::DeviceRevoked));
    let refused = attach(&ledger, 1, &hello(1, None, None)).await;
    assert_eq!(refused.err().unwrap().reason, Reason::DeviceRevoked);
    let request = ledger.read_as(Some(session), |_| Ok(())).await;
    assert!(request.is_err(), "what it asked for before has no effect");

    let locked = ledger.lock().await.unwrap_err();
    assert_eq!(locked.reason(), Some(RpcReason::StorageUnavailable));
    assert!(ledger.locked_at().is_some());
    assert_eq!(other.close_reason(), Some(Reason::DaemonLocked));
    set_full(&ledger, false).await;
    assert!(ledger.unlock().await.unwrap());
    let again = ledger.revoke(devices[0].device_id.clone()).await;
    assert!(again.unwrap().not_stored.is_none());
    assert!(ledger.devices().await.unwrap()[0].revoked);
}
