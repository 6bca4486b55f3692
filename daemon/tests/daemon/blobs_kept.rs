//! How much of blobs is kept, and for how long (LD-8, TR-12).

use std::{path::Path, time::Duration};

use bowline_daemon::{clock::Clock, config::Settings, daemon::Daemon};
use bowline_protocol::{BlobHash, Reason};
use bowline_testkit::eventually;
use serde_json::{Value, json};

use crate::support::{
    TestDaemon,
    client::{Attempt, paired},
    gallery::{blob, get, have, piece, put, services},
    grants::{intent, reason},
};

#[tokio::test]
async fn ld_8_tr_12_what_a_device_and_all_devices_put_is_bounded() {
    let daemon = TestDaemon::of(services(), |settings| {
        settings.limits.blob_bytes_per_device = 100_000;
        settings.limits.blob_bytes = 150_000;
        settings.limits.max_blob_bytes = 80_000;
    })
    .await;
    let (_, mut ann) = paired(&daemon).await;
    let (_, mut bob) = paired(&daemon).await;
    let over = |answer: &Value| {
        assert_eq!(reason(answer), "quota_exceeded", "{answer}");
        answer["error"]["data"]["quota"]["name"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (large, hash) = blob(80_001, 1);
    let refused = put(&mut ann, &large, &hash).await;
    assert_eq!(over(&refused), "max_blob_bytes");
    let (bytes, hash) = blob(60_000, 2);
    put(&mut ann, &bytes, &hash).await;
    // What is begun counts with all its bytes, before they are there.
    let (_, second) = blob(40_001, 3);
    assert_eq!(
        over(&have(&mut ann, &second, 40_001).await),
        "blob_bytes_per_device"
    );
    let (_, second) = blob(40_000, 3);
    assert_eq!(have(&mut ann, &second, 40_000).await["result"]["have"], 0);
    let (_, third) = blob(50_001, 4);
    assert_eq!(over(&have(&mut bob, &third, 50_001).await), "blob_bytes");
    // What is stored already is for everybody's bound counted once, whoever puts it again.
    assert_eq!(put(&mut bob, &bytes, &hash).await["result"]["done"], true);
    assert_eq!(have(&mut ann, &hash, 60_000).await["result"]["done"], true);
}

#[tokio::test]
async fn ld_8_tr_12_small_blobs_are_bounded_in_number() {
    let daemon = TestDaemon::of(services(), |settings| {
        settings.limits.blob_bytes_per_device = 3 * 4_096;
    })
    .await;
    let (_, mut client) = paired(&daemon).await;
    for seed in 0..3 {
        let (bytes, hash) = blob(1, seed);
        assert_eq!(
            put(&mut client, &bytes, &hash).await["result"]["done"],
            true
        );
    }
    let (_, fourth) = blob(1, 3);
    let refused = have(&mut client, &fourth, 1).await;
    assert_eq!(reason(&refused), "quota_exceeded", "{refused}");
    // What it has put already is not one more.
    let (_, first) = blob(1, 0);
    assert_eq!(have(&mut client, &first, 1).await["result"]["done"], true);
}

#[tokio::test]
async fn ld_8_a_device_puts_sixteen_blobs_at_once_and_the_oldest_gives_way() {
    let daemon = TestDaemon::of(services(), |_| {}).await;
    let (_, mut client) = paired(&daemon).await;
    let hashes: Vec<String> = (0..17).map(|seed| blob(10, seed).1).collect();
    for hash in &hashes {
        let begun = piece(&mut client, (hash, 10), 0, b"12345").await;
        assert_eq!(begun["result"]["have"], 5, "{begun}");
    }
    for hash in &hashes[1..] {
        assert_eq!(have(&mut client, hash, 10).await["result"]["have"], 5);
    }
    assert_eq!(have(&mut client, &hashes[0], 10).await["result"]["have"], 0);
}

fn files(folder: &Path) -> usize {
    let shelves = std::fs::read_dir(folder.join("blobs")).unwrap();
    let shelves = shelves.filter(|shelf| shelf.as_ref().unwrap().file_name() != "begun");
    shelves
        .map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap().count())
        .sum()
}

#[tokio::test]
async fn ld_8_what_nothing_refers_to_goes_after_the_grace_and_the_rest_stays() {
    let daemon = TestDaemon::of(services(), |of| {
        of.limits.blob_grace = Duration::from_millis(500);
    })
    .await;
    let (_, mut client) = paired(&daemon).await;
    let of = json!({"kind": "table", "name": "gallery.images", "params": {"room": "hall"}});
    let (bytes, kept) = blob(50, 1);
    // On a slow machine so short a grace may be over before the row refers to the blob.
    let mut is_kept = false;
    for _ in 0..100 {
        put(&mut client, &bytes, &kept).await;
        let row = json!({"key": "hall/a", "blobs": [kept]});
        is_kept = reason(&intent(&mut client, "gallery.put", row).await) == "none";
        if is_kept {
            break;
        }
    }
    assert!(is_kept, "a row refers to it within its grace");
    let (stray, unkept) = blob(60, 2);
    put(&mut client, &stray, &unkept).await;
    let blobs = daemon.daemon.blobs();
    let unkept: BlobHash = unkept.parse().unwrap();
    eventually("what nothing refers to is gone", async || {
        blobs.open_blob(unkept).await.is_err()
    })
    .await;
    assert_eq!(get(&mut client, &kept, of.clone()).await.unwrap(), bytes);
    intent(&mut client, "gallery.remove", json!({"key": "hall/a"})).await;
    let kept: BlobHash = kept.parse().unwrap();
    eventually("so is what a removed row referred to", async || {
        blobs.open_blob(kept).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn ld_8_items_of_a_log_keep_blobs_until_they_are_dropped() {
    let daemon = TestDaemon::of(services(), |_| {}).await;
    let (_, mut ann) = paired(&daemon).await;
    let (_, mut bob) = paired(&daemon).await;
    let of = json!({"kind": "log", "name": "gallery.diary"});
    let (bytes, hash) = blob(50, 1);
    put(&mut ann, &bytes, &hash).await;
    let note = |blobs: Value| json!({"key": "x", "blobs": blobs});
    intent(&mut ann, "gallery.note", note(json!([hash]))).await;
    intent(&mut ann, "gallery.note", note(json!([]))).await;
    assert_eq!(get(&mut bob, &hash, of.clone()).await.unwrap(), bytes);
    intent(&mut ann, "gallery.note", note(json!([]))).await;
    let gone = get(&mut bob, &hash, of).await.unwrap_err();
    assert_eq!(reason(&gone), "not_found", "the log keeps two items");
}

#[tokio::test]
async fn ld_8_the_daemons_own_blobs_and_files_left_by_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let settings = Settings::for_state_dir(folder.path());
        let daemon = Daemon::start_with_clock(settings, services(), Clock::system()).await;
        daemon.unwrap()
    };
    let daemon = start().await;
    let hash = daemon.blobs().put(b"made here".to_vec()).await.unwrap();
    assert_eq!(hash, BlobHash::of(b"made here"));
    let file = folder.path().join("export");
    std::fs::write(&file, vec![7; 600_000]).unwrap();
    let exported = daemon.blobs().put_file(file.clone()).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(daemon.blobs().put_file(file).await.is_err());
    assert_eq!(files(folder.path()), 2);
    daemon.shutdown(Reason::ShuttingDown).await;
    let stray = BlobHash::of(b"stray").to_string();
    let shelf = folder.path().join("blobs").join(&stray[..2]);
    std::fs::create_dir_all(&shelf).unwrap();
    std::fs::write(shelf.join(&stray), "stray").unwrap();
    let daemon = start().await;
    assert_eq!(files(folder.path()), 3, "a young one stays for now");
    daemon.shutdown(Reason::ShuttingDown).await;
    let old = std::fs::File::options()
        .write(true)
        .open(shelf.join(&stray))
        .unwrap();
    old.set_modified(std::time::SystemTime::now() - Duration::from_secs(25 * 3600))
        .unwrap();
    let copy = folder.path().join("blobs/begun/copy-7");
    std::fs::write(&copy, "half").unwrap();
    let daemon = start().await;
    assert_eq!(files(folder.path()), 2, "a crash left it, no row knows it");
    assert!(!copy.exists());
    let mut read = Vec::new();
    let mut open = daemon.blobs().open_blob(exported).await.unwrap();
    std::io::Read::read_to_end(&mut open, &mut read).unwrap();
    assert_eq!(read, vec![7; 600_000]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let mode = open.metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    daemon.shutdown(Reason::ShuttingDown).await;
}

#[tokio::test]
async fn ld_8_bytes_that_the_database_knows_and_the_disk_has_not_are_put_again() {
    let daemon = TestDaemon::of(services(), |_| {}).await;
    let (_, mut ann) = paired(&daemon).await;
    let (bytes, hash) = blob(1_000, 1);
    put(&mut ann, &bytes, &hash).await;
    let own = daemon.daemon.blobs().put(b"own".to_vec()).await.unwrap();
    let blobs = daemon.state_dir().join("blobs");
    let file = |hash: &str| blobs.join(&hash[..2]).join(hash);
    std::fs::write(file(&hash), &bytes[..400]).unwrap();
    let short = get(&mut ann, &hash, Value::Null).await.unwrap_err();
    assert_eq!(reason(&short), "not_found", "never fewer bytes than asked");
    std::fs::remove_file(file(&hash)).unwrap();
    let gone = get(&mut ann, &hash, Value::Null).await.unwrap_err();
    assert_eq!(reason(&gone), "not_found");
    let asked = have(&mut ann, &hash, 1_000).await;
    assert_eq!(asked["result"], json!({"have": 0, "done": false}));
    let again = put(&mut ann, &bytes, &hash).await;
    assert_eq!(again["result"]["done"], true);
    assert_eq!(get(&mut ann, &hash, Value::Null).await.unwrap(), bytes);
    std::fs::remove_file(file(&own.to_string())).unwrap();
    assert!(daemon.daemon.blobs().open_blob(own).await.is_err());
    daemon.daemon.blobs().put(b"own".to_vec()).await.unwrap();
    daemon.daemon.blobs().open_blob(own).await.unwrap();
}

#[tokio::test]
async fn ld_8_tr_12_the_daemons_own_blobs_are_bounded_before_they_are_copied() {
    let daemon = TestDaemon::of(services(), |settings| {
        settings.limits.max_blob_bytes = 1_000_000;
        settings.limits.blob_bytes = 1_200_000;
    })
    .await;
    let source = daemon.state_dir().join("large");
    // Sparse, and far more than a test may copy.
    let large = std::fs::File::create(&source).unwrap();
    large.set_len(1 << 40).unwrap();
    let refused = daemon.daemon.blobs().put_file(source).await.unwrap_err();
    assert_eq!(
        refused.reason(),
        Some(bowline_protocol::RpcReason::QuotaExceeded)
    );
    // What a device has begun counts.
    let (_, mut ann) = paired(&daemon).await;
    let (_, begun) = blob(900_000, 1);
    have(&mut ann, &begun, 900_000).await;
    assert!(daemon.daemon.blobs().put(vec![1; 400_000]).await.is_err());
    daemon.daemon.blobs().put(vec![1; 200_000]).await.unwrap();
    let left = std::fs::read_dir(daemon.state_dir().join("blobs/begun")).unwrap();
    assert_eq!(left.count(), 1, "only the device's");
}

#[tokio::test]
async fn ld_8_a_blob_that_a_full_database_cannot_note_is_not_lost_and_is_done_later() {
    let daemon = TestDaemon::of(services(), |settings| {
        settings.limits.storage_limit = 1 << 20;
    })
    .await;
    let (install, mut client) = paired(&daemon).await;
    let long = "k".repeat(450);
    let mut refused = Value::Null;
    for n in 0..5_000 {
        let row = json!({"key": format!("hall/{long}{n}"), "blobs": []});
        refused = intent(&mut client, "gallery.put", row).await;
        if refused["error"].is_object() {
            break;
        }
    }
    assert_eq!(reason(&refused), "storage_unavailable", "{refused}");
    // The last pages may have room for some rows as small as those of blobs.
    let mut noted = 0;
    let (bytes, hash) = loop {
        let (bytes, hash) = blob(3_000, noted + 1);
        let answer = put(&mut client, &bytes, &hash).await;
        if answer["error"].is_object() {
            assert_eq!(reason(&answer), "storage_unavailable", "{answer}");
            break (bytes, hash);
        }
        noted += 1;
        assert!(noted < 500, "the database never filled");
    };
    for _ in 0..3 {
        let again = have(&mut client, &hash, 3_000).await;
        assert_eq!(reason(&again), "storage_unavailable", "{again}");
        assert_eq!(
            files(daemon.state_dir()),
            noted as usize,
            "none without a row"
        );
    }
    let gone = get(&mut client, &hash, Value::Null).await.unwrap_err();
    assert_eq!(reason(&gone), "not_found");
    drop(client);
    // With space again, all bytes are there.
    let daemon = daemon.again(services()).await;
    let mut client = Attempt::new(&daemon, &install).connect().await;
    let done = have(&mut client, &hash, 3_000).await;
    assert_eq!(done["result"], json!({"have": 3_000, "done": true}));
    assert_eq!(get(&mut client, &hash, Value::Null).await.unwrap(), bytes);
    assert_eq!(files(daemon.state_dir()), noted as usize + 1);
}
