//! Sessions: who may hold one, what survives, what is cut.

use std::time::Duration;

use bowline_daemon::outbound::Outbound;
use bowline_machines::MonotonicTime;
use bowline_protocol::{
    ClientSessionKey, DeviceId, Purpose, Reason, RpcReason, SessionState, offer::PairingToken,
};

use crate::rig::{App, Rig};

#[tokio::test]
async fn inv_1_a_session_is_keyed_by_the_client_session_key_and_never_by_a_socket() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let first = rig.attach(&app).await.unwrap();
    let session = first.session().clone();
    drop(first);
    let second = rig.attach(&app).await.unwrap();
    assert_eq!(*second.session(), session);
    let listed = rig.ledger.sessions().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        listed[0].external_session_key.as_str(),
        format!("session:{}", app.key.as_str())
    );
}

#[tokio::test]
async fn inv_2_a_session_survives_disconnect_and_restart() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let mut link = rig.attach(&app).await.unwrap();
    rig.announce(1).await;
    assert_eq!(link.heard(), [1]);
    let cursor = link.cursor.clone();
    drop(link);
    rig.announce(2).await;
    let rig = rig.restart().await;
    rig.announce(3).await;
    let mut link = rig.attach(&app.resuming(&cursor)).await.unwrap();
    assert_eq!(link.state, SessionState::Resumed);
    assert_eq!(link.heard(), [2, 3]);
}

#[tokio::test]
async fn inv_3_one_session_has_many_connections_and_each_gets_every_event() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let mut one = rig.attach(&app).await.unwrap();
    let mut two = rig.attach(&app.resuming(&one.cursor)).await.unwrap();
    assert_eq!(one.session(), two.session());
    rig.announce(1).await;
    assert_eq!((one.heard(), two.heard()), (vec![1], vec![1]));
    drop(one);
    rig.announce(2).await;
    assert_eq!(two.heard(), [2]);
    let listed = rig.ledger.sessions().await.unwrap();
    assert_eq!(listed[0].connections, [two.attachment.connection()]);
}

#[tokio::test]
async fn sv_1_every_path_leads_to_the_one_session_of_a_key() {
    let rig = Rig::new();
    let (a, b) = (rig.paired().await, rig.paired().await);
    let a1 = rig.attach(&a).await.unwrap();
    let a2 = rig.attach(&a.resuming(&a1.cursor)).await.unwrap();
    let b1 = rig.attach(&b).await.unwrap();
    assert_eq!(a1.session(), a2.session());
    assert_ne!(a1.session(), b1.session());
    assert_eq!(rig.ledger.sessions().await.unwrap().len(), 2);
}

#[tokio::test]
async fn sv_2_within_the_grace_nothing_is_lost_and_after_it_the_session_is_new() {
    let rig = Rig::with(|options| options.session_grace = Duration::from_secs(24));
    let app = rig.paired().await;
    let link = rig.attach(&app).await.unwrap();
    let cursor = link.cursor.clone();
    drop(link);
    rig.announce(1).await;
    for _ in 0..20 {
        rig.clock().advance(Duration::from_secs(1));
        rig.settle().await;
    }
    let mut link = rig.attach(&app.resuming(&cursor)).await.unwrap();
    assert_eq!(link.state, SessionState::Resumed);
    assert_eq!(link.heard(), [1]);
    let cursor = link.cursor.clone();
    drop(link);
    for _ in 0..26 {
        rig.clock().advance(Duration::from_secs(1));
        rig.settle().await;
    }
    assert!(rig.ledger.sessions().await.unwrap().is_empty());
    let link = rig.attach(&app.resuming(&cursor)).await.unwrap();
    assert_eq!(link.state, SessionState::New);
    assert_ne!(link.cursor.epoch, cursor.epoch);
}

#[tokio::test]
async fn ls_2_over_the_cap_the_connection_idle_longest_gives_way() {
    let rig = Rig::with(|options| options.connections_per_session = 3);
    let app = rig.paired().await;
    let mut links = Vec::new();
    for n in 0..3 {
        let link = rig.attach(&app).await.unwrap();
        link.outbound.touch(MonotonicTime::from_millis(100 - n));
        links.push(link);
        rig.clock().advance(Duration::from_millis(1));
    }
    rig.clock().advance(Duration::from_secs(1));
    links[0].outbound.touch(rig.clock().now());
    links[2].outbound.touch(rig.clock().now());
    let newest = rig.attach(&app).await.unwrap();
    let closed: Vec<_> = links.iter().map(|l| l.outbound.close_reason()).collect();
    assert_eq!(closed, [None, Some(Reason::SessionCapacity), None]);
    assert_eq!(newest.outbound.close_reason(), None);
    let listed = rig.ledger.sessions().await.unwrap();
    assert_eq!(listed[0].connections.len(), 3);
}

#[tokio::test]
async fn ls_13_the_cursor_is_known_before_any_event() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let link = rig.attach(&app).await.unwrap();
    let cursor = link.cursor.clone();
    drop(link);
    rig.announce(1).await;
    let mut link = rig.attach(&app.resuming(&cursor)).await.unwrap();
    assert_eq!(link.state, SessionState::Resumed);
    assert_eq!(link.heard(), [1]);
}

#[tokio::test]
async fn ls_19_a_slow_client_loses_its_socket_only_and_resumes() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let mut quick = rig.attach(&app).await.unwrap();
    let slow = rig
        .attach_by(
            &app.resuming(&quick.cursor),
            Outbound::with_bounds(1_000, 100),
        )
        .await
        .unwrap();
    let cursor = slow.cursor.clone();
    for n in 0..50 {
        rig.announce(n).await;
    }
    assert_eq!(slow.outbound.close_reason(), Some(Reason::SlowConsumer));
    assert_eq!(slow.outbound.queued_bytes(), 0);
    assert_eq!(quick.heard().len(), 50, "the other connection goes on");
    drop(slow);
    let mut again = rig.attach(&app.resuming(&cursor)).await.unwrap();
    assert_eq!(again.state, SessionState::Resumed);
    assert_eq!(again.heard(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn inv_8_a_probe_attaches_to_nothing_and_leaves_no_trace() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let other_key = App {
        key: ClientSessionKey::from_random([7; 16]),
        purpose: Purpose::Probe,
        ..app.clone()
    };
    let before = rig.ledger.sessions().await.unwrap().len();
    let admission = rig
        .ledger
        .admit(app.device, &other_key.hello())
        .await
        .unwrap();
    assert!(admission.session().is_none());
    assert_eq!(rig.ledger.sessions().await.unwrap().len(), before);

    let stranger = App {
        purpose: Purpose::Probe,
        ..App::new()
    };
    let refusal = rig
        .ledger
        .admit(stranger.device, &stranger.hello())
        .await
        .unwrap_err();
    assert_eq!(refusal.refusal.reason, Reason::DeviceUnknown);
}

#[tokio::test]
async fn a_hello_without_ready_changes_nothing() {
    let rig = Rig::new();
    let mut app = App::new();
    let pairing = rig
        .ledger
        .create_pairing(
            Duration::from_secs(60),
            false,
            bowline_daemon::ledger::OfferedGrant::default(),
        )
        .await
        .unwrap();
    app.token = Some(pairing.token);
    for _ in 0..3 {
        rig.admit_pairing(&app).await.unwrap();
    }
    assert!(rig.ledger.sessions().await.unwrap().is_empty());
    assert!(rig.ledger.devices().await.unwrap().is_empty());
    rig.attach(&app).await.unwrap();
    assert_eq!(rig.ledger.devices().await.unwrap().len(), 1);
}

#[tokio::test]
async fn ls_18_a_pairing_token_works_once() {
    let rig = Rig::new();
    let pairing = rig
        .ledger
        .create_pairing(
            Duration::from_secs(60),
            false,
            bowline_daemon::ledger::OfferedGrant::default(),
        )
        .await
        .unwrap();
    let token = Some(pairing.token);
    let (mut first, mut second) = (App::new(), App::new());
    first.token.clone_from(&token);
    second.token = token;
    // Both are promised; only the first to be ready is paired.
    let late = rig.admit_pairing(&second).await.unwrap();
    rig.attach(&first).await.unwrap();
    let refusal = rig.pair(late).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::PairingTokenInvalid);
    let refusal = rig.attach(&second).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::PairingTokenInvalid);
    // A client that never heard that it worked offers it again.
    rig.attach(&first).await.unwrap();
}

#[tokio::test]
async fn ls_18_a_pairing_token_expires() {
    let rig = Rig::new();
    let ttl = Duration::from_secs(60);
    let pairing = rig
        .ledger
        .create_pairing(ttl, false, bowline_daemon::ledger::OfferedGrant::default())
        .await
        .unwrap();
    assert_eq!(pairing.expires_at, crate::rig::BEGINNING + 60_000);
    let mut app = App::new();
    app.token = Some(pairing.token);
    rig.clock().advance(ttl);
    let refusal = rig.attach(&app).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::PairingTokenInvalid);
    app.token = Some(PairingToken::from_bytes([9; 16]));
    let refusal = rig.attach(&app).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::PairingTokenInvalid);
    app.token = None;
    let refusal = rig.attach(&app).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::DeviceUnknown);
}

#[tokio::test]
async fn a_session_key_belongs_to_one_device() {
    let rig = Rig::new();
    let (mine, other) = (rig.paired().await, rig.paired().await);
    let thief = App {
        key: mine.key.clone(),
        ..other
    };
    let refusal = rig.attach(&thief).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::SessionKeyConflict);
    let rig = rig.restart().await;
    let refusal = rig.attach(&thief).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::SessionKeyConflict);
}

#[tokio::test]
async fn ls_18_revoking_a_device_cuts_its_connections_and_ends_its_sessions() {
    let rig = Rig::new();
    let (mut mine, other) = (rig.paired().await, rig.paired().await);
    let link = rig.attach(&mine).await.unwrap();
    let others = rig.attach(&other).await.unwrap();
    let promised = rig.ledger.admit(mine.device, &mine.hello()).await.unwrap();
    let id = DeviceId::of_public_key(&mine.device);
    rig.ledger.revoke(id.clone()).await.unwrap();
    assert_eq!(link.outbound.close_reason(), Some(Reason::DeviceRevoked));
    assert_eq!(others.outbound.close_reason(), None);
    assert_eq!(rig.ledger.sessions().await.unwrap().len(), 1);
    let refusal = rig
        .keep_promise(promised, Outbound::new())
        .await
        .err()
        .unwrap();
    assert_eq!(refusal.reason, Reason::DeviceRevoked);
    drop(link);

    let rig = rig.kill();
    let refusal = rig.attach(&mine).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::DeviceRevoked);
    let devices = rig.ledger.devices().await.unwrap();
    assert!(devices.iter().any(|d| d.device_id == id && d.revoked));

    let pairing = rig
        .ledger
        .create_pairing(
            Duration::from_secs(60),
            false,
            bowline_daemon::ledger::OfferedGrant::default(),
        )
        .await
        .unwrap();
    mine.token = Some(pairing.token);
    let link = rig.attach(&mine).await.unwrap();
    assert_eq!(link.state, SessionState::New, "paired anew");
}

#[tokio::test]
async fn revoking_an_unknown_device_is_not_found() {
    let rig = Rig::new();
    let id = DeviceId::of_public_key(&App::new().device);
    let error = rig.ledger.revoke(id).await.unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::NotFound));
}

#[tokio::test]
async fn sessions_are_bounded_and_the_one_detached_longest_is_forgotten() {
    let rig = Rig::with(|options| options.max_sessions = 2);
    let oldest = rig.paired().await;
    rig.settle().await;
    rig.clock().advance(Duration::from_secs(1));
    let middle = rig.paired().await;
    rig.settle().await;
    let _held = rig.attach(&middle).await.unwrap();
    let newest = rig.paired().await;
    let keys: Vec<_> = rig
        .ledger
        .sessions()
        .await
        .unwrap()
        .into_iter()
        .map(|s| s.external_session_key)
        .collect();
    assert_eq!(keys, [middle.key.external(), newest.key.external()]);
    assert!(!keys.contains(&oldest.key.external()));

    let _held_too = rig.attach(&newest).await.unwrap();
    let refusal = rig.attach(&oldest).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::SessionCapacity);
    assert!(refusal.retry_after_ms.is_some());
}

#[tokio::test]
async fn the_local_socket_hears_only_of_what_it_subscribed_to() {
    use bowline_daemon::{ledger::Audience, outbound::ConnectionHandle};
    use bowline_machines::Path;
    use bowline_protocol::SessionEvent;

    let rig = Rig::new();
    let outbound = Outbound::new();
    let attachment = rig
        .ledger
        .attach_local(ConnectionHandle {
            id: 900_000,
            path: Path::Local,
            outbound: outbound.clone(),
        })
        .await
        .unwrap();
    rig.announce(1).await;
    assert_eq!(outbound.queued_bytes(), 0);
    let session = attachment.session().clone();
    rig.ledger
        .write(move |tx| {
            let mine = crate::rig::agent("agt_mine");
            tx.subscribe(&session, mine.as_str())?;
            let event = SessionEvent::AgentRemoved {
                agent_id: mine.clone(),
            };
            tx.emit(Audience::Everyone(mine.as_str()), &event)
        })
        .await
        .unwrap();
    let mut frames = Vec::new();
    outbound.drain_into(&mut frames);
    assert_eq!(frames.len(), 1);
    assert!(String::from_utf8_lossy(&frames[0]).contains(r#""seq":1"#));
    assert!(rig.ledger.sessions().await.unwrap().is_empty());
    drop(attachment);
    rig.announce(2).await;
    assert_eq!(outbound.queued_bytes(), 0);
}
