//! Blobs as apps put and get them: the whole daemon and the whole runtime, with proxies between
//! them that cut, refuse and lead elsewhere (LD-8).

use std::time::Duration;

use bowline_protocol::{BlobHash, RpcReason, blob::BlobOf};
use bowline_runtime::{
    Blob, BlobSink, BlobSource, Transfer, TransferError, TransferProgress, TransferState,
};
use serde_json::json;
use tokio::time::timeout;

use crate::support::{
    PATIENCE, TestDaemon,
    app::App,
    gallery::{blob, services},
    within,
};

async fn gallery() -> TestDaemon {
    TestDaemon::of(services(), |_| {}).await
}

async fn outcome(transfer: &Transfer) -> Result<Blob, TransferError> {
    within("the blob", transfer.outcome()).await
}

fn put(app: &App, bytes: &[u8]) -> Transfer {
    let source = BlobSource::Bytes(bytes.to_vec().into());
    app.runtime.put_blob(&app.host, source).unwrap()
}

fn get(app: &App, hash: BlobHash, sink: BlobSink) -> Transfer {
    app.runtime.get_blob(&app.host, hash, None, sink).unwrap()
}

/// Waits until that many bytes are there.
async fn moved(transfer: &Transfer, bytes: u64) -> TransferProgress {
    let mut progress = transfer.progress();
    let is_there = |progress: &TransferProgress| {
        progress.done >= bytes && progress.state != TransferState::Reading
    };
    let found = within("progress", progress.wait_for(is_there)).await;
    *found.unwrap()
}

/// Lets so many bytes pass on each path, and waits until `bytes` of a transfer are there. However
/// slow this task is, the transfer stops soon after. What connections that are lost held back
/// counts too, so that more is let through when nothing comes.
async fn moved_within(app: &App, pass: u64, transfer: &Transfer, bytes: u64) -> TransferProgress {
    let moving = async {
        loop {
            app.proxies.iter().for_each(|proxy| proxy.pass_only(pass));
            if let Ok(moved) = timeout(Duration::from_secs(2), moved(transfer, bytes)).await {
                return moved;
            }
        }
    };
    within("the bytes", moving).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ld_8_a_blob_goes_there_and_back_over_cuts_and_switches_of_path() {
    let daemon = gallery().await;
    let app = App::paired(&daemon, 2).await;
    let steps = async |transfer: &Transfer| {
        for n in 1..=12 {
            let done = transfer.progress().borrow().done;
            moved_within(&app, 1 << 20, transfer, done + (1 << 19)).await;
            app.disturb(n);
            let state = transfer.progress().borrow().state;
            assert_ne!(state, TransferState::Done, "it was on its way in step {n}");
        }
        app.heal();
    };
    let (bytes, _) = blob(32 << 20, 1);
    let up = put(&app, &bytes);
    steps(&up).await;
    let put = outcome(&up).await.unwrap();
    assert_eq!((put.size, put.hash), (32 << 20, BlobHash::of(&bytes)));
    let last = *up.progress().borrow();
    assert_eq!(
        (last.state, last.done, last.total),
        (TransferState::Done, put.size, Some(put.size))
    );

    let file = app.folder.path().join("got");
    let down = get(&app, put.hash, BlobSink::File(file.clone()));
    steps(&down).await;
    outcome(&down).await.unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
    // In each direction at least the cut of both paths, and one before it: half a MiB went over
    // each new connection.
    let counters = app.runtime.counters(&app.host).unwrap();
    assert!(counters.resumed > 2, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ld_8_a_transfer_goes_on_after_a_restart_of_the_daemon_and_of_the_app() {
    let mut daemon = gallery().await;
    let mut app = App::paired(&daemon, 1).await;
    let (bytes, _) = blob(16 << 20, 2);
    let source = app.folder.path().join("source");
    std::fs::write(&source, &bytes).unwrap();
    let up = |app: &App| {
        let source = BlobSource::File(source.clone());
        app.runtime.put_blob(&app.host, source).unwrap()
    };
    // The network stops after some bytes, so that each end comes in the middle of the blob.
    app.proxies[0].pass_only(0);
    let first = up(&app);
    moved_within(&app, 3 << 20, &first, 1 << 20).await;
    app.proxies[0].refuse(true);
    app.proxies[0].cut();
    daemon = daemon.again(services()).await;
    app.proxies[0].set_target(daemon.address());
    app.proxies[0].refuse(false);
    let before = moved_within(&app, 4 << 20, &first, 3 << 20).await;
    assert_eq!(before.total, Some(16 << 20));
    // The app is killed: the next one asks what is there, which is all that was answered for.
    first.cancel();
    assert!(matches!(
        outcome(&first).await,
        Err(TransferError::Cancelled)
    ));
    app.proxies[0].cut();
    app.restart().await;
    app.proxies[0].pass_only(2 << 20);
    let second = up(&app);
    let mut progress = second.progress();
    let moves = progress.wait_for(|now| now.state == TransferState::Moving);
    let goes_on = *within("it moves", moves).await.unwrap();
    assert!(goes_on.done >= before.done, "{before:?}, then {goes_on:?}");
    app.proxies[0].thaw();
    let put = outcome(&second).await.unwrap();

    let file = app.folder.path().join("got");
    app.proxies[0].pass_only(0);
    let down = get(&app, put.hash, BlobSink::File(file.clone()));
    let before = moved_within(&app, 4 << 20, &down, 2 << 20).await;
    drop(down);
    app.proxies[0].refuse(true);
    app.proxies[0].cut();
    app.restart().await;
    daemon = daemon.again(services()).await;
    app.proxies[0].set_target(daemon.address());
    let down = get(&app, put.hash, BlobSink::File(file.clone()));
    // Every byte that was told of is in the file beside it, and is told of before the network is
    // back.
    let mut progress = down.progress();
    let waits = progress.wait_for(|now| now.state == TransferState::Waiting);
    let waits = *within("it waits", waits).await.unwrap();
    assert!(waits.done >= before.done, "{before:?}, then {waits:?}");
    app.proxies[0].refuse(false);
    app.proxies[0].thaw();
    let goes_on = moved(&down, 1).await;
    assert!(goes_on.done >= before.done, "{before:?}, then {goes_on:?}");
    outcome(&down).await.unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
    let left = std::fs::read_dir(app.folder.path()).unwrap();
    let part = |name: std::ffi::OsString| name.to_string_lossy().ends_with(".part");
    assert!(left.flatten().all(|file| !part(file.file_name())));
}

#[tokio::test]
async fn ld_8_a_refusal_is_the_outcome_and_what_is_wrong_on_disk_is_got_again() {
    let daemon = gallery().await;
    let app = App::paired(&daemon, 1).await;
    let other = App::paired(&daemon, 1).await;
    let (bytes, _) = blob(600_000, 3);
    let up = put(&app, &bytes);
    let hash = outcome(&up).await.unwrap().hash;
    let again = put(&app, &bytes);
    assert_eq!(outcome(&again).await.unwrap().hash, hash, "idempotent");
    let refused = get(&other, hash, BlobSink::Bytes);
    let Err(TransferError::Refused(error)) = outcome(&refused).await else {
        panic!("it is not for that device");
    };
    assert_eq!(error.reason(), Some(RpcReason::NotFound));
    assert_eq!(refused.progress().borrow().state, TransferState::Failed);
    // Through a row that refers to it.
    app.run("gallery.put", json!({"key": "hall/a", "blobs": [hash]}))
        .await;
    let params = serde_json::value::to_raw_value(&json!({"room": "hall"})).unwrap();
    let of = BlobOf {
        kind: bowline_protocol::live::LiveKind::Table,
        name: "gallery.images".to_owned(),
        params: Some(params.into()),
    };
    let got = other
        .runtime
        .get_blob(&other.host, hash, Some(of), BlobSink::Bytes);
    let got = outcome(&got.unwrap()).await.unwrap();
    assert!(got.bytes.unwrap() == bytes);
    // A damaged partial file.
    let file = app.folder.path().join("got");
    let part = format!("got.{}.part", &hash.to_string()[..16]);
    std::fs::write(app.folder.path().join(part), vec![9; 400_000]).unwrap();
    outcome(&get(&app, hash, BlobSink::File(file.clone())))
        .await
        .unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
    // One that is longer than the blob.
    let part = app
        .folder
        .path()
        .join(format!("got.{}.part", &hash.to_string()[..16]));
    std::fs::write(&part, vec![9; 700_000]).unwrap();
    outcome(&get(&app, hash, BlobSink::File(file.clone())))
        .await
        .unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
    let nowhere = app.folder.path().join("no/such/folder");
    let failed = get(&app, hash, BlobSink::File(nowhere.clone()));
    assert!(matches!(
        outcome(&failed).await,
        Err(TransferError::File { .. })
    ));
    let failed = app
        .runtime
        .put_blob(&app.host, BlobSource::File(nowhere))
        .unwrap();
    assert!(matches!(
        outcome(&failed).await,
        Err(TransferError::File { .. })
    ));
    // The runtime ends.
    app.proxies[0].refuse(true);
    app.proxies[0].cut();
    let waiting = put(&app, b"other");
    app.runtime.close().await;
    assert!(matches!(
        outcome(&waiting).await,
        Err(TransferError::Closed)
    ));
    assert!(matches!(
        app.runtime
            .put_blob(&app.host, BlobSource::Bytes(vec![1].into())),
        Err(TransferError::Closed)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ld_8_pings_and_events_pass_between_the_pieces_of_a_large_blob() {
    let daemon = TestDaemon::of(services(), |settings| {
        // Smaller pieces than a daemon takes by default.
        settings.limits.max_message_bytes = 80_000;
    })
    .await;
    let app = App::paired(&daemon, 1).await;
    let (bytes, _) = blob(32 << 20, 4);
    let up = put(&app, &bytes);
    let mut asked = 0;
    while up.progress().borrow().state != TransferState::Done {
        let of = json!({"kind": "table", "name": "gallery.images", "params": {"room": "x"}});
        let answer = app
            .runtime
            .query::<_, serde_json::Value>(&app.host, "live.page", &of);
        within("an answer between", answer).await.unwrap();
        asked += 1;
    }
    assert!(asked > 1);
    let hash = outcome(&up).await.unwrap().hash;
    // So many bytes take a busy machine a while.
    let down = get(&app, hash, BlobSink::Bytes);
    let got = timeout(6 * PATIENCE, down.outcome()).await.unwrap();
    assert!(got.unwrap().bytes.unwrap() == bytes);
    let counters = app.runtime.counters(&app.host).unwrap();
    assert_eq!(counters.resumed, 0, "no heartbeat failed: {counters:?}");
}

#[tokio::test]
async fn ld_8_a_put_continued_on_bytes_that_a_power_loss_spoiled_starts_over() {
    let daemon = gallery().await;
    let app = App::paired(&daemon, 1).await;
    let (bytes, _) = blob(8 << 20, 5);
    app.proxies[0].pass_only(0);
    let up = put(&app, &bytes);
    moved_within(&app, 3 << 20, &up, 1 << 20).await;
    app.proxies[0].refuse(true);
    app.proxies[0].cut();
    let begun = daemon.state_dir().join("blobs/begun");
    let daemon = daemon.again_after(services(), move || {
        let file = std::fs::read_dir(&begun).unwrap().next().unwrap().unwrap();
        let length = file.metadata().unwrap().len();
        assert!(length > 0);
        // As long as it was, of zeros: what some file systems leave.
        std::fs::write(file.path(), vec![0; usize::try_from(length).unwrap()]).unwrap();
    });
    let daemon = daemon.await;
    app.proxies[0].set_target(daemon.address());
    app.proxies[0].refuse(false);
    app.proxies[0].thaw();
    let put = outcome(&up).await.unwrap();
    let got = outcome(&get(&app, put.hash, BlobSink::Bytes)).await;
    assert!(got.unwrap().bytes.unwrap() == bytes);
}

#[tokio::test]
async fn ld_8_blobs_move_with_the_smallest_messages_that_may_be_set() {
    let daemon = TestDaemon::of(services(), |settings| {
        settings.limits.max_message_bytes = 4_096;
    })
    .await;
    let app = App::paired(&daemon, 1).await;
    let (bytes, _) = blob(100_000, 6);
    let hash = outcome(&put(&app, &bytes)).await.unwrap().hash;
    let got = outcome(&get(&app, hash, BlobSink::Bytes)).await.unwrap();
    assert!(got.bytes.unwrap() == bytes);
}

#[tokio::test]
async fn ld_8_two_transfers_into_one_file_do_not_mix_their_bytes() {
    let daemon = gallery().await;
    let app = App::paired(&daemon, 1).await;
    let (bytes, _) = blob(1 << 20, 7);
    let hash = outcome(&put(&app, &bytes)).await.unwrap().hash;
    app.proxies[0].refuse(true);
    app.proxies[0].cut();
    let file = app.folder.path().join("got");
    let first = get(&app, hash, BlobSink::File(file.clone()));
    let mut progress = first.progress();
    let waits = progress.wait_for(|now| now.state == TransferState::Waiting);
    within("the first waits", waits).await.unwrap();
    let second = outcome(&get(&app, hash, BlobSink::File(file.clone()))).await;
    assert!(matches!(second, Err(TransferError::File { .. })));
    app.proxies[0].refuse(false);
    outcome(&first).await.unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
    // Once the first is over, the file is free.
    outcome(&get(&app, hash, BlobSink::File(file.clone())))
        .await
        .unwrap();
}
