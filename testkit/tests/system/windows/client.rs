//! `bowline` on Windows, with a daemon on Windows.

use std::{path::PathBuf, process::Stdio};

use bowline_testkit::{
    Proxy, eventually,
    world::{DaemonProcess, Wine},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{
    exit_code::{self, ExitCode},
    plan, wine,
};
use crate::{
    Outcome,
    world::{LONG, options},
};

/// A daemon, a proxy in front of it, and a client paired through the proxy.
pub(super) struct Machines {
    daemon: DaemonProcess,
    proxy: Proxy,
    root: TempDir,
}

impl Machines {
    pub(super) async fn paired() -> Result<Self, Box<dyn std::error::Error>> {
        let root = tempfile::tempdir()?;
        std::fs::create_dir(root.path().join("work"))?;
        let mut options = options(root.path(), "", &plan())?;
        let proxy = Proxy::start(([127, 0, 0, 1], 9).into()).await?;
        options.advertise = vec![proxy.addr().to_string()];
        let daemon = DaemonProcess::start(options).await?;
        proxy.set_target(daemon.address());
        let machines = Self {
            daemon,
            proxy,
            root,
        };
        let offer = machines.daemon.offer().await?;
        machines.bowline(&["pair", "--yes", &offer]).await?;
        Ok(machines)
    }

    pub(super) fn client(&self) -> PathBuf {
        self.root.path().join("client")
    }

    /// Effects of the prompts of `append`.
    pub(super) fn effects(&self) -> PathBuf {
        self.root.path().join("effects.txt")
    }

    fn command(&self, arguments: &[&str]) -> Result<Coded, Box<dyn std::error::Error>> {
        let (mut command, code) = exit_code::command(&wine(), "bowline")?;
        command
            .args(["--state-dir", &Wine::path(&self.client())])
            .args(arguments)
            .current_dir(self.root.path().join("work"))
            .stdin(Stdio::null());
        Ok(Coded { command, code })
    }

    /// Runs the program to its successful end and returns its lines.
    async fn bowline(&self, arguments: &[&str]) -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let mut coded = self.command(arguments)?;
        let output = timeout(LONG, coded.command.output()).await??;
        let said = String::from_utf8(output.stdout)?;
        let complained = String::from_utf8_lossy(&output.stderr);
        let code = coded.code.read(output.status)?;
        assert_eq!(code, 0, "{arguments:?}: {said}{complained}");
        Ok(said.lines().map(str::to_owned).collect())
    }

    pub(super) async fn agents(&self) -> Vec<Value> {
        let listed = self.bowline(&["agents", "--json"]).await.unwrap();
        let listed = listed
            .iter()
            .map(|line| serde_json::from_str(line).unwrap());
        listed.map(|line: Value| line["agent"].clone()).collect()
    }
}

/// A command of `bowline` and its exit code.
struct Coded {
    command: Command,
    code: ExitCode,
}

/// A running program with its lines as they arrive.
struct Running {
    child: Child,
    code: ExitCode,
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<Value>,
}

impl Running {
    fn start(mut coded: Coded) -> Result<Self, Box<dyn std::error::Error>> {
        let mut child = coded.command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().unwrap();
        Ok(Self {
            child,
            code: coded.code,
            lines: BufReader::new(stdout).lines(),
            seen: Vec::new(),
        })
    }

    /// Reads until this many lines of the agent's output have arrived.
    async fn until_lines(&mut self, wanted: usize) -> Outcome {
        while self.output().lines().count() < wanted && self.next().await? {}
        Ok(())
    }

    /// Reads one line; false at the end.
    async fn next(&mut self) -> Result<bool, Box<dyn std::error::Error>> {
        let Some(line) = timeout(LONG, self.lines.next_line()).await?? else {
            return Ok(false);
        };
        self.seen.push(serde_json::from_str(&line)?);
        Ok(true)
    }

    /// The agent's output so far.
    fn output(&self) -> String {
        output(&self.seen)
    }
}

/// The agent's output in lines of `run --json`.
fn output(lines: &[Value]) -> String {
    let texts = lines
        .iter()
        .filter_map(|line| match line["event"].as_str() {
            Some("item") if line["item"]["kind"] == "output" => line["item"]["text"].as_str(),
            Some("delta") => line["text"].as_str(),
            _ => None,
        });
    texts.collect()
}

#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn bx_2_a_run_goes_on_over_cuts_and_shows_each_line_once() -> Outcome {
    let machines = Machines::paired().await?;
    let command = machines.command(&["run", "--json", "--provider", "stream", "400"])?;
    let mut run = Running::start(command)?;
    for lines in [20, 60, 100] {
        run.until_lines(lines).await?;
        machines.proxy.cut();
    }
    while run.next().await? {}
    let status = timeout(LONG, run.child.wait()).await??;
    assert_eq!(run.code.read(status)?, 0, "{:?}", run.seen.last());
    let expected: String = (1..=400).map(|n| format!("line {n}\n")).collect();
    assert_eq!(run.output(), expected);
    let agents = machines.agents().await;
    assert_eq!(agents.len(), 1, "{agents:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn bx_1_a_prompt_whose_client_was_killed_in_mid_request_is_run_once() -> Outcome {
    let machines = Machines::paired().await?;
    let mut command = machines.command(&["run", "--json", "--provider", "append", "-"])?;
    command.command.stdin(Stdio::piped());
    let mut run = Running::start(command)?;
    eventually("the client is attached", async || {
        let sessions: Value = machines.daemon.ask("sessions").await.unwrap();
        sessions["sessions"][0]["connections"] != Value::Array(Vec::new())
            && sessions["sessions"].as_array().map_or(0, Vec::len) == 1
    })
    .await;
    // Nothing passes, so no answer can have arrived.
    machines.proxy.freeze();
    let mut stdin = run.child.stdin.take().unwrap();
    stdin.write_all(b"grown").await?;
    drop(stdin);
    let kept = || {
        let files = std::fs::read_dir(machines.client()).unwrap();
        let mut texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()));
        texts.any(|text| text.is_ok_and(|text| text.contains("grown")))
    };
    eventually("the request is kept", async || kept()).await;
    run.child.kill().await?;
    machines.proxy.cut();
    machines.proxy.thaw();
    // Any later command delivers stored requests.
    eventually("the request is done", async || {
        let agents = machines.agents().await;
        agents.len() == 1 && agents[0]["status"] == "idle" && agents[0]["attention"] == "finished"
    })
    .await;
    let effects = std::fs::read_to_string(machines.effects())?;
    assert_eq!(effects, "grown\n", "once");
    let hosts = machines.bowline(&["hosts", "--json"]).await?;
    let hosts: Value = serde_json::from_str(&hosts[0])?;
    assert_eq!(hosts["host"]["pending"], 0, "nothing waits any more");
    Ok(())
}

/// The prompt is a `cmd` command line, and its output is text.
#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn the_shell_takes_a_prompt_as_it_is_written() -> Outcome {
    let machines = Machines::paired().await?;
    let prompt = "echo \"two words\" & echo Grüße & exit 7";
    let mut run = machines.command(&["run", "--json", "--provider", "shell", prompt])?;
    let ended = timeout(LONG, run.command.output()).await??;
    let said = String::from_utf8(ended.stdout)?;
    assert_eq!(run.code.read(ended.status)?, 1, "{said}");
    let lines: Vec<Value> = said
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    assert_eq!(output(&lines), "\"two words\" \r\nGrüße \r\n");
    assert_eq!(lines.last().unwrap()["exitCode"], 7, "{said}");
    Ok(())
}
