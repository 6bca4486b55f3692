//! Forgetting, pairing again, closing: which driver may publish a host, and what ends when.

use std::{sync::Arc, time::Duration};

use bowline_protocol::{
    Advice, Reason, ServerId, TransportKey,
    methods::{Empty, name},
};
use bowline_runtime::{
    CallError, HostRecord, HostState, Intent, IntentError, OpenError, Outcome, PairError, Runtime,
    RuntimeConfig, ScreenError, TimelineError, storage::StorageError,
};
use bowline_testkit::{eventually, peer::Keys};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    daemon::Daemon,
    rig::{LONG, Rig, agent_id, is_ready, offer, server_id, transport_key},
};

fn prompt() -> Intent {
    Intent::SendPrompt {
        agent_id: agent_id(1),
        text: "hello".into(),
    }
}

#[tokio::test]
async fn the_first_snapshot_has_every_host_that_is_known_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let config = RuntimeConfig::in_folder(folder.path(), "test", "0");
    Runtime::create(&config).unwrap().close().await;
    let hosts: Vec<HostRecord> = (0..20)
        .map(|n| HostRecord {
            server_id: ServerId::of_public_key(&[n; 32]),
            name: format!("host {n}"),
            transport_key: transport_key().public(),
            psk: Some(Keys::STORED),
            addresses: Vec::new(),
        })
        .collect();
    let stored = serde_json::json!({ "version": 1, "hosts": hosts });
    std::fs::write(folder.path().join("hosts.json"), stored.to_string()).unwrap();
    let runtime = Runtime::create(&config).unwrap();
    // Without running any driver.
    let snapshot = Arc::clone(&runtime.subscribe().borrow());
    assert_eq!(snapshot.hosts.len(), 20);
    assert!(
        snapshot
            .hosts
            .iter()
            .all(|host| host.state == HostState::Booting)
    );
    assert!(runtime.directory().current().loading);
    runtime.close().await;
    // The identity of these hosts is lost: no new one is created.
    std::fs::remove_file(folder.path().join("profile.json")).unwrap();
    let error = Runtime::create(&config).err().unwrap();
    assert!(
        matches!(error, OpenError::IdentityMissing { .. }),
        "{error}"
    );
    assert!(!folder.path().join("profile.json").exists());
}

#[tokio::test]
async fn inv_9_a_folder_that_cannot_be_used_is_a_typed_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    std::fs::write(&file, b"x").unwrap();
    let config = RuntimeConfig::in_folder(file.join("within"), "test", "0");
    let error = Runtime::create(&config).err().unwrap();
    assert!(
        matches!(error, OpenError::Storage(StorageError::Io { .. })),
        "{error}"
    );
    let nowhere = RuntimeConfig::default();
    let error = Runtime::create(&nowhere).err().unwrap();
    assert!(matches!(error, OpenError::NoStorage), "{error}");
    std::fs::write(folder.path().join("profile.json"), b"{").unwrap();
    let config = RuntimeConfig::in_folder(folder.path(), "test", "0");
    let error = Runtime::create(&config).err().unwrap();
    assert!(
        matches!(error, OpenError::Storage(StorageError::Corrupt { .. })),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_forgotten_and_paired_again_is_there_to_stay() {
    let rig = Rig::online(&["a:1"]).await;
    // Its client has a request in flight, so the old driver ends late.
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let waiting = rig.runtime.send(&server_id(), prompt()).unwrap();
    eventually("arrived", async || rig.daemon.state().arrivals.len() == 1).await;
    assert!(rig.runtime.forget(&server_id()).await.unwrap());
    assert!(rig.runtime.subscribe().borrow().hosts.is_empty(), "at once");
    let outcome = timeout(LONG, waiting.outcome()).await.unwrap();
    assert_eq!(outcome, Some(Outcome::Abandoned));
    let offer = offer(&["a:1"], &transport_key());
    rig.runtime.pair(&offer).await.unwrap();
    rig.until("online", is_ready).await;
    let mut snapshots = rig.runtime.subscribe();
    let gone = snapshots.wait_for(|snapshot| snapshot.hosts.is_empty());
    let gone = timeout(Duration::from_secs(30), gone).await;
    assert!(
        gone.is_err(),
        "the old driver took the new one's place away"
    );
    assert_eq!(rig.daemon.state().arrivals.len(), 1, "abandoned for good");
}

#[tokio::test(start_paused = true)]
async fn inv_12_close_is_bounded_ends_every_wait_and_says_so() {
    let rig = Rig::online(&["a:1"]).await;
    let stream = rig.runtime.timeline(&server_id(), &agent_id(1)).await;
    let mut stream = stream.unwrap();
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let in_flight = rig.runtime.send(&server_id(), prompt()).unwrap();
    eventually("arrived", async || rig.daemon.state().arrivals.len() == 1).await;
    let just_now = rig.runtime.send(&server_id(), prompt()).unwrap();
    let start = Instant::now();
    rig.runtime.close().await;
    assert!(start.elapsed() < Duration::from_secs(3));
    // Although the stream still holds a reference to the host.
    for waiting in [in_flight, just_now] {
        let outcome = timeout(LONG, waiting.outcome()).await;
        assert_eq!(outcome.unwrap(), None, "kept for the next process");
    }
    assert_eq!(timeout(LONG, stream.next()).await.unwrap().unwrap(), None);
    assert_eq!(
        rig.runtime.subscribe().borrow().hosts[0].state,
        HostState::Stopped
    );
    eventually("gone", async || rig.daemon.attached("a:1") == 0).await;
    let refused = rig.runtime.send(&server_id(), prompt());
    assert!(matches!(refused, Err(IntentError::Closed)));
    let offer = offer(&["a:1"], &transport_key());
    let refused = rig.runtime.pair(&offer).await;
    assert!(matches!(refused, Err(PairError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn inv_12_a_close_ends_every_subscription_after_its_last_value() {
    let rig = Rig::online(&["a:1"]).await;
    let mut hosts = rig.runtime.subscribe();
    let mut directory = rig.runtime.directory();
    let mut screen = rig.runtime.agent_screen(&server_id(), agent_id(1)).unwrap();
    rig.runtime.close().await;
    // Although the runtime is still referenced.
    let last = timeout(LONG, async {
        while hosts.changed().await.is_ok() {
            hosts.borrow_and_update();
        }
        Arc::clone(&hosts.borrow())
    });
    assert_eq!(last.await.unwrap().hosts[0].state, HostState::Stopped);
    let end = async { while directory.next().await.is_some() {} };
    timeout(LONG, end).await.unwrap();
    let end = async { while screen.next().await.is_ok() {} };
    timeout(LONG, end).await.unwrap();
    // A late subscriber sees the end at once.
    let mut late = rig.runtime.subscribe();
    assert_eq!(late.borrow().hosts[0].state, HostState::Stopped);
    assert!(timeout(LONG, late.changed()).await.unwrap().is_err());
    let mut late = rig.runtime.directory();
    assert!(timeout(LONG, late.next()).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn after_a_close_every_call_says_closed_whatever_was_known_before() {
    let rig = Rig::online(&["a:1"]).await;
    let runtime = &rig.runtime;
    assert!(!runtime.is_closed());
    runtime.close().await;
    assert!(runtime.is_closed());
    for server_id in [server_id(), ServerId::of_public_key(&[99; 32])] {
        let sent = runtime.send(&server_id, prompt());
        assert!(matches!(sent, Err(IntentError::Closed)), "{sent:?}");
        let asked = runtime
            .query::<_, Empty>(&server_id, name::SYSTEM_INFO, &Empty {})
            .await;
        assert_eq!(asked.unwrap_err(), CallError::Closed);
        let stream = runtime.timeline(&server_id, &agent_id(1)).await;
        assert_eq!(stream.err(), Some(TimelineError::Closed));
        let screen = runtime.agent_screen(&server_id, agent_id(1));
        assert_eq!(screen.err(), Some(ScreenError::Closed));
        let forgotten = runtime.forget(&server_id).await;
        assert!(matches!(forgotten, Err(StorageError::Closed)));
    }
    runtime.pause().await;
    let resumed = runtime.resume().await;
    assert!(matches!(resumed, Err(StorageError::Closed)), "{resumed:?}");
    assert!(runtime.is_closed());
    assert_eq!(runtime.known_hosts().unwrap().len(), 1, "nothing is lost");
}

#[tokio::test(start_paused = true)]
async fn a_second_close_waits_for_the_same_end_also_after_the_first_was_given_up() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let _in_flight = rig.runtime.send(&server_id(), prompt()).unwrap();
    eventually("arrived", async || rig.daemon.state().arrivals.len() == 1).await;
    let given_up = timeout(Duration::from_millis(1), rig.runtime.close()).await;
    assert!(given_up.is_err(), "what is in flight has its time");
    rig.runtime.close().await;
    assert_eq!(
        rig.runtime.subscribe().borrow().hosts[0].state,
        HostState::Stopped
    );
    assert_eq!(rig.daemon.attached("a:1"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_a_host_that_was_forgotten_just_before() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let _in_flight = rig.runtime.send(&server_id(), prompt()).unwrap();
    eventually("arrived", async || rig.daemon.state().arrivals.len() == 1).await;
    assert!(rig.runtime.forget(&server_id()).await.unwrap());
    rig.runtime.close().await;
    assert_eq!(rig.daemon.attached("a:1"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_close_ends_a_pairing_that_waits_for_an_answer() {
    let rig = Rig::new(&[]);
    let _silent = rig.net.listen("silent:2");
    let offer = offer(&["silent:2"], &transport_key());
    let start = Instant::now();
    let close = async {
        sleep(Duration::from_millis(100)).await;
        rig.runtime.close().await;
    };
    let (paired, ()) = tokio::join!(rig.runtime.pair(&offer), close);
    assert!(matches!(paired, Err(PairError::Closed)), "{paired:?}");
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn bx_1_the_next_process_offers_what_the_last_one_kept() {
    let mut rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let waiting = rig.runtime.send(&server_id(), prompt()).unwrap();
    let id = waiting.id.to_string();
    eventually("arrived", async || rig.daemon.state().arrivals.len() == 1).await;
    rig.restart().await;
    rig.daemon.state().mute.clear();
    eventually("done", async || rig.daemon.state().done.contains(&id)).await;
    rig.until("none waits", |host| host.intents.pending == 0)
        .await;
}

/// The daemon's identity is the same, its transport key is new.
#[tokio::test(start_paused = true)]
async fn tr_1_a_host_with_another_key_is_reached_once_it_was_forgotten_and_paired_again() {
    let rig = Rig::online(&["a:1"]).await;
    let key = TransportKey::from_private([9; 32]);
    let renewed = Daemon::new(Keys::new([7; 32], [9; 32], [1; 16]));
    renewed.listen(&rig.net, "a:1");
    rig.daemon.cut("a:1", Reason::ServerRestarting);
    let host = rig
        .until("told", |host| {
            let error = host.last_error.as_ref();
            error.is_some_and(|error| error.reason == Reason::CryptoFailed)
        })
        .await;
    let error = host.last_error.clone().unwrap();
    // Anybody on the path can bring this about, so it is tried again.
    assert_eq!(error.advice, Advice::Wait);
    assert!(
        error.message.contains("at a:1 does not have the key"),
        "{error:?}"
    );
    let offer = offer(&["a:1"], &key);
    let refused = rig.runtime.pair(&offer).await;
    assert!(
        matches!(refused, Err(PairError::KeyChanged { .. })),
        "{refused:?}"
    );
    rig.runtime.forget(&server_id()).await.unwrap();
    rig.runtime.pair(&offer).await.unwrap();
    rig.until("online", is_ready).await;
    assert_eq!(renewed.attached("a:1"), 1);
}

#[test]
fn a_runtime_opened_outside_of_tokio_is_an_error_and_one_dropped_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let open = || bowline_runtime::Runtime::open(folder.path(), crate::rig::settings());
    assert!(open().is_err());
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let runtime = tokio.block_on(async { open().unwrap() });
    drop(tokio);
    drop(runtime);
}

#[tokio::test(start_paused = true)]
async fn hr_1_a_revoked_device_is_told_so_and_pairing_again_helps() {
    let rig = Rig::online(&["a:1"]).await;
    let refuse = ("a:1".to_owned(), Reason::DeviceRevoked);
    rig.daemon.state().refuse.extend([refuse]);
    rig.daemon.dismiss("a:1", Reason::DeviceRevoked);
    let host = rig
        .until("given up", |host| host.state == HostState::Error)
        .await;
    let error = host.last_error.clone().unwrap();
    assert_eq!(error.reason, Reason::DeviceRevoked);
    sleep(Duration::from_secs(60)).await;
    rig.daemon.state().refuse.clear();
    let offer = offer(&["a:1"], &transport_key());
    rig.runtime.pair(&offer).await.unwrap();
    let host = rig.until("online", is_ready).await;
    assert_eq!(host.last_error, None);
}
