//! Chaos on live data: three clients, each a process, show two tables of 10,000 rows and a log of
//! 100,000 items and edit them optimistically, while their paths are cut or frozen every 50 to 500
//! ms, the daemon is killed, and one of them is too.
//!
//! The seed is printed; `BOWLINE_SEED` repeats a run.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use bowline_local::{Client as Local, ClientOptions, Endpoint};
use bowline_testkit::{
    Chaos, Plan, Proxy,
    world::{
        Client, DaemonOptions, DaemonProcess, WorldError,
        edits::{Edited, Edits, Shown, hash_of, is_refused},
        program, quick_settings,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

use crate::{Outcome, log, world::seed};

const ROWS: u64 = 10_000;
const ITEMS: u64 = 100_000;
/// Intents of all clients.
const INTENTS: usize = 2_000;
const CLIENTS: usize = 3;
const KILLS: usize = 4;
/// Longest run on a slow machine.
const BOUND: Duration = Duration::from_secs(240);

/// A daemon of a large sheet, and a folder for everything.
struct Sheet {
    daemon: DaemonProcess,
    root: TempDir,
}

impl Sheet {
    async fn new() -> Result<Self, Box<dyn std::error::Error>> {
        log::keep();
        let root = tempfile::tempdir()?;
        let mut options = DaemonOptions::new(root.path().join("state"));
        options.program = "examples/sheet";
        let config = root.path().join("config.toml");
        std::fs::write(&config, "[limits]\ndata_rows_per_device = 1_000_000\n")?;
        options.config = Some(config);
        let daemon = DaemonProcess::start(options).await?;
        let sheet = Self { daemon, root };
        let local = sheet.local().await?;
        for table in ["cells", "styles"] {
            let fill = json!({"table": table, "from": 0, "rows": ROWS});
            local.call::<Value>("sheet.fill", &fill).await?;
        }
        for _ in 0..10 {
            let append = json!({"items": ITEMS / 10});
            local.call::<Value>("sheet.append", &append).await?;
        }
        Ok(sheet)
    }

    async fn local(&self) -> Result<Local, Box<dyn std::error::Error>> {
        let status: Value = self.daemon.ask("status").await?;
        let endpoint = Endpoint::new(Path::new(status["socket"].as_str().unwrap_or_default()))?;
        Ok(Local::listen(&endpoint, ClientOptions::default()).await?.0)
    }

    /// What a client shows that shows the truth, if its oldest item is this one.
    async fn shown(&self, from: u64) -> Result<Shown, Box<dyn std::error::Error>> {
        let local = self.local().await?;
        let mut shown = Shown::default();
        for (table, shown) in ["cells", "styles"].iter().zip(&mut shown.tables) {
            let mut rows: Vec<(String, Value)> = Vec::new();
            loop {
                let after = rows.last().map_or("", |(key, _)| key);
                let page = json!({"table": table, "after": after});
                let page: Value = local.call("sheet.list_rows", &page).await?;
                let page: Vec<(String, Value)> = serde_json::from_value(page["rows"].clone())?;
                if page.is_empty() {
                    break;
                }
                rows.extend(page);
            }
            let hash = hash_of(rows.iter().map(|(key, value)| (&**key, value)));
            *shown = (rows.len(), hash);
        }
        let edits = edits(&local, from).await?;
        let next = edits.last().map_or(from, |(index, _)| index + 1);
        let hash = hash_of(edits.iter().map(|(index, value)| (*index, value)));
        shown.log = (from, next, hash);
        Ok(shown)
    }

    /// How often each edit of a client was done.
    async fn effects(&self) -> Result<BTreeMap<String, usize>, Box<dyn std::error::Error>> {
        let mut effects = BTreeMap::new();
        for (_, edit) in edits(&self.local().await?, ITEMS).await? {
            let tag = edit["tag"].as_str().unwrap_or_default().to_owned();
            *effects.entry(tag).or_default() += 1;
        }
        Ok(effects)
    }
}

/// The items of the log from that index on.
async fn edits(
    local: &Local,
    mut from: u64,
) -> Result<Vec<(u64, Value)>, Box<dyn std::error::Error>> {
    let mut items: Vec<(u64, Value)> = Vec::new();
    loop {
        let page = json!({"from": from, "to": u64::MAX});
        let page: Value = local.call("sheet.list_edits", &page).await?;
        let page: Vec<(u64, Value)> = serde_json::from_value(page["edits"].clone())?;
        let Some((last, _)) = page.last() else {
            return Ok(items);
        };
        from = last + 1;
        items.extend(page);
    }
}

/// A client: its process, its path and what it said last.
struct Editor {
    work: Edits,
    child: Child,
    told: Lines<BufReader<ChildStdout>>,
    last: Edited,
    proxy: Proxy,
}

impl Editor {
    async fn new(sheet: &Sheet, n: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let folder = sheet.root.path().join(format!("client-{n}"));
        let seed = seed() + n as u64;
        let proxy = Proxy::start(sheet.daemon.address()).await?;
        let mut client = Client::open(&folder, quick_settings(seed))?;
        client.pair(&sheet.daemon, &[proxy.addr()]).await?;
        client.runtime().close().await;
        let work = Edits {
            folder,
            seed,
            name: format!("{n}a"),
            intents: INTENTS / CLIENTS + usize::from(n < INTENTS % CLIENTS),
            pace_ms: 40,
            rows: ROWS,
        };
        let (child, told) = start(&work)?;
        let last = Edited::default();
        Ok(Self {
            work,
            child,
            told,
            last,
            proxy,
        })
    }

    /// Reads reports until one is as wanted.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Edited) -> bool) -> Outcome {
        let found = async {
            while !wanted(&self.last) {
                let line = self.told.next_line().await?;
                let line = line.ok_or_else(|| format!("{} ended", self.work.name))?;
                self.last = serde_json::from_str(&line)?;
            }
            Outcome::Ok(())
        };
        match timeout(BOUND, found).await {
            Ok(found) => found,
            Err(_) => Err(format!("{what}: {} says {:?}", self.work.name, self.last).into()),
        }
    }

    /// Kills the process and starts it again for what is left, under another name. Returns how many
    /// intents were certainly sent.
    async fn kill(&mut self) -> Result<usize, Box<dyn std::error::Error>> {
        self.child.kill().await?;
        let sent = self.last.sent;
        self.work.intents -= sent;
        self.work.name = self.work.name.replace('a', "b");
        (self.child, self.told) = start(&self.work)?;
        self.last = Edited::default();
        Ok(sent)
    }
}

fn start(work: &Edits) -> Result<(Child, Lines<BufReader<ChildStdout>>), WorldError> {
    let mut child = Command::new(program("bowline-testkit-actor")?)
        .arg("edit")
        .arg(serde_json::to_string(work)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the actor starts");
    let told = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    Ok((child, told))
}

#[tokio::test]
async fn ld_2_ld_3_bx_1_bx_4_chaos_of_optimistic_edits_on_large_tables_and_a_long_log() -> Outcome {
    println!("BOWLINE_SEED={}", seed());
    let mut sheet = Sheet::new().await?;
    let mut editors = Vec::new();
    for n in 0..CLIENTS {
        editors.push(Editor::new(&sheet, n).await?);
    }
    for editor in &mut editors {
        editor
            .until("it shows everything", |said| said.sent > 0)
            .await?;
    }
    let began = Instant::now();
    let chaos: Vec<_> = (seed()..)
        .zip(&editors)
        .map(|(seed, editor)| Chaos::start(editor.proxy.clone(), &Plan::new(seed)))
        .collect();
    for _ in 0..KILLS {
        sleep(Duration::from_millis(1_500)).await;
        sheet.daemon.kill().await?;
        sheet.daemon.start_again().await?;
    }
    editors[0]
        .until("a third is sent", |said| said.sent > 200)
        .await?;
    let first_name = editors[0].work.name.clone();
    let certainly = editors[0].kill().await?;
    for editor in &mut editors {
        let all = editor.work.intents;
        editor
            .until("it sends all", |said| said.sent == all)
            .await?;
    }
    for chaos in chaos {
        let report = chaos.stop().await;
        println!("{:?}: {report:?}", began.elapsed());
        assert!(report.cuts > 5 && report.freezes > 5, "{report:?}");
    }

    for editor in &mut editors {
        let all = editor.work.intents;
        let settled = |said: &Edited| said.done == all && said.patched == 0 && said.shown.is_some();
        editor
            .until("nothing is pending or failed", settled)
            .await?;
    }
    for editor in &mut editors {
        let from = editor.last.shown.as_ref().expect("settled").log.0;
        let truth = sheet.shown(from).await?;
        assert!(
            truth.tables.iter().all(|table| table.0 == 10_000),
            "{truth:?}"
        );
        editor
            .until("it shows what the daemon has", |said| {
                said.shown == Some(truth.clone())
            })
            .await?;
        assert_eq!((editor.last.gaps, editor.last.patched), (0, 0));
    }

    let mut effects = sheet.effects().await?;
    for editor in &editors {
        for n in 0..editor.work.intents {
            let times = effects.remove(&format!("{}/{n}", editor.work.name));
            let wanted = (!is_refused(n)).then_some(1);
            assert_eq!(times, wanted, "{}/{n}", editor.work.name);
        }
    }
    // What the killed process may have sent after its last report is done at most once.
    for n in 0..certainly {
        let times = effects.remove(&format!("{first_name}/{n}"));
        assert_eq!(times, (!is_refused(n)).then_some(1), "{first_name}/{n}");
    }
    assert!(effects.values().all(|times| *times == 1), "{effects:?}");
    assert!(
        effects.keys().all(|tag| tag.starts_with(&first_name)),
        "{effects:?}"
    );
    Ok(())
}
