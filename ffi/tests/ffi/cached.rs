//! Rows and items of an earlier run, at a cold start without network (LD-5).

use std::{
    fs,
    path::Path,
    sync::{Arc, mpsc},
};

use bowline_ffi::{
    BowlineRuntime, CallbackError, ItemsListener, LogUpdate, TableListener, TableState, TableUpdate,
};
use bowline_runtime::{
    machines::data::{
        cache::{SavedList, SavedRows},
        logs::LogRow,
        tables::TableRow,
        target::LiveTarget,
        view::RowList,
    },
    protocol::{
        Epoch, ServerId,
        identity::{InstallSecret, PresharedKey},
        live::{LiveKind, LogItem, Row, Scope},
    },
};

use crate::common::{LONG, awaited, config, server_id, with_host};

const NAME: &str = "test.rows";

struct Sent<T>(mpsc::Sender<T>);

impl TableListener for Sent<TableUpdate> {
    fn on_table(&self, update: TableUpdate) -> Result<(), CallbackError> {
        let _ = self.0.send(update);
        Ok(())
    }
}

impl ItemsListener for Sent<LogUpdate> {
    fn on_items(&self, update: LogUpdate) -> Result<(), CallbackError> {
        let _ = self.0.send(update);
        Ok(())
    }
}

/// Leaves what an earlier run of this install would have kept.
fn keep(folder: &Path, kind: LiveKind, rows: SavedRows) {
    let profile = fs::read_to_string(folder.join("profile.json")).unwrap();
    let profile: serde_json::Value = serde_json::from_str(&profile).unwrap();
    let secret: InstallSecret = profile
        .get("secret")
        .unwrap()
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let host = ServerId::of_public_key(&[7; 32]);
    let key = secret.cache_key(&host);
    let target = LiveTarget {
        name: NAME.to_owned(),
        params: Some(serde_json::from_str("{}").unwrap()),
    };
    let params = target.params.as_ref().map(|json| json.get());
    let of = key.file_name(&format!("{kind:?}\n{NAME}\n{params:?}"));
    let list = SavedList {
        kind,
        target: Arc::new(target),
        epoch: Epoch::from_uuid(uuid::Uuid::nil()),
        seq: 3,
        scope: Scope::all(),
        follow: Some(1),
        more: false,
        rows,
    };
    let name = format!("{host}.{of}.list");
    // Bound to the pairing: this host was stored without a key.
    let bound = format!("{name} {}", PresharedKey::NONE.id());
    let sealed = key.seal([1; 12], &bound, list.to_bytes().unwrap());
    let sealed = sealed.unwrap();
    fs::create_dir_all(folder.join("cache")).unwrap();
    fs::write(folder.join("cache").join(name), sealed).unwrap();
}

fn table() -> SavedRows {
    let mut rows = RowList::default();
    for key in ["a", "b"] {
        let row = format!(r#"{{"key":"{key}","value":{{"n":1}}}}"#);
        let row: Row = serde_json::from_str(&row).unwrap();
        rows.insert(Arc::new(TableRow::from(row)));
    }
    SavedRows::Table(rows)
}

fn log() -> SavedRows {
    let mut items = RowList::default();
    for index in 4..7 {
        let item = format!(r#"{{"index":{index},"value":{{"text":"x"}}}}"#);
        let item: LogItem = serde_json::from_str(&item).unwrap();
        items.insert(Arc::new(LogRow::from(item)));
    }
    SavedRows::Log {
        items,
        first: 0,
        next: 7,
    }
}

/// A runtime whose host cannot be reached, on a folder with both.
fn cold_start(folder: &Path, cache_bytes: Option<u32>) -> Arc<BowlineRuntime> {
    let runtime = with_host(folder).unwrap();
    awaited("the end", runtime.shutdown()).0.unwrap();
    keep(folder, LiveKind::Table, table());
    keep(folder, LiveKind::Log, log());
    let mut config = config(folder);
    config.cache_bytes = cache_bytes;
    BowlineRuntime::new(config).unwrap()
}

/// The first update of a table and of a log at a cold start.
fn painted() -> (TableUpdate, LogUpdate) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = cold_start(folder.path(), None);
    let params = || "{}".to_owned();
    let (sender, updates) = mpsc::channel();
    let _table = runtime
        .subscribe_table(server_id(), NAME.into(), params(), Box::new(Sent(sender)))
        .unwrap();
    let table: TableUpdate = updates.recv_timeout(LONG).unwrap();
    let (sender, updates) = mpsc::channel();
    let _log = runtime
        .subscribe_log(server_id(), NAME.into(), params(), Box::new(Sent(sender)))
        .unwrap();
    let log: LogUpdate = updates.recv_timeout(LONG).unwrap();
    awaited("the end", runtime.shutdown()).0.unwrap();
    (table, log)
}

#[test]
fn ld_5_an_app_paints_rows_and_items_of_its_last_run_without_network() {
    // A file that takes over 250 ms to be read is not waited for, which a busy machine may make of
    // a short one.
    let mut starts = (0..5).map(|_| painted());
    let is_painted =
        |(table, log): &(TableUpdate, LogUpdate)| !table.rows.is_empty() && !log.rows.is_empty();
    let painted = starts.find(is_painted);
    let (table, log) = painted.expect("in the first updates of one of five starts");
    let keys: Vec<&str> = table.rows.iter().map(|row| row.key.as_str()).collect();
    assert_eq!(keys, ["a", "b"]);
    // Nothing listens there, which is known soon.
    let is_marked = |state| matches!(state, TableState::Revalidating | TableState::Stale);
    assert!(is_marked(table.state), "{:?}", table.state);
    let indexes: Vec<_> = log.rows.iter().map(|item| item.index).collect();
    assert_eq!(indexes, [4, 5, 6].map(Some), "oldest first");
    assert!(is_marked(log.state), "{:?}", log.state);
}

#[test]
fn ld_5_an_app_that_keeps_nothing_finds_nothing_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = cold_start(folder.path(), Some(0));
    let (sender, updates) = mpsc::channel();
    let _table = runtime
        .subscribe_table(
            server_id(),
            NAME.into(),
            "{}".into(),
            Box::new(Sent(sender)),
        )
        .unwrap();
    let update: TableUpdate = updates.recv_timeout(LONG).unwrap();
    assert!(update.rows.is_empty());
    awaited("the end", runtime.shutdown()).0.unwrap();
    let left = fs::read_dir(folder.path().join("cache")).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.ends_with(".list")));
}
