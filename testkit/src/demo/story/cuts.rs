//! The second act: the socket is cut and the client killed, both during a stream.

use std::time::{Duration, Instant};

use bowline_protocol::model::TurnStatus;

use super::{COMMAND, TICKS};
use crate::{
    demo::{
        client::Client,
        stage::{Stage, Stream},
    },
    world::WorldError,
};

/// One second of lines, which shows that the stream runs.
const SECOND: u32 = 40;

impl Stage {
    /// Runs a longer command through both.
    pub(in crate::demo) async fn long_command(&mut self) -> Result<(), WorldError> {
        self.screen
            .step(&format!("A longer one prints {TICKS} lines, 40 a second"));
        let mut stream = self.stream(COMMAND)?;
        let agent = self.agent(&mut stream).await?;
        self.lines(&mut stream, SECOND).await?;
        self.cut(&mut stream).await?;

        let Stream {
            client,
            mut account,
        } = stream;
        self.screen.step("The client is killed and started again");
        for told in client.kill().await? {
            account.note(Instant::now(), told);
        }
        let had = account.last_tick();
        self.screen.harm(&format!(
            "kill -9 after line {had}; the command keeps printing without a reader"
        ));
        account.pause();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let client = Client::resume(&self.client_dir, &agent, &account.position())?;
        let mut stream = Stream { client, account };
        self.lines(&mut stream, had + SECOND).await?;
        self.screen
            .good("a new process, the same session: the missed lines came first");
        self.exited(stream).await
    }

    async fn cut(&mut self, stream: &mut Stream) -> Result<(), WorldError> {
        self.screen.step("The socket is cut in mid-stream");
        self.screen.harm("every connection reset");
        self.proxy.cut();
        self.lines(stream, stream.account.last_tick() + SECOND)
            .await?;
        self.screen
            .good("the session continued; the next line followed the last one");
        Ok(())
    }

    /// The command succeeds, and every line arrived.
    async fn exited(&mut self, mut stream: Stream) -> Result<(), WorldError> {
        self.end(&mut stream).await?;
        let Stream { client, account } = stream;
        client.kill().await?;
        match account.turn_end {
            Some((TurnStatus::Completed, Some(0))) => {
                self.screen.good("the command ended with exit status 0");
            }
            other => self.fail(format!("the command ended as {other:?}")),
        }
        self.check(&account, TICKS);
        Ok(())
    }
}
