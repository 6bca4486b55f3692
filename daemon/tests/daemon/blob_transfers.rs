//! Blobs as apps put and get them: the whole daemon and the whole runtime, with proxies between
//! them that cut, refuse and lead elsewhere (LD-8).

use std::time::Duration;

use bowline_protocol::{BlobHash, RpcReason, blob::BlobOf};
use bowline_runtime::{
    Blob, BlobSink, BlobSource, Transfer, TransferError, TransferProgress, TransferState,
};
use serde_json::json;

use crate::support::{
    TestDaemon,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ld_8_a_blob_goes_there_and_back_over_cuts_and_switches_of_path() {
    let daemon = gallery().await;
    let app = App::paired(&daemon, 2).await;
    // Slow enough to be on its way when the path goes.
    app.proxies
        .iter()
        .for_each(|proxy| proxy.delay(Duration::from_millis(2)));
    let (bytes, _) = blob(24 << 20, 1);
    let up = put(&app, &bytes);
    let mut interrupted = 0;
    for n in 1..=12_u32 {
        moved(&up, u64::from(n - 1) << 20).await;
        app.disturb(u64::from(n));
        interrupted += u32::from(up.progress().borrow().state != TransferState::Done);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    app.heal();
    assert!(interrupted > 6, "it was on its way");
    let put = outcome(&up).await.unwrap();
    assert_eq!((put.size, put.hash), (24 << 20, BlobHash::of(&bytes)));
    let last = *up.progress().borrow();
    assert_eq!(
        (last.state, last.done, last.total),
        (TransferState::Done, put.size, Some(put.size))
    );

    let file = app.folder.path().join("got");
    let down = get(&app, put.hash, BlobSink::File(file.clone()));
    for n in 1..=12_u32 {
        moved(&down, u64::from(n - 1) << 20).await;
        app.disturb(u64::from(n));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    app.heal();
    outcome(&down).await.unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
    let counters = app.runtime.counters(&app.host).unwrap();
    assert!(counters.resumed > 2, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ld_8_a_transfer_goes_on_after_a_restart_of_the_daemon_and_of_the_app() {
    let mut daemon = gallery().await;
    let mut app = App::paired(&daemon, 1).await;
    let proxy = |app: &App, daemon: &TestDaemon| {
        app.proxies[0].set_target(daemon.address());
        app.proxies[0].refuse(false);
    };
    app.proxies[0].delay(Duration::from_millis(3));
    let (bytes, _) = blob(16 << 20, 2);
    let source = app.folder.path().join("source");
    std::fs::write(&source, &bytes).unwrap();
    let up = app
        .runtime
        .put_blob(&app.host, BlobSource::File(source.clone()))
        .unwrap();
    moved(&up, 1 << 20).await;
    app.proxies[0].refuse(true);
    daemon = daemon.again(services()).await;
    proxy(&app, &daemon);
    let before = moved(&up, 3 << 20).await;
    assert_eq!(before.total, Some(16 << 20));
    // The app is killed: the next one asks what is there.
    up.cancel();
    assert!(matches!(outcome(&up).await, Err(TransferError::Cancelled)));
    app.restart().await;
    let up = app
        .runtime
        .put_blob(&app.host, BlobSource::File(source))
        .unwrap();
    let mut progress = up.progress();
    let first = progress.wait_for(|now| now.state == TransferState::Moving);
    let first = *within("it moves", first).await.unwrap();
    assert!(first.done >= 3 << 20, "{first:?}");
    let put = outcome(&up).await.unwrap();

    let file = app.folder.path().join("got");
    let down = get(&app, put.hash, BlobSink::File(file.clone()));
    moved(&down, 2 << 20).await;
    drop(down);
    app.restart().await;
    app.proxies[0].refuse(true);
    daemon = daemon.again(services()).await;
    proxy(&app, &daemon);
    let down = get(&app, put.hash, BlobSink::File(file.clone()));
    let first = moved(&down, 1).await;
    assert!(first.done >= 2 << 20, "{first:?}");
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
    let got = outcome(&get(&app, hash, BlobSink::Bytes)).await.unwrap();
    assert!(got.bytes.unwrap() == bytes);
    let counters = app.runtime.counters(&app.host).unwrap();
    assert_eq!(counters.resumed, 0, "no heartbeat failed: {counters:?}");
}

#[tokio::test]
async fn ld_8_a_put_continued_on_bytes_that_a_power_loss_spoiled_starts_over() {
    let daemon = gallery().await;
    let app = App::paired(&daemon, 1).await;
    app.proxies[0].delay(Duration::from_millis(3));
    let (bytes, _) = blob(8 << 20, 5);
    let up = put(&app, &bytes);
    moved(&up, 1 << 20).await;
    app.proxies[0].refuse(true);
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
