//! The last act: the daemon is killed during a command and restarts.

use std::time::{Duration, Instant};

use bowline_protocol::model::TurnStatus;

use super::COMMAND;
use crate::{
    demo::stage::{Stage, absent},
    world::WorldError,
};

impl Stage {
    /// Kills the daemon during a stream and restarts it; the same session then runs another
    /// command.
    pub(in crate::demo) async fn killed_daemon(&mut self) -> Result<(), WorldError> {
        self.screen
            .step("The daemon is killed in mid-stream and started again");
        let mut stream = self.stream(COMMAND)?;
        self.agent(&mut stream).await?;
        self.lines(&mut stream, 40).await?;
        self.screen.harm("kill -9 of the daemon");
        let mut daemon = self.daemon.take().ok_or_else(|| absent("daemon"))?;
        daemon.kill().await?;
        stream.account.pause();
        tokio::time::sleep(Duration::from_millis(500)).await;
        daemon.start_again().await?;
        let back = Instant::now();
        self.screen.note(&format!(
            "started again, ready after {} ms",
            daemon.ready_after().as_millis()
        ));
        self.daemon = Some(daemon);
        self.end(&mut stream).await?;
        self.report.reattached_ms = back.elapsed().as_millis();
        match stream.account.turn_end {
            Some((TurnStatus::Interrupted, _)) => {
                self.screen
                    .good("the timeline says that the daemon's end interrupted the command");
            }
            other => self.fail(format!("the interrupted command ended as {other:?}")),
        }
        // Everything that the daemon sent before its death is durable, and nothing else was shown.
        self.check(&stream.account, stream.account.last_tick());
        stream.client.kill().await?;

        self.screen.step("The same session runs another command");
        let mut stream = self.stream("for i in 1 2 3; do echo tick $i; done")?;
        self.end(&mut stream).await?;
        stream.client.kill().await?;
        self.check(&stream.account, 3);
        Ok(())
    }
}
