//! Tests of the files that those of the whole runtime do not reach.

use std::fs;

use super::*;
use crate::storage::FileStorage;

fn cache(folder: &std::path::Path, limit: u64) -> Arc<Cache> {
    let storage = Arc::new(FileStorage::open(folder).unwrap());
    Arc::new(Cache::open(storage, limit))
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
