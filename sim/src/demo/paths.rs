//! The act with two paths: a command prints without end while the direct path and the relay are broken one after the
//! other, and at each step the account says on which path its lines come, in which generation, and how long none came.

use std::time::{Duration, Instant};

use bowline_protocol::model::TurnStatus;
use serde::Serialize;

use super::{Stage, account::Account, client::Client};
use crate::world::{DaemonProcess, RelayProcess, WorldError};

/// How often the client of this story asks its paths how they are. An app does every ten seconds.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Lines of output that are taken as a sign that all is well again: a second of them.
const WELL: u32 = 40;

/// How one step went.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What was done.
    pub what: &'static str,
    /// On which path the lines came at its end.
    pub path: String,
    /// In which generation.
    pub generation: u64,
    /// Longest time without a line, in milliseconds.
    pub gap_ms: u128,
}

/// The stream, while things break.
struct Watching {
    client: Client,
    account: Account,
}

impl Stage {
    /// Cuts, freezes and restores the direct path, and kills and restarts the relay, under one stream.
    pub(super) async fn two_paths(
        &mut self,
        daemon: &DaemonProcess,
        relay: RelayProcess,
    ) -> Result<RelayProcess, WorldError> {
        self.screen
            .step("Two paths to one daemon: a command prints, and both are broken in turn");
        let stop = self.folder.join("enough");
        let client = Client::create(&self.client_dir, &self.host, &command(&stop))?;
        let account = Account::default();
        let mut watching = Watching { client, account };
        self.agent(&mut watching.client).await?;
        self.stride = 200;
        self.settled(&mut watching, "direct", "at first").await?;

        self.screen.step("The direct path is cut and stays cut");
        self.screen.harm("every socket reset, new ones refused");
        self.proxy.refuse(true);
        self.proxy.cut();
        self.settled(&mut watching, "relay", "direct cut").await?;

        self.screen.step("The direct path is restored");
        self.proxy.refuse(false);
        self.settled(&mut watching, "direct", "direct restored")
            .await?;

        self.screen
            .step("The direct path freezes: sockets stay open, bytes are swallowed");
        self.screen
            .harm("nobody is told; only silence can be noticed");
        self.proxy.blackhole();
        self.proxy.freeze();
        self.settled(&mut watching, "relay", "direct frozen")
            .await?;

        self.screen.step("The direct path thaws");
        self.proxy.thaw();
        self.settled(&mut watching, "direct", "direct thawed")
            .await?;

        self.screen
            .step("The relay is killed while nobody needs it");
        self.screen.harm("kill -9 of the relay");
        let options = relay.kill().await?;
        self.settled(&mut watching, "direct", "relay killed")
            .await?;
        let relay = RelayProcess::start(options).await?;
        let back = Instant::now();
        {
            // Who waits goes on reading, or the wait would show as a gap.
            let Watching { client, account } = &mut watching;
            let registered = daemon.registered();
            tokio::pin!(registered);
            loop {
                tokio::select! {
                    registered = &mut registered => break registered?,
                    advanced = self.advance(client, account) => advanced?,
                }
            }
        }
        self.screen.good(&format!(
            "started again; the daemon registered by itself after {} ms",
            back.elapsed().as_millis()
        ));

        self.screen
            .step("The direct path is cut, and the relay killed under the stream");
        self.proxy.refuse(true);
        self.proxy.cut();
        self.settled(&mut watching, "relay", "direct cut again")
            .await?;
        self.screen.harm("kill -9 of the relay: no path is left");
        let options = relay.kill().await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let relay = RelayProcess::start(options).await?;
        self.screen.note("the relay is started again");
        self.settled(&mut watching, "relay", "relay killed and restarted")
            .await?;

        self.screen.step("Everything is well again");
        self.proxy.refuse(false);
        self.settled(&mut watching, "direct", "direct restored again")
            .await?;
        self.ended(watching, &stop).await?;
        Ok(relay)
    }

    /// Waits until a second of lines has come and the client is on that path, and writes the step down.
    async fn settled(
        &mut self,
        watching: &mut Watching,
        path: &str,
        what: &'static str,
    ) -> Result<(), WorldError> {
        let Watching { client, account } = watching;
        account.begin_step();
        let began = Instant::now();
        let mut enough = None;
        loop {
            self.advance(client, account).await?;
            let line = account.last_tick();
            let enough = *enough.get_or_insert(line + WELL);
            if line >= enough && self.connection.is_on(path) {
                break;
            }
        }
        let step = Step {
            what,
            path: path.to_owned(),
            generation: self.connection.generation,
            gap_ms: account.step_gap.as_millis(),
        };
        self.screen.good(&format!(
            "on the {path} path, generation {}, after {:.1} s; longest gap {} ms",
            step.generation,
            began.elapsed().as_secs_f64(),
            step.gap_ms
        ));
        self.report.steps.push(step);
        Ok(())
    }

    /// Ends the command and compares what it says it printed with what came.
    async fn ended(
        &mut self,
        mut watching: Watching,
        stop: &std::path::Path,
    ) -> Result<(), WorldError> {
        std::fs::write(stop, "").map_err(WorldError::io("a file in the demo's folder"))?;
        let Watching { client, account } = &mut watching;
        while account.turn_end.is_none() {
            self.advance(client, account).await?;
        }
        if account.turn_end != Some((TurnStatus::Completed, Some(0))) {
            self.fail(format!("the command ended as {:?}", account.turn_end));
        }
        watching.client.kill().await?;
        match watching.account.printed() {
            Some(printed) => self.check(&watching.account, printed),
            None => self.fail("the command's last line never came"),
        }
        let steps = self.report.steps.iter();
        let rows: Vec<_> = steps
            .map(|step| {
                [
                    step.what.to_owned(),
                    step.path.clone(),
                    step.generation.to_string(),
                    format!("{} ms", step.gap_ms),
                ]
            })
            .collect();
        let head = ["", "path", "generation", "longest gap"].map(str::to_owned);
        self.screen.grid(&head, &rows);
        self.stride = super::STRIDE;
        Ok(())
    }
}

/// Prints until the file is there, and then how much it printed.
fn command(stop: &std::path::Path) -> String {
    format!(
        "i=0; while [ ! -e '{}' ]; do i=$((i+1)); echo tick $i; sleep 0.025; done; echo printed $i",
        stop.display()
    )
}
