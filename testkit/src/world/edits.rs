//! A client's work on live data during chaos: it shows two tables and a log of the sheet's daemon
//! (`daemon/examples/sheet.rs`), and edits with patches. Runs in a separate process, so that it can
//! be killed.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    path::PathBuf,
    time::Duration,
};

use bowline_protocol::{IntentId, ServerId, live::Json};
use bowline_runtime::{
    Beyond, Intent, LogSubscription, LogView, Outcome, Patch, PatchChange, Receipt, TableState,
    TableSubscription, TableView,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::to_raw_value};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Client, WorldError, quick_settings, resident};
use crate::random::Random;

/// Longest wait for an outcome, and for a page.
const FINISH: Duration = Duration::from_secs(120);
/// Interval between two reports of what is shown.
const REPORT: Duration = Duration::from_millis(250);
/// Intents between two reports while they are sent.
const STEP: usize = 20;
/// Every such intent asks for what the daemon refuses.
const REFUSED: usize = 5;
/// Pages of older items that are loaded.
const OLDER_PAGES: usize = 10;

/// Description of the work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Edits {
    /// The client's state folder; it must be paired.
    pub folder: PathBuf,
    /// Seed of the client's jitter and of its choice of cells.
    pub seed: u64,
    /// Begins the tag of each of its edits, which nothing else may use.
    pub name: String,
    /// Number of intents.
    pub intents: usize,
    /// Pause between intents in milliseconds.
    pub pace_ms: u64,
    /// Rows of each table.
    pub rows: u64,
}

/// A report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edited {
    /// Intents sent.
    pub sent: usize,
    /// Intents that came to the outcome that they had to.
    pub done: usize,
    /// Events missed: anything but zero is a defect.
    pub gaps: u64,
    /// Resident bytes of the process, where they can be measured.
    pub resident: Option<u64>,
    /// Rows that show a patch, pending or failed.
    pub patched: usize,
    /// What is shown, once every intent has its outcome.
    pub shown: Option<Shown>,
}

/// What a client shows, and what the daemon has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Of each table, the number of its rows and their hash.
    pub tables: [(usize, u64); 2],
    /// Indexes and hash of the newest items.
    pub log: (u64, u64, u64),
}

/// Hash of rows in order; the same for equal JSON however it is written.
pub fn hash_of<'a, K: Hash>(rows: impl Iterator<Item = (K, &'a Value)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (key, value) in rows {
        key.hash(&mut hasher);
        value.to_string().hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether the n-th intent of a client is one that the daemon refuses.
pub const fn is_refused(n: usize) -> bool {
    n % REFUSED == REFUSED - 1
}

/// What the client shows.
struct Screen {
    tables: [TableSubscription; 2],
    log: LogSubscription,
}

const TABLES: [&str; 2] = ["cells", "styles"];

fn unexpected(what: impl std::fmt::Display) -> WorldError {
    WorldError::Unexpected(what.to_string())
}

impl Screen {
    fn open(client: &Client, host: &ServerId) -> Result<Self, WorldError> {
        let runtime = client.runtime();
        let table = |name: &str| {
            let subscribed = runtime.subscribe_table(host, &format!("sheet.{name}"), &json!({}));
            subscribed.map_err(unexpected)
        };
        let log = runtime.subscribe_log(host, "sheet.edits", &json!({}));
        Ok(Self {
            tables: [table("cells")?, table("styles")?],
            log: log.map_err(unexpected)?,
        })
    }

    /// Loads all rows, and some older items.
    async fn load(&mut self, rows: u64) -> Result<(), WorldError> {
        for table in &mut self.tables {
            loop {
                let view = timeout(FINISH, table.next()).await.map_err(unexpected)?;
                let view = view.map_err(unexpected)?;
                if view.rows.len() as u64 >= rows {
                    break;
                }
                if matches!(view.beyond, Beyond::More | Beyond::Failed(_)) {
                    table.load_more().map_err(unexpected)?;
                }
            }
        }
        let mut pages = 0;
        while pages < OLDER_PAGES {
            let view = timeout(FINISH, self.log.next()).await.map_err(unexpected)?;
            if matches!(
                view.map_err(unexpected)?.older,
                Beyond::More | Beyond::Failed(_)
            ) {
                self.log.load_older().map_err(unexpected)?;
                pages += 1;
            }
        }
        Ok(())
    }

    fn views(&self) -> ([std::sync::Arc<TableView>; 2], std::sync::Arc<LogView>) {
        let [cells, styles] = &self.tables;
        (
            [cells, styles].map(|table| table.current().unwrap_or_default()),
            self.log.current().unwrap_or_default(),
        )
    }

    fn patched(&self) -> usize {
        let patched = |view: &TableView| {
            let rows = view.rows.iter();
            rows.filter(|row| row.pending || row.failure.is_some())
                .count()
        };
        self.views().0.iter().map(|view| patched(view)).sum()
    }

    fn failures(&self) -> Vec<IntentId> {
        let tables = self.views().0;
        let rows = tables.iter().flat_map(|view| view.rows.iter());
        rows.filter_map(|row| Some(row.failure.as_ref()?.intent_id))
            .collect()
    }

    /// What is shown, unless something is still being fetched.
    fn shown(&self) -> Result<Option<Shown>, WorldError> {
        let (tables, log) = self.views();
        let is_ready = tables.iter().all(|view| view.state == TableState::Ready)
            && log.state == TableState::Ready;
        if !is_ready {
            return Ok(None);
        }
        let mut shown = Shown::default();
        for (view, shown) in tables.iter().zip(&mut shown.tables) {
            let rows = view.rows.iter().map(|row| parsed(&row.key, &row.value));
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            let hash = hash_of(rows.iter().map(|(key, value)| (&**key, value)));
            *shown = (rows.len(), hash);
        }
        let items = log.items().map(|item| parsed(&item.index, &item.value));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        let first = items.first().map_or(log.next, |(index, _)| **index);
        let hash = hash_of(items.iter().map(|(index, value)| (**index, value)));
        shown.log = (first, log.next, hash);
        Ok(Some(shown))
    }
}

fn parsed<'a, K>(key: &'a K, value: &Json) -> Result<(&'a K, Value), WorldError> {
    Ok((key, serde_json::from_str(value.get())?))
}

/// Does the work, then reports what it shows until it is killed.
///
/// # Errors
/// An intent is lost, refused though it must not be or done though it must not, or the screen ends.
pub async fn edit(work: Edits, mut tell: impl FnMut(Edited)) -> Result<(), WorldError> {
    let client = Client::open(&work.folder, quick_settings(work.seed))?;
    client.online().await?;
    let host = client.server_id()?;
    let mut screen = Screen::open(&client, &host)?;
    screen.load(work.rows).await?;
    let mut random = Random::new(work.seed);
    let mut sent: Vec<Receipt> = Vec::with_capacity(work.intents);
    let mut ticks = interval(Duration::from_millis(work.pace_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    tell(report(&client, &screen, 0));
    for n in 0..work.intents {
        ticks.tick().await;
        let (intent, patch) = edit_of(&work, n, &mut random)?;
        let runtime = client.runtime();
        let receipt = runtime.send_with(&host, intent, vec![patch]);
        sent.push(receipt.map_err(unexpected)?);
        if n % STEP == STEP - 1 {
            tell(report(&client, &screen, sent.len()));
        }
    }
    let mut last = report(&client, &screen, sent.len());
    for (n, receipt) in sent.into_iter().enumerate() {
        let outcome = timeout(FINISH, receipt.outcome())
            .await
            .map_err(|_| unexpected(format!("intent {n} has no outcome")))?;
        match (outcome, is_refused(n)) {
            (Some(Outcome::Done { .. }), false) | (Some(Outcome::Refused { .. }), true) => {}
            (outcome, _) => return Err(unexpected(format!("intent {n} came to {outcome:?}"))),
        }
        last.done += 1;
    }
    loop {
        // As a person would, also what an earlier process of this client was refused.
        for failed in screen.failures() {
            client
                .runtime()
                .dismiss(&host, failed)
                .map_err(unexpected)?;
        }
        last.gaps = client.counters().event_gaps;
        last.resident = resident(std::process::id());
        last.patched = screen.patched();
        last.shown = screen.shown()?;
        tell(last.clone());
        tokio::time::sleep(REPORT).await;
    }
}

/// The n-th edit: sets a cell of one of the tables, which is shown at once.
fn edit_of(work: &Edits, n: usize, random: &mut Random) -> Result<(Intent, Patch), WorldError> {
    let which = if n.is_multiple_of(2) {
        TABLES[0]
    } else {
        TABLES[1]
    };
    // Few of them, so that patches overlap, of one client and of several.
    let cell = format!("c{:06}", random.below(work.rows.min(200)));
    let word = if is_refused(n) { "no" } else { "set" };
    let text = format!("{word} by {} {n}", work.name);
    let shown = json!({ "text": text });
    let params = json!({
        "table": which,
        "cell": cell,
        "text": text,
        "tag": format!("{}/{n}", work.name),
    });
    let Value::Object(params) = params else {
        return Err(unexpected("parameters are an object"));
    };
    let intent = Intent::Custom {
        method: "sheet.set".to_owned(),
        params,
    };
    let patch = Patch {
        table: format!("sheet.{which}"),
        params: Some(Json::from(to_raw_value(&json!({}))?)),
        key: cell,
        change: PatchChange::Merge(Json::from(to_raw_value(&shown)?)),
    };
    Ok((intent, patch))
}

fn report(client: &Client, screen: &Screen, sent: usize) -> Edited {
    Edited {
        sent,
        gaps: client.counters().event_gaps,
        resident: resident(std::process::id()),
        patched: screen.patched(),
        ..Edited::default()
    }
}
