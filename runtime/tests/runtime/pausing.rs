//! Suspended apps: which files and locks are released, in which order, and what resumes afterwards
//! (LS-14).

use std::{
    fs::{self, File, TryLockError},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bowline_protocol::{PublicKey, ServerId, methods::name};
use bowline_runtime::{
    HostRecord, Intent, IntentError, Outcome, PairError, Receipt, Runtime, StorageTrouble,
    storage::StorageError,
};
use bowline_testkit::eventually;
use tokio::{
    task::yield_now,
    time::{sleep, timeout},
};

use crate::rig::{LONG, Rig, agent_id, is_ready, offer, server_id, settings, transport_key};

/// Whether another process would find a lock in the folder.
pub(crate) fn is_locked(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let locks = entries.filter(|entry| entry.path().extension().is_some_and(|it| it == "lock"));
    locks.into_iter().any(|lock| {
        let file = File::options().write(true).open(lock.path()).unwrap();
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    })
}

fn prompt(text: &str) -> Intent {
    Intent::SendPrompt {
        agent_id: agent_id(1),
        text: text.into(),
    }
}

fn send(runtime: &Runtime) -> Result<Receipt, IntentError> {
    runtime.send(&server_id(), prompt("hello"))
}

fn is_paused(sent: Result<Receipt, IntentError>) -> bool {
    matches!(sent, Err(IntentError::Storage(StorageError::Paused)))
}

/// The platform's observer does not wait for completion: the later call wins, whatever is still in
/// progress.
#[tokio::test(start_paused = true)]
async fn ls_14_of_a_pause_and_a_resume_at_once_the_later_one_counts() {
    let rig = Rig::online(&["a:1"]).await;
    for _ in 0..20 {
        let one = (rig.runtime.pause(), rig.runtime.pause());
        let other = (rig.runtime.resume(), rig.runtime.resume());
        // Awaited in the opposite order.
        let (first, second, (), ()) = tokio::join!(other.1, other.0, one.1, one.0);
        first.and(second).unwrap();
        assert!(is_locked(rig.folder()), "its journal is its own again");
        let sent = send(&rig.runtime).unwrap();
        timeout(LONG, sent.outcome()).await.unwrap().unwrap();

        let one = (rig.runtime.resume(), rig.runtime.resume());
        let other = (rig.runtime.pause(), rig.runtime.pause());
        let ((), (), first, second) = tokio::join!(other.1, other.0, one.1, one.0);
        for resumed in [first, second] {
            assert!(
                matches!(resumed, Ok(()) | Err(StorageError::Paused)),
                "{resumed:?}"
            );
        }
        assert!(!is_locked(rig.folder()), "the system would end the app");
        assert!(is_paused(send(&rig.runtime)));
        rig.runtime.resume().await.unwrap();
    }
}

/// Probes stop in the background; the latest event decides about them too.
#[tokio::test(start_paused = true)]
async fn ls_14_probes_go_on_after_a_pause_that_was_taken_back() {
    let rig = Rig::online(&["a:1", "b:2"]).await;
    let probes = || rig.daemon.state().hellos.len();
    let (pause, resume) = (rig.runtime.pause(), rig.runtime.resume());
    let ((), resumed) = tokio::join!(pause, resume);
    resumed.unwrap();
    let before = probes();
    sleep(Duration::from_secs(35)).await;
    assert!(probes() > before, "the host is measured");
    let (resume, pause) = (rig.runtime.resume(), rig.runtime.pause());
    let _ = tokio::join!(pause, resume);
    sleep(Duration::from_secs(35)).await;
    let before = probes();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(probes(), before, "no probes");
}

#[tokio::test(start_paused = true)]
async fn ls_14_a_pause_that_nobody_waits_for_is_made_all_the_same() {
    let rig = Rig::online(&["a:1"]).await;
    drop(rig.runtime.pause());
    eventually("released", async || !is_locked(rig.folder())).await;
    drop(rig.runtime.resume());
    eventually("taken up", async || send(&rig.runtime).is_ok()).await;
}

#[tokio::test(start_paused = true)]
async fn bx_1_intents_that_come_and_end_around_pauses_are_neither_lost_nor_done_twice() {
    let mut rig = Rig::online(&["a:1"]).await;
    let delay = (name::AGENTS_SEND, Duration::from_millis(7));
    rig.daemon.state().delay.extend([delay]);
    let mut waiting = Vec::new();
    for round in 0..60_u32 {
        waiting.extend(send(&rig.runtime));
        sleep(Duration::from_millis(u64::from(round % 9))).await;
        let pause = rig.runtime.pause();
        waiting.extend(send(&rig.runtime));
        pause.await;
        assert!(!is_locked(rig.folder()));
        sleep(Duration::from_millis(u64::from(round % 5))).await;
        let resume = rig.runtime.resume();
        waiting.extend(send(&rig.runtime));
        resume.await.unwrap();
        waiting.push(send(&rig.runtime).unwrap());
    }
    assert!(waiting.len() >= 60);
    let sent: Vec<_> = waiting.iter().map(|sent| sent.id.to_string()).collect();
    for sent in waiting {
        let outcome = timeout(LONG, sent.outcome()).await.unwrap();
        assert!(matches!(outcome, Some(Outcome::Done { .. })), "{outcome:?}");
    }
    let arrivals = rig.daemon.state().arrivals.len();
    assert_eq!(arrivals, sent.len(), "each once");
    rig.restart().await;
    let host = rig.until("online", is_ready).await;
    assert_eq!(host.intents.pending, 0, "all that ended is written down");
}

#[tokio::test(start_paused = true)]
async fn ls_14_a_runtime_that_is_closed_or_dropped_in_a_pause_holds_nothing_and_keeps_all() {
    let mut rig = Rig::online(&["a:1"]).await;
    for is_dropped in [false, true] {
        rig.daemon.state().mute.insert(name::AGENTS_SEND);
        let sent = send(&rig.runtime).unwrap();
        let id = sent.id.to_string();
        rig.runtime.pause().await;
        if !is_dropped {
            rig.runtime.close().await;
            assert!(!is_locked(rig.folder()));
        }
        rig.reopen();
        rig.daemon.state().mute.clear();
        eventually("done", async || rig.daemon.state().done.contains(&id)).await;
        rig.until("none waits", |host| host.intents.pending == 0)
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn ls_14_a_pause_during_a_close_waits_for_its_end() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let _in_flight = send(&rig.runtime).unwrap();
    eventually("arrived", async || rig.daemon.state().arrivals.len() == 1).await;
    let close = tokio::spawn({
        let runtime = rig.runtime.clone();
        async move { runtime.close().await }
    });
    while !rig.runtime.is_closed() {
        yield_now().await;
    }
    rig.runtime.pause().await;
    assert!(!is_locked(rig.folder()));
    close.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pairing_is_refused_at_once_in_a_pause_and_the_offer_stays_good() {
    let rig = Rig::new(&["a:1"]);
    rig.runtime.pause().await;
    let offer = offer(&["a:1"], &transport_key());
    let paired = rig.runtime.pair(&offer).await;
    assert!(
        matches!(paired, Err(PairError::Storage(StorageError::Paused))),
        "{paired:?}"
    );
    assert!(rig.daemon.state().hellos.is_empty(), "nothing was dialled");
    rig.runtime.resume().await.unwrap();
    rig.runtime.pair(&offer).await.unwrap();
}

/// The daemon's answer consumes the offer's token, so the answer must not be lost.
#[tokio::test(start_paused = true)]
async fn bx_3_a_host_that_proves_itself_in_a_pause_is_stored_when_that_is_over() {
    for is_given_up in [false, true] {
        let rig = Rig::new(&["a:1"]);
        let keys = Arc::clone(&rig.daemon.state().keys);
        keys.approve_after(Duration::from_secs(1));
        let pairing = tokio::spawn({
            let (runtime, offer) = (rig.runtime.clone(), offer(&["a:1"], &transport_key()));
            async move { runtime.pair(&offer).await }
        });
        eventually("dialled", async || !rig.daemon.state().hellos.is_empty()).await;
        rig.runtime.pause().await;
        sleep(Duration::from_secs(5)).await;
        assert!(!is_locked(rig.folder()));
        assert!(rig.runtime.known_hosts().unwrap().is_empty());
        assert!(!pairing.is_finished());
        if is_given_up {
            pairing.abort();
        }
        // A resume that is undone before the host could be stored.
        for turns in 0..4 {
            let resume = rig.runtime.resume();
            for _ in 0..turns {
                yield_now().await;
            }
            let pause = rig.runtime.pause();
            let (_, ()) = tokio::join!(resume, pause);
        }
        rig.runtime.resume().await.unwrap();
        if !is_given_up {
            timeout(LONG, pairing).await.unwrap().unwrap().unwrap();
        }
        rig.until("online", is_ready).await;
        assert_eq!(rig.runtime.known_hosts().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pairing_that_waits_for_the_end_of_a_pause_ends_with_the_runtime() {
    let rig = Rig::new(&["a:1"]);
    let keys = Arc::clone(&rig.daemon.state().keys);
    keys.approve_after(Duration::from_secs(1));
    let offer = offer(&["a:1"], &transport_key());
    let pause = async {
        eventually("dialled", async || !rig.daemon.state().hellos.is_empty()).await;
        rig.runtime.pause().await;
        sleep(Duration::from_secs(5)).await;
        rig.runtime.close().await;
    };
    let (paired, ()) = tokio::join!(rig.runtime.pair(&offer), pause);
    assert!(matches!(paired, Err(PairError::Closed)), "{paired:?}");
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_cannot_have_its_files_says_so_and_is_tried_again() {
    let rig = Rig::online(&["a:1"]).await;
    // Between two adoption checks.
    sleep(Duration::from_secs(30)).await;
    rig.runtime.pause().await;
    let name = format!("outbox-{}", server_id());
    let lock = |number: usize| rig.folder().join(format!("{name}.{number}.lock"));
    for number in 0..64 {
        let _ = fs::remove_file(lock(number));
        fs::create_dir(lock(number)).unwrap();
    }
    let resumed = rig.runtime.resume().await;
    assert!(
        matches!(resumed, Err(StorageError::Io { .. })),
        "{resumed:?}"
    );
    let refused = send(&rig.runtime);
    assert!(
        matches!(
            refused,
            Err(IntentError::Storage(StorageError::Unavailable { .. }))
        ),
        "{refused:?}"
    );
    let host = rig.until("told", |host| host.storage.is_some()).await;
    let trouble = host.storage.clone().unwrap();
    assert_eq!(trouble.kind, StorageTrouble::Unavailable);
    assert!(trouble.message.contains(&name), "{}", trouble.message);
    for number in 0..64 {
        fs::remove_dir(lock(number)).unwrap();
    }
    let again = rig.until("again", |host| host.storage.is_none());
    timeout(Duration::from_secs(10), again).await.unwrap();
    let sent = send(&rig.runtime).unwrap();
    timeout(LONG, sent.outcome()).await.unwrap().unwrap();
}

/// A share extension uses the same folder.
#[tokio::test(start_paused = true)]
async fn hosts_that_another_process_paired_or_forgot_come_and_go_with_a_resume() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let waiting = send(&rig.runtime).unwrap();
    rig.runtime.pause().await;
    let store = |hosts: &[&HostRecord]| {
        let stored = serde_json::json!({ "version": 1, "hosts": hosts });
        fs::write(rig.folder().join("hosts.json"), stored.to_string()).unwrap();
    };
    let here = rig.runtime.known_hosts().unwrap().remove(0);
    let other = HostRecord {
        server_id: ServerId::of_public_key(&[9; 32]),
        name: "other".into(),
        transport_key: PublicKey::from_bytes([9; 32]),
        psk: None,
        addresses: Vec::new(),
    };
    let renamed = HostRecord {
        name: "renamed".into(),
        ..here.clone()
    };
    let names = || -> Vec<String> {
        let snapshot = Arc::clone(&rig.runtime.subscribe().borrow());
        let mut names: Vec<_> = snapshot.hosts.iter().map(|it| it.name.clone()).collect();
        names.sort();
        names
    };
    store(&[&renamed, &other]);
    rig.runtime.resume().await.unwrap();
    eventually("there", async || names() == ["other", "renamed"]).await;
    // A missing registry does not mean that every host was forgotten.
    rig.runtime.pause().await;
    fs::remove_file(rig.folder().join("hosts.json")).unwrap();
    rig.runtime.resume().await.unwrap();
    assert_eq!(names(), ["other", "renamed"]);
    rig.runtime.pause().await;
    store(&[&other]);
    rig.runtime.resume().await.unwrap();
    assert_eq!(names(), ["other"]);
    let outcome = timeout(LONG, waiting.outcome()).await.unwrap();
    assert_eq!(outcome, Some(Outcome::Abandoned));
    let gone = send(&rig.runtime);
    assert!(matches!(gone, Err(IntentError::UnknownHost(_))), "{gone:?}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_runtime_holds_nothing_although_a_stream_of_it_is_kept() {
    let rig = Rig::online(&["a:1"]).await;
    let stream = rig.runtime.timeline(&server_id(), &agent_id(1)).await;
    let stream = stream.unwrap();
    assert!(is_locked(rig.folder()));
    rig.runtime.close().await;
    assert!(!is_locked(rig.folder()));
    drop(stream);
}

/// The app starts again while its previous process, or another one on the same profile, still runs.
#[tokio::test(start_paused = true)]
async fn bx_1_what_a_process_that_ends_later_leaves_behind_is_offered_by_the_one_that_lives() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let left = send(&rig.runtime).unwrap().id.to_string();
    let other = Runtime::with(
        Arc::new(bowline_runtime::storage::FileStorage::open(rig.folder()).unwrap()),
        Arc::new(rig.net.clone()),
        settings(),
    );
    let other = other.unwrap();
    // Long after the other process has started.
    sleep(Duration::from_secs(30)).await;
    rig.runtime.close().await;
    rig.daemon.state().mute.clear();
    rig.daemon.state().arrivals.clear();
    timeout(
        Duration::from_secs(70),
        eventually("done", async || rig.daemon.state().done.contains(&left)),
    )
    .await
    .unwrap();
    other.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_ui_does_not_wait_for_a_file_that_another_process_has_locked() {
    let rig = Rig::online(&["a:1"]).await;
    let lock = rig.folder().join("hosts.json.lock");
    let lock = File::options().write(true).open(lock).unwrap();
    lock.lock().unwrap();
    let forgetting = tokio::spawn({
        let runtime = rig.runtime.clone();
        async move { runtime.forget(&server_id()).await }
    });
    yield_now().await;
    // In wall-clock time: a thread would block.
    let start = std::time::Instant::now();
    rig.runtime.foreground();
    send(&rig.runtime).unwrap();
    rig.runtime.agent_screen(&server_id(), agent_id(1)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    drop(lock);
    assert!(forgetting.await.unwrap().unwrap());
}
