//! The act with two paths: a command prints continuously while the direct path and the relay fail
//! in turn; each step reports the path of its lines, the generation, and the longest gap.

use std::time::{Duration, Instant};

use bowline_protocol::model::TurnStatus;
use bowline_runtime::machines::Path;

use crate::{
    demo::{
        report::Step,
        stage::{STRIDE, Stage, Stream, absent},
    },
    world::WorldError,
};

/// Probe interval of the demo's client. The default for apps is ten seconds.
pub(in crate::demo) const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The step in which the path fails silently.
const FROZEN: &str = "direct frozen";
/// Longest allowed time without a line in that step (SP-1).
const FROZEN_GAP: Duration = Duration::from_secs(1);
/// Lines of output that show recovery: one second's worth.
const WELL: u32 = 40;

impl Stage {
    /// Breaks both paths in turn during one stream.
    pub(in crate::demo) async fn two_paths(&mut self) -> Result<(), WorldError> {
        self.screen
            .step("Two paths to one daemon: a command prints, and both are broken in turn");
        let stop = self.folder.join("enough");
        let mut stream = self.stream(&command(&stop))?;
        self.agent(&mut stream).await?;
        self.stride = 200;
        self.settled(&mut stream, Path::Direct, "at first").await?;
        self.break_direct(&mut stream).await?;
        self.break_relay(&mut stream).await?;
        self.enough(stream, &stop).await
    }

    async fn break_direct(&mut self, stream: &mut Stream) -> Result<(), WorldError> {
        self.screen.step("The direct path is cut and stays cut");
        self.screen.harm("every socket reset, new ones refused");
        self.cut_direct();
        self.settled(stream, Path::Relay, "direct cut").await?;
        self.screen.step("The direct path is restored");
        self.proxy.refuse(false);
        self.settled(stream, Path::Direct, "direct restored")
            .await?;
        self.screen
            .step("The direct path freezes: sockets stay open, bytes are swallowed");
        self.screen
            .harm("no connection is closed; only silence reveals it");
        self.proxy.blackhole();
        self.proxy.freeze();
        self.settled(stream, Path::Relay, FROZEN).await?;
        self.screen.step("The direct path thaws");
        self.proxy.thaw();
        self.settled(stream, Path::Direct, "direct thawed").await
    }

    async fn break_relay(&mut self, stream: &mut Stream) -> Result<(), WorldError> {
        self.screen
            .step("The relay is killed while it is not in use");
        self.screen.harm("kill -9 of the relay");
        self.relay.kill().await?;
        self.settled(stream, Path::Direct, "relay killed").await?;
        self.relay.start_again().await?;
        self.registered(stream).await?;
        self.screen
            .step("The direct path is cut, and the relay killed under the stream");
        self.cut_direct();
        self.settled(stream, Path::Relay, "direct cut again")
            .await?;
        self.screen.harm("kill -9 of the relay: no path is left");
        self.relay.kill().await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.relay.start_again().await?;
        self.screen.note("the relay is started again");
        self.settled(stream, Path::Relay, "relay killed and restarted")
            .await?;
        self.screen.step("Everything is well again");
        self.proxy.refuse(false);
        self.settled(stream, Path::Direct, "direct restored again")
            .await
    }

    /// Resets the direct path and refuses new connections.
    fn cut_direct(&self) {
        self.proxy.refuse(true);
        self.proxy.cut();
    }

    /// Waits until the daemon is registered. Keeps reading the stream, since the wait would
    /// otherwise count as a gap.
    async fn registered(&mut self, stream: &mut Stream) -> Result<(), WorldError> {
        let back = Instant::now();
        let daemon = self.daemon.take().ok_or_else(|| absent("daemon"))?;
        {
            let registered = daemon.registered();
            tokio::pin!(registered);
            loop {
                tokio::select! {
                    registered = &mut registered => break registered?,
                    advanced = self.advance(stream) => advanced?,
                }
            }
        }
        self.daemon = Some(daemon);
        self.screen.good(&format!(
            "started again; the daemon registered by itself after {} ms",
            back.elapsed().as_millis()
        ));
        Ok(())
    }

    /// Waits until a second of lines has arrived and the client is on that path, and records the
    /// step.
    async fn settled(
        &mut self,
        stream: &mut Stream,
        path: Path,
        what: &'static str,
    ) -> Result<(), WorldError> {
        stream.account.begin_step();
        let began = Instant::now();
        let mut enough = None;
        loop {
            self.advance(stream).await?;
            let line = stream.account.last_tick();
            let enough = *enough.get_or_insert(line + WELL);
            if line >= enough && self.connection.is_on(path) {
                break;
            }
        }
        let step = Step {
            what,
            path,
            generation: self.connection.generation,
            gap_ms: stream.account.step_gap.as_millis(),
        };
        self.screen.good(&format!(
            "on the {path} path, generation {}, after {:.1} s; longest gap {} ms",
            step.generation,
            began.elapsed().as_secs_f64(),
            step.gap_ms
        ));
        if what == FROZEN && stream.account.step_gap > FROZEN_GAP {
            let gap = step.gap_ms;
            self.fail(format!("the frozen path was left after {gap} ms only"));
        }
        self.report.steps.push(step);
        Ok(())
    }

    /// Ends the command and compares its line count with the received lines.
    async fn enough(
        &mut self,
        mut stream: Stream,
        stop: &std::path::Path,
    ) -> Result<(), WorldError> {
        std::fs::write(stop, "").map_err(WorldError::io("a file in the demo's folder"))?;
        self.end(&mut stream).await?;
        let Stream { client, account } = stream;
        if account.turn_end != Some((TurnStatus::Completed, Some(0))) {
            self.fail(format!("the command ended as {:?}", account.turn_end));
        }
        client.kill().await?;
        match account.printed() {
            Some(printed) => self.check(&account, printed),
            None => self.fail("the command's last line never came"),
        }
        self.report.show_steps(&self.screen);
        self.stride = STRIDE;
        Ok(())
    }
}

/// Prints until the file exists, and then the number of lines.
fn command(stop: &std::path::Path) -> String {
    format!(
        "i=0; while [ ! -e '{}' ]; do i=$((i+1)); echo tick $i; sleep 0.025; done; echo printed $i",
        stop.display()
    )
}
