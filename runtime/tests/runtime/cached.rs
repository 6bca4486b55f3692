//! Tables that were open, shown at a cold start before there is a network (LD-5).

use std::{
    fs,
    path::{Path, PathBuf},
};

use bowline_protocol::methods::name;
use bowline_runtime::{
    HostState, Intent, TableState, TableSubscription, TableView,
    machines::data::patches::{Patch, PatchChange},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    rig::{LONG, Rig, is_ready, offer, server_id, transport_key},
    table::{NAME, changed},
    tables::until,
};

/// The usual size of a cache.
const SIZE: u64 = 32 << 20;

fn follow(rig: &Rig, params: &Value) -> TableSubscription {
    let subscribed = rig.runtime.subscribe_table(&server_id(), NAME, params);
    subscribed.unwrap()
}

fn rows(view: &TableView) -> Vec<String> {
    let rows = view.rows.iter();
    rows.map(|row| {
        let pending = if row.pending { "?" } else { "" };
        format!("{}={}{pending}", row.key, row.value.get())
    })
    .collect()
}

/// Waits until these rows are current.
async fn shows(table: &mut TableSubscription, expected: &[&str]) {
    until(table, &format!("{expected:?}"), |view| {
        matches!(view.state, TableState::Ready | TableState::Empty) && rows(view) == expected
    })
    .await;
}

/// The first view that a subscriber gets.
async fn first(table: &mut TableSubscription) -> TableView {
    let view = timeout(LONG, table.next()).await.unwrap().unwrap();
    TableView::clone(&view)
}

/// An app that has shown `a=1` and `b=1`, and has ended.
async fn shown() -> Rig {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.happens(changed(&[("a", 1), ("b", 1)], &[]));
    let mut table = follow(&rig, &json!({}));
    shows(&mut table, &["a=1", "b=1"]).await;
    rig.close().await;
    rig
}

/// From now on the daemon is silent; it is reachable again after [`heal`].
fn silence(rig: &Rig) -> impl Sized + use<> {
    rig.net.listen("a:1")
}

fn heal(rig: &Rig) {
    rig.daemon.listen(&rig.net, "a:1");
}

/// Whether requests to follow stay unanswered, so that what is shown is what was kept.
fn mute(rig: &Rig, is_mute: bool) {
    let mut state = rig.daemon.state();
    if is_mute {
        state.mute.insert(name::LIVE_OPEN);
    } else {
        state.mute.remove(name::LIVE_OPEN);
    }
}

fn cached(rig: &Rig, end: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(rig.folder().join("cache")) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect();
    files.sort();
    files
}

fn list(rig: &Rig) -> PathBuf {
    let lists = cached(rig, ".list");
    assert_eq!(lists.len(), 1, "{lists:?}");
    lists[0].clone()
}

#[tokio::test(start_paused = true)]
async fn ld_5_what_was_seen_is_painted_without_network_and_marked() {
    let mut rig = shown().await;
    let silent = silence(&rig);
    let opens = rig.daemon.requests(name::LIVE_OPEN);
    rig.start(SIZE);
    let mut table = follow(&rig, &json!({}));
    let view = first(&mut table).await;
    assert_eq!(rows(&view), ["a=1", "b=1"], "in the first view");
    assert_eq!(view.state, TableState::Revalidating, "not current");
    let host = rig.runtime.subscribe().borrow().hosts[0].clone();
    assert_ne!(host.state, HostState::Online);

    let stale = until(&mut table, "stale", |view| view.state == TableState::Stale).await;
    assert_eq!(rows(&stale), ["a=1", "b=1"]);
    assert!(stale.error.is_some(), "it says why");
    assert_eq!(rig.daemon.requests(name::LIVE_OPEN), opens);
    heal(&rig);
    drop(silent);
    shows(&mut table, &["a=1", "b=1"]).await;
}

#[tokio::test(start_paused = true)]
async fn ld_5_after_a_restart_only_what_has_changed_is_sent() {
    let mut rig = shown().await;
    rig.daemon.happens(changed(&[("c", 2)], &["a"]));
    let silent = silence(&rig);
    rig.start(SIZE);
    let mut table = follow(&rig, &json!({}));
    assert_eq!(rows(&first(&mut table).await), ["a=1", "b=1"]);
    heal(&rig);
    drop(silent);
    // A first page would have them; the answer has none, and only the event tells.
    rig.daemon.state().table.rows.insert("unsent".into(), 9);
    shows(&mut table, &["b=1", "c=2"]).await;
    let counters = rig.counters();
    assert_eq!((counters.resumed, counters.reset), (1, 0));
    assert_eq!(counters.events_applied, 1);
    let hello = rig.daemon.state().hellos.last().unwrap().1.clone();
    assert!(hello.resume.is_some());
}

#[tokio::test(start_paused = true)]
async fn ld_5_in_another_epoch_a_first_page_replaces_the_rows() {
    let mut rig = shown().await;
    {
        let mut state = rig.daemon.state();
        state.forget_session();
        state.table.rows = [("b".to_owned(), 7)].into();
    }
    mute(&rig, true);
    rig.start(SIZE);
    let mut table = follow(&rig, &json!({}));
    let view = first(&mut table).await;
    assert_eq!(rows(&view), ["a=1", "b=1"]);
    assert_ne!(view.state, TableState::Ready);
    mute(&rig, false);
    shows(&mut table, &["b=7"]).await;
    assert_eq!(rig.counters().resumed, 0);
    rig.daemon.happens(changed(&[("d", 1)], &[]));
    shows(&mut table, &["b=7", "d=1"]).await;
}

/// What a test does to the list's file, and whether the rows are then shown.
async fn damaged(damage: impl FnOnce(&Rig, &Path)) {
    let mut rig = shown().await;
    damage(&rig, &list(&rig));
    mute(&rig, true);
    rig.start(SIZE);
    let mut table = follow(&rig, &json!({}));
    assert!(rows(&first(&mut table).await).is_empty(), "never trusted");
    mute(&rig, false);
    shows(&mut table, &["a=1", "b=1"]).await;
    rig.close().await;
    // It was replaced by a good one.
    rig.start(SIZE);
    let mut table = follow(&rig, &json!({}));
    assert_eq!(rows(&first(&mut table).await), ["a=1", "b=1"]);
}

#[tokio::test(start_paused = true)]
async fn ld_5_a_file_cut_in_half_is_dropped_and_what_it_had_is_loaded() {
    damaged(|_, file| {
        let content = fs::read(file).unwrap();
        fs::write(file, &content[..content.len() / 2]).unwrap();
    })
    .await;
    damaged(|_, file| fs::write(file, b"").unwrap()).await;
    damaged(|_, file| {
        let mut content = fs::read(file).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(file, content).unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ld_5_a_file_of_another_host_or_another_install_is_dropped() {
    // Another install has another secret, and so another key.
    let other = shown().await;
    let foreign = fs::read(list(&other)).unwrap();
    damaged(|_, file| fs::write(file, &foreign).unwrap()).await;
    // The same install's file of something else, under this name.
    damaged(|rig, file| {
        let manifest = fs::read(&cached(rig, ".manifest")[0]).unwrap();
        fs::write(file, manifest).unwrap();
    })
    .await;
    // Files of a host that is not known are deleted at the start.
    let mut rig = shown().await;
    let of_another = rig.folder().join("cache").join("srv_other.abc.list");
    fs::write(&of_another, b"rows").unwrap();
    rig.start(SIZE);
    rig.until("online", is_ready).await;
    assert!(!of_another.exists());
    assert_eq!(cached(&rig, ".list").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn ld_5_a_damaged_manifest_costs_a_first_page_and_nothing_else() {
    let mut rig = shown().await;
    fs::write(&cached(&rig, ".manifest")[0], b"{}").unwrap();
    mute(&rig, true);
    rig.start(SIZE);
    let mut table = follow(&rig, &json!({}));
    assert_eq!(rows(&first(&mut table).await), ["a=1", "b=1"]);
    mute(&rig, false);
    shows(&mut table, &["a=1", "b=1"]).await;
    assert_eq!(rig.counters().resumed, 0, "there was no position");
}

#[tokio::test(start_paused = true)]
async fn ld_5_the_cache_is_bounded_and_the_oldest_unviewed_leaves_first() {
    let mut rig = Rig::online(&["a:1"]).await;
    let long = "k".repeat(400);
    let keys: Vec<String> = (0..30).map(|n| format!("{long}{n}")).collect();
    let changes: Vec<_> = keys.iter().map(|key| (key.as_str(), 1)).collect();
    rig.daemon.happens(changed(&changes, &[]));
    let mut table = follow(&rig, &json!({}));
    until(&mut table, "rows", |view| view.state == TableState::Ready).await;
    rig.close().await;
    let size = fs::metadata(list(&rig)).unwrap().len();
    // Three lists and a manifest, and no fourth list.
    let limit = size * 7 / 2;
    rig.start(limit);
    for n in 1..=3 {
        let mut table = follow(&rig, &json!({ "n": n }));
        until(&mut table, "rows", |view| view.state == TableState::Ready).await;
        drop(table);
        // The sweep writes what nobody reads any more, and closes it.
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    }
    // Viewed again, the first one is no longer the oldest.
    let mut table = follow(&rig, &json!({ "n": 1 }));
    until(&mut table, "rows", |view| view.state == TableState::Ready).await;
    rig.close().await;
    let files = [".list", ".manifest"];
    let files = files.iter().flat_map(|end| cached(&rig, end));
    let bytes: u64 = files.map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(bytes <= limit, "{bytes}");

    mute(&rig, true);
    rig.start(limit);
    let mut one = follow(&rig, &json!({ "n": 4 }));
    assert!(first(&mut one).await.rows.is_empty());
    mute(&rig, false);
    until(&mut one, "rows", |view| view.state == TableState::Ready).await;
    rig.close().await;
    mute(&rig, true);
    rig.start(limit);
    let mut kept = Vec::new();
    for params in [
        json!({}),
        json!({"n": 1}),
        json!({"n": 2}),
        json!({"n": 3}),
        json!({"n": 4}),
    ] {
        let mut table = follow(&rig, &params);
        kept.push(!first(&mut table).await.rows.is_empty());
    }
    assert_eq!(kept, [false, true, false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn ld_5_forgetting_a_host_deletes_what_was_kept_of_it() {
    let mut rig = shown().await;
    rig.start(SIZE);
    let mut table = follow(&rig, &json!({}));
    shows(&mut table, &["a=1", "b=1"]).await;
    assert!(!cached(&rig, ".list").is_empty());
    rig.daemon.happens(changed(&[("a", 2)], &[]));
    rig.runtime.forget(&server_id()).await.unwrap();
    assert!(cached(&rig, ".list").is_empty());
    assert!(cached(&rig, ".manifest").is_empty());
    rig.close().await;
    assert!(cached(&rig, ".list").is_empty(), "nor is it written again");
}

#[tokio::test(start_paused = true)]
async fn ld_5_of_a_host_that_another_process_forgot_and_paired_again_nothing_old_is_kept() {
    let mut rig = shown().await;
    rig.start(SIZE);
    rig.until("online", is_ready).await;
    let mut table = follow(&rig, &json!({"n": 1}));
    until(&mut table, "rows", |view| view.state == TableState::Ready).await;
    assert!(!cached(&rig, ".list").is_empty());
    let old = list(&rig);
    // It cannot delete files of a folder that this process owns.
    let other = rig.another_process();
    other.forget(&server_id()).await.unwrap();
    let offer = offer(&["a:1"], &transport_key());
    other.pair(&offer).await.unwrap();
    other.close().await;
    let a_while = std::time::Duration::from_secs(20);
    tokio::time::sleep(a_while).await;
    assert!(!old.exists(), "the list of the pairing before");
    rig.close().await;
    assert!(!old.exists());
}

#[tokio::test(start_paused = true)]
async fn ld_5_a_cache_that_is_off_keeps_nothing_and_deletes_what_was_kept() {
    let mut rig = shown().await;
    mute(&rig, true);
    rig.start(0);
    let mut table = follow(&rig, &json!({}));
    assert!(rows(&first(&mut table).await).is_empty());
    mute(&rig, false);
    shows(&mut table, &["a=1", "b=1"]).await;
    rig.close().await;
    assert!(cached(&rig, ".list").is_empty());
    assert!(cached(&rig, ".manifest").is_empty());
}

#[tokio::test(start_paused = true)]
async fn ld_5_optimistic_changes_lie_over_cached_rows_after_a_restart() {
    let mut rig = shown().await;
    let _silent = silence(&rig);
    rig.start(SIZE);
    let table = follow(&rig, &json!({}));
    let patch = Patch {
        table: NAME.to_owned(),
        params: None,
        key: "b".to_owned(),
        change: PatchChange::Upsert(serde_json::from_value(json!(5)).unwrap()),
    };
    let intent = Intent::Custom {
        method: "test.put".into(),
        params: serde_json::Map::new(),
    };
    let sent = rig.runtime.send_with(&server_id(), intent, vec![patch]);
    sent.unwrap();
    drop(table);
    rig.close().await;
    rig.start(SIZE);
    let mut table = follow(&rig, &json!({}));
    let view = first(&mut table).await;
    assert_eq!(rows(&view), ["a=1", "b=5?"]);
    assert_eq!(view.state, TableState::Revalidating);
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn ld_5_cached_files_are_for_their_owner_alone_and_say_nothing() {
    use std::os::unix::fs::PermissionsExt;

    let rig = shown().await;
    let folder = rig.folder().join("cache");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let content = fs::read(&path).unwrap();
        let says = |text: &[u8]| content.windows(text.len()).any(|bytes| bytes == text);
        assert!(!says(NAME.as_bytes()), "{}", path.display());
        assert!(!says(b"\"key\""), "{}", path.display());
        files += 1;
    }
    assert!(files >= 3, "{files}");
}

#[tokio::test(start_paused = true)]
async fn ld_5_a_second_process_on_the_folder_keeps_nothing_and_hurts_nothing() {
    let mut rig = shown().await;
    rig.start(SIZE);
    let mut table = follow(&rig, &json!({}));
    assert_eq!(rows(&first(&mut table).await), ["a=1", "b=1"]);
    mute(&rig, true);
    let other = rig.another_process();
    let mut others = other
        .subscribe_table(&server_id(), NAME, &json!({}))
        .unwrap();
    assert!(rows(&first(&mut others).await).is_empty());
    mute(&rig, false);
    shows(&mut others, &["a=1", "b=1"]).await;
    rig.close().await;
    other.close().await;
    rig.start(SIZE);
    let mut table = follow(&rig, &json!({}));
    assert_eq!(rows(&first(&mut table).await), ["a=1", "b=1"]);
}

/// The system may end a suspended app, which then gets no other word.
#[tokio::test(start_paused = true)]
async fn ld_5_a_pause_writes_what_is_shown_before_it_releases_the_files() {
    let mut rig = Rig::online(&["a:1"]).await;
    let mut table = follow(&rig, &json!({}));
    shows(&mut table, &[]).await;
    rig.daemon.happens(changed(&[("a", 1)], &[]));
    shows(&mut table, &["a=1"]).await;
    rig.runtime.pause().await;
    assert!(!crate::pausing::is_locked(&rig.folder().join("cache")));
    // Killed: another process finds what was written.
    let next = rig.another_process();
    let paused = std::mem::replace(&mut rig.runtime, next);
    let mut table = follow(&rig, &json!({}));
    assert_eq!(rows(&first(&mut table).await), ["a=1"]);
    rig.until("online", is_ready).await;
    assert_eq!(rig.counters().resumed, 1);
    drop(paused);
}

#[tokio::test(start_paused = true)]
async fn ld_5_what_changed_during_a_pause_is_written_soon_after_it() {
    let rig = Rig::online(&["a:1"]).await;
    let mut table = follow(&rig, &json!({}));
    rig.daemon.happens(changed(&[("a", 1)], &[]));
    shows(&mut table, &["a=1"]).await;
    rig.runtime.pause().await;
    let before = fs::read(list(&rig)).unwrap();
    rig.daemon.happens(changed(&[("a", 2)], &[]));
    shows(&mut table, &["a=2"]).await;
    let a_while = std::time::Duration::from_secs(10);
    tokio::time::sleep(a_while).await;
    assert_eq!(fs::read(list(&rig)).unwrap(), before, "no file is touched");
    rig.runtime.resume().await.unwrap();
    tokio::time::sleep(a_while).await;
    assert_ne!(fs::read(list(&rig)).unwrap(), before);
}
