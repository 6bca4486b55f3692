//! Tests of the files that those of the whole runtime do not reach.

use std::fs;

use bowline_machines::data::cache::{SavedList, SavedRows};
use bowline_protocol::{
    Epoch,
    live::{Scope, TablePage},
};

use super::*;
use crate::storage::FileStorage;

fn cache(folder: &std::path::Path, limit: u64) -> Arc<Cache> {
    let storage = Arc::new(FileStorage::open(folder).unwrap());
    Arc::new(Cache::open(storage, limit))
}

fn target(n: u32) -> LiveTarget {
    LiveTarget {
        name: format!("table.{n}"),
        params: None,
    }
}

/// So many tables without rows.
fn checkpoint(lists: u32) -> Checkpoint {
    let epoch = Epoch::from_uuid(uuid::Uuid::from_bytes([1; 16]));
    let list = |n| SavedList {
        kind: LiveKind::Table,
        target: Arc::new(target(n)),
        epoch: epoch.clone(),
        seq: 1,
        scope: Scope::all(),
        follow: None,
        more: false,
        rows: SavedRows::Table(std::iter::empty().collect()),
    };
    let mut manifest = Manifest::new(Resume {
        epoch: epoch.clone(),
        last_seq: 1,
        stamp: None,
    });
    for n in 0..lists {
        manifest.add(LiveKind::Table, &target(n), 1);
    }
    Checkpoint {
        number: 1,
        lists: (0..lists).map(list).collect(),
        refused: Vec::new(),
        manifest,
    }
}

#[test]
fn ld_5_what_a_killed_process_left_unfinished_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), 1_000);
    cache.with(|folder| folder.write(&list_name("srv_a", "x"), b"one"));
    cache.pause();
    let draft = folder.path().join("cache/.srv_a.x.list.1.0.draft");
    fs::write(&draft, b"half").unwrap();
    cache.resume();
    let read = cache.with(|folder| folder.read(&list_name("srv_a", "x")));
    assert_eq!(read.unwrap().unwrap(), b"one");
    assert!(!draft.exists());
}

#[test]
fn ld_5_the_order_of_views_outlives_the_process_and_asks_no_clock() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["a", "b", "c", "d"].map(|of| list_name("srv_a", of));
    let cache = cache(folder.path(), 35);
    let wrote = cache.with(|folder| {
        for name in &names[..3] {
            folder.view(name);
            folder.write(name, &[0; 10])?;
        }
        folder.view(&names[0]);
        folder.write_views()
    });
    wrote.unwrap();
    cache.pause();
    // Whatever the times of the files say.
    let file = fs::File::options()
        .write(true)
        .open(folder.path().join("cache").join(&names[1]))
        .unwrap();
    let future = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 30);
    file.set_modified(future).unwrap();
    cache.resume();
    cache.with(|folder| {
        folder.view(&names[3]);
        folder.write(&names[3], &[0; 10])
    });
    let kept = names.each_ref().map(|name| {
        let read = cache.with(|folder| folder.read(name));
        read.unwrap().is_some()
    });
    assert_eq!(kept, [true, false, true, true]);
}

#[test]
fn ld_5_a_list_over_the_whole_bound_is_not_kept_and_its_older_one_neither() {
    let folder = tempfile::tempdir().unwrap();
    let name = list_name("srv_a", "x");
    let cache = cache(folder.path(), 100);
    cache.with(|folder| folder.write(&name, &[0; 10]));
    cache.with(|folder| folder.write(&name, &[0; 101])).unwrap();
    assert!(cache.with(|folder| folder.read(&name)).unwrap().is_none());
}

#[test]
fn ld_5_a_folder_that_cannot_be_used_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cache"), b"a file").unwrap();
    let cache = cache(folder.path(), 100);
    assert!(cache.with(|_| Ok(())).is_none());
    assert!(cache.with(|_| Ok(())).is_none());
}

#[test]
fn ld_5_a_pause_and_a_list_that_is_opened_wait_for_one_file_of_a_checkpoint_and_not_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), 1 << 20);
    cache.with(|_| Ok(())).unwrap();
    let server_id = ServerId::of_public_key(&[1; 32]);
    let host = HostCache::open(
        Arc::clone(&cache),
        &server_id,
        (CacheKey::from_bytes([1; 32]), None),
    );
    let checkpoint = || checkpoint(20);
    let files = |end: &str| {
        let files = fs::read_dir(folder.path().join("cache")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(end)).count()
    };
    host.push(checkpoint());
    std::thread::scope(|scope| {
        // The write has begun and waits for the folder when the pause is asked for.
        let held = cache.lock();
        let writing = scope.spawn(|| host.write_next());
        while !lock(&host.waiting).is_empty() {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        let pausing = scope.spawn(|| cache.pause());
        while !cache.is_paused.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        drop(held);
        pausing.join().unwrap();
        assert!(!writing.join().unwrap(), "it is written again later");
    });
    assert!(files(".list") <= 1, "{}", files(".list"));
    assert_eq!(files(".manifest"), 0);
    cache.resume();
    host.push(checkpoint());
    assert!(host.write_next());
    assert_eq!((files(".list"), files(".manifest")), (20, 1));
}

#[test]
fn ld_5_what_an_earlier_pairing_kept_is_not_shown_whoever_has_forgotten_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), 1 << 20);
    let server_id = ServerId::of_public_key(&[1; 32]);
    let host = |psk: [u8; 32]| {
        let key = CacheKey::from_bytes([1; 32]);
        let psk = PresharedKey::from_bytes(psk);
        HostCache::open(Arc::clone(&cache), &server_id, (key, Some(&psk)))
    };
    let is_kept = |host: &HostCache| host.read::<TablePage>(&target(0)).is_some();
    let before = host([1; 32]);
    before.push(checkpoint(1));
    assert!(before.write_next());
    assert!(is_kept(&before) && host([1; 32]).position().is_some());
    // Another process forgot the host and did not own the folder; then it was paired again.
    let again = host([2; 32]);
    assert!(again.position().is_none());
    assert!(!is_kept(&again));
    let names = fs::read_dir(folder.path().join("cache")).unwrap();
    let names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(
        names.into_iter().all(|name| !name.starts_with("srv_")),
        "deleted"
    );
    // What it keeps is its own, also after it was paired once more.
    again.push(checkpoint(1));
    assert!(again.write_next() && is_kept(&again));
    again.begin_anew(Some(&PresharedKey::from_bytes([3; 32])));
    assert!(!is_kept(&again));
    again.push(checkpoint(1));
    assert!(again.write_next() && is_kept(&again));
    assert!(is_kept(&host([3; 32])));
}
