//! The story of `cargo xtask demo`: a real command on a real daemon, streamed to a client, while the connection
//! is cut, the client is restarted, the direct path and a relay are broken in turn, and the daemon is killed, with nothing
//! lost and nothing repeated.

mod account;
mod client;
pub mod follow;
mod paths;
mod screen;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use bowline_protocol::{AgentId, Offer, model::TurnStatus};
use serde::Serialize;
use tokio::process::Command;

pub use self::paths::Step;
use self::{account::Account, client::Client, follow::Told, screen::Screen};
use crate::{
    Proxy,
    world::{DaemonOptions, DaemonProcess, RelayOptions, RelayProcess, WorldError, program},
};

/// Lines the long command prints, 40 a second.
const TICKS: u32 = 240;
/// How the command prints them.
const COMMAND: &str = "i=1; while [ $i -le 240 ]; do echo tick $i; i=$((i+1)); sleep 0.025; done";

/// Every so many of these lines one is shown.
const STRIDE: u32 = 20;

/// How to play.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Leave everything running at the end, and say how to go on by hand.
    pub keep: bool,
    /// Print one JSON object at the end instead of the account.
    pub json: bool,
}

/// What the story came to.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Items and deltas that clients received.
    pub events_received: u64,
    /// Lines of output that never arrived.
    pub lost: usize,
    /// Lines of output that arrived more than once.
    pub repeated: usize,
    /// Whether all came in order.
    pub in_order: bool,
    /// Longest time without anything, while the command ran and the connection was cut, in milliseconds.
    pub longest_gap_ms: u128,
    /// Times the session went on where it was.
    pub resumed: u64,
    /// From the start of the daemon's process to its accepting connections, in milliseconds.
    pub daemon_ready_ms: u128,
    /// From the daemon's second start to the client being attached again, in milliseconds.
    pub reattached_ms: u128,
    /// How each step of the act with two paths went.
    pub steps: Vec<Step>,
    /// What did not hold, for people.
    pub failures: Vec<String>,
}

/// Everything on the stage.
struct Stage {
    screen: Screen,
    /// The network between the client and the daemon's own address.
    proxy: Proxy,
    folder: PathBuf,
    client_dir: PathBuf,
    host: String,
    connection: Connection,
    /// Every so many lines of output one is shown.
    stride: u32,
    report: Report,
}

/// What the client told last of its connection.
#[derive(Debug, Default)]
struct Connection {
    state: String,
    path: Option<String>,
    generation: u64,
}

impl Connection {
    fn is_on(&self, path: &str) -> bool {
        self.state == "online" && self.path.as_deref() == Some(path)
    }
}

/// Plays the story.
///
/// # Errors
/// When a program could not be used at all. What did not hold is in the report.
pub async fn play(options: Options) -> Result<Report, WorldError> {
    let folder = tempfile::tempdir().map_err(WorldError::io("a temporary folder"))?;
    let (daemon_dir, client_dir) = (folder.path().join("daemon"), folder.path().join("client"));
    let screen = Screen::new(options.json);

    screen.step("A relay starts, for clients that cannot dial the daemon");
    let relay = RelayProcess::start(RelayOptions {
        log: "error".to_owned(),
        ..RelayOptions::default()
    })
    .await?;
    screen.good(&format!("listening on {}", relay.url()));

    screen.step("A daemon starts on this machine");
    let mut proxy_target = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let proxy = Proxy::start(proxy_target)
        .await
        .map_err(WorldError::io("the proxy"))?;
    let daemon = DaemonProcess::start(DaemonOptions {
        advertise: vec![proxy.addr().to_string()],
        log: "error".to_owned(),
        args: vec!["--relay".to_owned(), relay.url()],
        ..DaemonOptions::new(&daemon_dir)
    })
    .await?;
    proxy_target = daemon.address();
    proxy.set_target(proxy_target);
    let ready = daemon.ready_after();
    screen.good(&format!(
        "ready after {} ms, listening on {proxy_target}",
        ready.as_millis()
    ));
    screen.note(&format!(
        "between it and its clients: a network on {} that we can break",
        proxy.addr()
    ));
    daemon.registered().await?;
    screen.good("it proved to the relay who it is, and is registered there");

    screen.step("A client pairs with it, once");
    let offer = daemon.offer().await?;
    let parsed: Offer = offer
        .parse()
        .map_err(|error| WorldError::Unexpected(format!("{error}")))?;
    bowline(&client_dir, &["pair", &offer]).await?;
    screen.good(&format!(
        "paired with {}; the link is used up now",
        parsed.server_id
    ));
    screen.note(&format!(
        "two paths are known: direct {}, relay {}",
        parsed.direct.join(", "),
        parsed.relays.join(", ")
    ));

    let report = Report {
        daemon_ready_ms: ready.as_millis(),
        in_order: true,
        ..Report::default()
    };
    let host = parsed.server_id.to_string();
    let mut stage = Stage {
        screen,
        proxy,
        folder: folder.path().to_owned(),
        client_dir,
        host,
        connection: Connection::default(),
        stride: STRIDE,
        report,
    };
    stage.first_command().await?;
    stage.long_command().await?;
    let relay = stage.two_paths(&daemon, relay).await?;
    let daemon = stage.killed_daemon(daemon).await?;
    stage.finish();

    if options.keep {
        keep(&stage, daemon, folder, &daemon_dir).await?;
    } else {
        daemon.stop().await?;
        relay.stop().await?;
    }
    Ok(stage.report)
}

impl Stage {
    fn fail(&mut self, failure: impl Into<String>) {
        let failure = failure.into();
        self.screen.harm(&format!("DID NOT HOLD: {failure}"));
        self.report.failures.push(failure);
    }

    /// `bowline run`, as a person would.
    async fn first_command(&mut self) -> Result<(), WorldError> {
        self.screen
            .step("A real command runs on the daemon's machine: uname -sm");
        let output = bowline(
            &self.client_dir,
            &["run", "--provider", "shell", "uname -sm"],
        )
        .await?;
        for line in output.lines() {
            self.screen.output(line);
        }
        if output.trim().is_empty() {
            self.fail("`bowline run` printed nothing");
        }
        Ok(())
    }

    /// Cuts, freezes, and a client killed and started again, all in mid-stream.
    async fn long_command(&mut self) -> Result<(), WorldError> {
        self.screen
            .step(&format!("A longer one prints {TICKS} lines, 40 a second"));
        let mut account = Account::default();
        let mut client = Client::create(&self.client_dir, &self.host, COMMAND)?;
        let agent = self.agent(&mut client).await?;
        self.until(&mut client, &mut account, |account| {
            account.last_tick() >= 40
        })
        .await?;

        self.screen.step("The socket is cut in mid-stream");
        self.screen.harm("every connection reset");
        self.proxy.cut();
        let cut_at = account.last_tick();
        self.until(&mut client, &mut account, |account| {
            account.last_tick() >= cut_at + 40
        })
        .await?;
        self.screen
            .good("the session went on; the next line followed the last one");

        self.screen.step("The client is killed and started again");
        for told in client.kill().await? {
            account.note(Instant::now(), told);
        }
        let had = account.last_tick();
        self.screen.harm(&format!(
            "kill -9 after line {had}; the command goes on printing to nobody"
        ));
        account.pause();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut client = Client::resume(&self.client_dir, &self.host, &agent, &account.position())?;
        self.until(&mut client, &mut account, |account| {
            account.last_tick() >= had + 40
        })
        .await?;
        self.screen
            .good("a new process, the same session: what it had missed came first");

        self.until(&mut client, &mut account, |account| {
            account.turn_end.is_some()
        })
        .await?;
        client.kill().await?;
        match account.turn_end {
            Some((TurnStatus::Completed, Some(0))) => {
                self.screen.good("the command ended with exit status 0")
            }
            other => self.fail(format!("the command ended as {other:?}")),
        }
        self.check(&account, TICKS);
        Ok(())
    }

    /// The daemon dies under a running command and comes back.
    async fn killed_daemon(&mut self, daemon: DaemonProcess) -> Result<DaemonProcess, WorldError> {
        self.screen
            .step("The daemon is killed in mid-stream and started again");
        let mut account = Account::default();
        let mut client = Client::create(&self.client_dir, &self.host, COMMAND)?;
        self.agent(&mut client).await?;
        self.until(&mut client, &mut account, |account| {
            account.last_tick() >= 40
        })
        .await?;
        self.screen.harm("kill -9 of the daemon");
        let options = daemon.kill().await?;
        account.pause();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let daemon = DaemonProcess::start(options).await?;
        let back = Instant::now();
        self.screen.note(&format!(
            "started again, ready after {} ms",
            daemon.ready_after().as_millis()
        ));
        self.until(&mut client, &mut account, |account| {
            account.turn_end.is_some()
        })
        .await?;
        self.report.reattached_ms = back.elapsed().as_millis();
        match account.turn_end {
            Some((TurnStatus::Interrupted, _)) => {
                self.screen
                    .good("the timeline says that the daemon's end interrupted the command");
            }
            other => self.fail(format!("the interrupted command ended as {other:?}")),
        }
        // Whatever the daemon had told before it died is durable, and nothing else was shown.
        let had = account.last_tick();
        self.check(&account, had);
        client.kill().await?;

        self.screen.step("The same session runs another command");
        let mut account = Account::default();
        let mut client = Client::create(
            &self.client_dir,
            &self.host,
            "for i in 1 2 3; do echo tick $i; done",
        )?;
        self.until(&mut client, &mut account, |account| {
            account.turn_end.is_some()
        })
        .await?;
        client.kill().await?;
        self.check(&account, 3);
        Ok(daemon)
    }

    /// The agent that a client made.
    async fn agent(&self, client: &mut Client) -> Result<AgentId, WorldError> {
        loop {
            if let Told::Agent { id } = client.next().await? {
                return Ok(id);
            }
        }
    }

    /// Lets the client go on until the account says so.
    async fn until(
        &mut self,
        client: &mut Client,
        account: &mut Account,
        done: impl Fn(&Account) -> bool,
    ) -> Result<(), WorldError> {
        while !done(account) {
            self.advance(client, account).await?;
        }
        Ok(())
    }

    /// Takes the next thing that the client tells.
    async fn advance(
        &mut self,
        client: &mut Client,
        account: &mut Account,
    ) -> Result<(), WorldError> {
        let shown = account.last_tick() / self.stride;
        let told = client.next().await?;
        if let Told::Host {
            state,
            path,
            generation,
            resumed,
            gaps,
            ..
        } = &told
        {
            self.connection = Connection {
                state: state.clone(),
                path: path.clone(),
                generation: *generation,
            };
            let path = path.as_deref().unwrap_or("no path");
            self.screen.state(&format!(
                "{state} · {path} · generation {generation} · resumed {resumed}×"
            ));
            self.report.resumed += u64::from(*resumed > 0 && state == "online");
            if *gaps > 0 {
                self.fail(format!("{gaps} events were missing before others"));
            }
        }
        account.note(Instant::now(), told);
        let tick = account.last_tick();
        if tick / self.stride > shown {
            self.screen.output(&format!("… tick {tick}"));
        }
        Ok(())
    }

    fn check(&mut self, account: &Account, last: u32) {
        let ticks = account.ticks(last);
        self.report.events_received += account.received;
        self.report.lost += ticks.lost;
        self.report.repeated += ticks.repeated;
        self.report.in_order &= ticks.in_order;
        self.report.longest_gap_ms = self
            .report
            .longest_gap_ms
            .max(account.longest_gap.as_millis());
        if ticks.lost + ticks.repeated > 0 || !ticks.in_order || account.repeated_items > 0 {
            self.fail(format!(
                "of {last} lines: {ticks:?}, {} items twice",
                account.repeated_items
            ));
        } else {
            self.screen.good(&format!(
                "{last} lines: none lost, none repeated, all in order"
            ));
        }
    }

    fn finish(&mut self) {
        if self.report.resumed == 0 {
            self.fail("the session was never resumed");
        }
        let report = &self.report;
        self.screen.table(&[
            ("events received", report.events_received.to_string()),
            ("lines lost", report.lost.to_string()),
            ("lines repeated", report.repeated.to_string()),
            (
                "in order",
                if report.in_order { "yes" } else { "no" }.to_owned(),
            ),
            ("longest gap", format!("{} ms", report.longest_gap_ms)),
            ("daemon ready", format!("{} ms", report.daemon_ready_ms)),
            (
                "attached again after kill -9",
                format!("{} ms", report.reattached_ms),
            ),
            (
                "story",
                if report.failures.is_empty() {
                    "held"
                } else {
                    "DID NOT HOLD"
                }
                .to_owned(),
            ),
        ]);
    }
}

/// Runs the terminal client and returns what it printed.
async fn bowline(state_dir: &Path, args: &[&str]) -> Result<String, WorldError> {
    let output = Command::new(program("bowline")?)
        .args(args)
        .arg("--state-dir")
        .arg(state_dir)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(WorldError::io("bowline"))?;
    if !output.status.success() {
        let name = args.first().copied().unwrap_or_default();
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(WorldError::Unexpected(format!(
            "`bowline {name}` failed: {}",
            stderr.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Leaves the daemon running until the person at the terminal is done.
async fn keep(
    stage: &Stage,
    daemon: DaemonProcess,
    folder: tempfile::TempDir,
    daemon_dir: &Path,
) -> Result<(), WorldError> {
    let (daemon_program, client_program) = (program("bowline-daemon")?, program("bowline")?);
    let (client, daemon_program) = (client_program.display(), daemon_program.display());
    bowline_program::say!("Everything is still running. In another terminal, for instance:\n");
    bowline_program::say!(
        "  {client} watch --state-dir {}",
        stage.client_dir.display()
    );
    bowline_program::say!(
        "  {client} run --provider shell 'ls -l' --state-dir {}",
        stage.client_dir.display()
    );
    bowline_program::say!(
        "  {daemon_program} status --state-dir {}",
        daemon_dir.display()
    );
    bowline_program::say!(
        "\nThe daemon is process {}. Ctrl-C ends it and removes {}.",
        daemon.pid().unwrap_or(0),
        folder.path().display()
    );
    tokio::signal::ctrl_c()
        .await
        .map_err(WorldError::io("waiting for ctrl-C"))?;
    daemon.stop().await?;
    Ok(())
}
