//! Console windows: output, Ctrl-C, and closing.

use std::process::Stdio;

use bowline_testkit::{eventually, world::Wine};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{client::Machines, wine};
use crate::{Outcome, world::LONG};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Console mode that interprets escape sequences (`ENABLE_VIRTUAL_TERMINAL_PROCESSING`).
const OBEYS_ESCAPES: u32 = 4;

/// A program in its own window (`console.c`); killed when dropped.
struct Console {
    helper: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Console {
    /// Without colours.
    fn start(program: &str, arguments: &[&str]) -> Result<Self> {
        Self::with(program, arguments, |command| command.env("NO_COLOR", "1"))
    }

    fn with(
        program: &str,
        arguments: &[&str],
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<Self> {
        let wine = wine();
        let mut line = format!("\"{}\"", Wine::path(&wine.program(program)?));
        for argument in arguments {
            line.push_str(&format!(" \"{argument}\""));
        }
        let mut command = wine.command("console")?;
        command
            .arg(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut helper = change(&mut command).spawn()?;
        let (stdin, stdout) = (helper.stdin.take(), helper.stdout.take());
        Ok(Self {
            helper,
            stdin: stdin.unwrap(),
            lines: BufReader::new(stdout.unwrap()).lines(),
        })
    }

    /// One request and the lines of its answer.
    async fn ask(&mut self, request: &str) -> Result<Vec<String>> {
        self.stdin
            .write_all(format!("{request}\n").as_bytes())
            .await?;
        let mut answer = Vec::new();
        loop {
            match timeout(LONG, self.lines.next_line()).await?? {
                Some(line) if line == "." => return Ok(answer),
                Some(line) => answer.push(line.trim_end_matches('\r').to_owned()),
                None => return Err(format!("{request}: {:?}", self.helper.wait().await?).into()),
            }
        }
    }

    async fn number(&mut self, request: &str) -> Result<u32> {
        Ok(self.ask(request).await?.concat().parse()?)
    }

    /// Waits until the window shows a text.
    async fn until_shown(&mut self, text: &str) -> Outcome {
        let console = tokio::sync::Mutex::new(self);
        let shown = async || {
            let shown = console.lock().await.ask("screen").await;
            // A long line wraps to the next row.
            let lines = shown.map_err(|error| vec![error.to_string()])?;
            if lines.concat().contains(text) {
                Ok(())
            } else {
                Err(lines)
            }
        };
        eventually(format!("`{text}` is shown"), shown).await;
        Ok(())
    }
}

fn state(root: &TempDir) -> String {
    Wine::path(&root.path().join("state"))
}

#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn ctrl_c_ends_daemon_and_relay_orderly() -> Outcome {
    let root = tempfile::tempdir()?;
    let state = state(&root);
    let daemon = ["run", "--state-dir", &state, "--listen", "127.0.0.1:0"];
    let relay = ["run", "--listen", "127.0.0.1:0"];
    for (program, arguments) in [("bowline-daemon", &daemon[..]), ("bowline-relay", &relay)] {
        let mut console = Console::start(program, arguments)?;
        console.until_shown("\"event\":\"listening\"").await?;
        console.ask("ctrl-c").await?;
        assert_eq!(console.number("wait").await?, 0, "{program}");
        console.until_shown("Ctrl-C").await?;
    }
    Ok(())
}

/// Wine also ends a program without a handler with code 0, so the log must show the difference.
#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn a_closed_window_ends_a_daemon_orderly() -> Outcome {
    let root = tempfile::tempdir()?;
    let state = state(&root);
    let log = root.path().join("log");
    let arguments = ["run", "--state-dir", &state, "--listen", "127.0.0.1:0"];
    let mut console = Console::with("bowline-daemon", &arguments, |command| {
        command.arg(Wine::path(&log)).env("NO_COLOR", "1")
    })?;
    console.until_shown("\"event\":\"listening\"").await?;
    console.ask("close").await?;
    assert_eq!(console.number("wait").await?, 0);
    let log = std::fs::read_to_string(&log)?;
    let stopping = log.find("stopping signal=\"the window's end\"");
    let stopped = log.find("bowline_daemon::daemon: stopped");
    assert!(stopping.is_some() && stopping < stopped, "{log}");
    Ok(())
}

#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn inv_2_ctrl_c_leaves_the_agent_at_work() -> Outcome {
    let machines = Machines::paired().await?;
    let client = Wine::path(&machines.client());
    let arguments = [
        "--state-dir",
        &client,
        "run",
        "--provider",
        "stream",
        "2000",
    ];
    let mut console = Console::start("bowline", &arguments)?;
    console.until_shown("line 3").await?;
    console.ask("ctrl-c").await?;
    assert_eq!(console.number("wait").await?, 130);
    console.until_shown("continues on").await?;
    assert_eq!(machines.agents().await[0]["status"], "running");
    Ok(())
}

#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn a_window_shows_text_of_any_script_as_it_is() -> Outcome {
    const TEXT: &str = "Grüße, Жук ✓ “quoted” €";
    let machines = Machines::paired().await?;
    let client = Wine::path(&machines.client());
    let arguments = ["--state-dir", &client, "run", "--provider", "append", TEXT];
    let mut console = Console::start("bowline", &arguments)?;
    assert_eq!(console.number("wait").await?, 0);
    console.until_shown(&format!("wrote {TEXT}")).await?;
    let effects = std::fs::read_to_string(machines.effects())?;
    assert_eq!(
        effects,
        format!("{TEXT}\n"),
        "and the agent received it unchanged"
    );
    Ok(())
}

/// Escape sequences are sent only to a console set up to interpret them.
#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn a_window_with_colours_is_told_to_obey_them() -> Outcome {
    let machines = Machines::paired().await?;
    let client = Wine::path(&machines.client());
    for (program, arguments) in [
        ("bowline", &["--state-dir", &client, "hosts"][..]),
        ("bowline-daemon", &["config", "check", "--no-such-flag"]),
    ] {
        let mut console = Console::with(program, arguments, |command| command)?;
        console.number("wait").await?;
        let shown = console.ask("screen").await?.concat();
        let mode = console.number("mode").await?;
        assert!(shown.contains('\u{1b}'), "{program} uses colours: {shown}");
        assert!(mode & OBEYS_ESCAPES != 0, "{program}: mode {mode}");
    }
    Ok(())
}
