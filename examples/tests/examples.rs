//! Runs the examples as a reader would: the daemon, the client that pairs with it, and the script
//! on its local socket.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use bowline_testkit::{
    eventually,
    world::{DaemonOptions, DaemonProcess},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long anything may take, however slow the machine.
const LONG: Duration = Duration::from_secs(60);

/// The `notes` daemon and a folder for its client.
struct World {
    daemon: DaemonProcess,
    folder: TempDir,
}

impl World {
    async fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut options = DaemonOptions::new(folder.path().join("daemon"));
        options.program = "notes";
        let daemon = DaemonProcess::start(options).await?;
        Ok(Self { daemon, folder })
    }

    /// A world whose client has paired from the link that `notes pair` prints.
    async fn paired() -> Result<Self> {
        let world = Self::new().await?;
        let link = world.daemon.offer().await?;
        let said = world.client(&["pair", &link]).await?;
        assert!(said.starts_with("paired with "), "{said}");
        Ok(world)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        client(self.folder.path(), arguments)
    }

    /// Runs the client to its end and returns what it printed.
    async fn client(&self, arguments: &[&str]) -> Result<String> {
        printed(finished(&mut self.command(arguments)).await?)
    }
}

fn client(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_notes-client"));
    command.arg(folder.join("client")).args(arguments);
    command
}

/// Waits for a program's end.
async fn finished(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(timeout(LONG, command.output()).await??)
}

fn printed(output: Output) -> Result<String> {
    let (said, complaint) = (
        String::from_utf8(output.stdout)?,
        String::from_utf8_lossy(&output.stderr),
    );
    if !output.status.success() {
        return Err(format!("{}: {said}{complaint}", output.status).into());
    }
    Ok(said)
}

/// A program that goes on, and its lines.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, lines })
    }

    /// The next line with that text in it.
    async fn line(&mut self, with: &str) -> Result<String> {
        let found = async {
            while let Some(line) = self.lines.next_line().await? {
                if line.contains(with) {
                    return Ok(line);
                }
            }
            Err(format!("it ended without a line with `{with}`").into())
        };
        timeout(LONG, found).await?
    }
}

#[tokio::test]
async fn the_client_pairs_from_a_link_and_its_intent_is_done_once() -> Result {
    let world = World::paired().await?;
    let said = world.client(&["add", "milk"]).await?;
    let lines: Vec<_> = said.lines().collect();
    assert!(
        matches!(lines.as_slice(), [kept, added] if kept.starts_with("kept ") && added.starts_with("added ")),
        "{said}"
    );
    assert_eq!(world.client(&["list"]).await?, "milk\n");
    let refused = world.client(&["add", " "]).await;
    assert!(refused.unwrap_err().to_string().contains("an empty note"));
    Ok(())
}

#[tokio::test]
async fn bx_1_an_intent_outlives_the_daemon_and_the_client_and_is_done_once() -> Result {
    let mut world = World::paired().await?;
    world.daemon.stop().await?;
    let mut adding = Running::start(&mut world.command(&["add", "bread"]))?;
    adding.line("kept ").await?;
    adding.child.kill().await?;

    world.daemon.start_again().await?;
    let listed = async || world.client(&["list"]).await.unwrap() == "bread\n";
    eventually("the note arrives", listed).await;
    world.client(&["add", "butter"]).await?;
    assert_eq!(world.client(&["list"]).await?, "bread\nbutter\n");
    Ok(())
}

#[tokio::test]
async fn the_client_shows_how_its_host_is() -> Result {
    let mut world = World::paired().await?;
    let mut watching = Running::start(&mut world.command(&["watch"]))?;
    watching.line("\"online\"").await?;
    world.daemon.kill().await?;
    watching.line("\"path\":null").await?;
    world.daemon.start_again().await?;
    watching.line("\"online\"").await?;
    Ok(())
}

/// The script opens a Unix domain socket.
#[cfg(unix)]
#[tokio::test]
async fn the_script_adds_lists_and_follows() -> Result {
    let world = World::paired().await?;
    if finished(Command::new("python3").arg("--version"))
        .await
        .is_err()
    {
        assert!(
            std::env::var_os("CI").is_none(),
            "python3 is missing, and nothing is skipped in CI"
        );
        eprintln!("skipped: python3 is missing");
        return Ok(());
    }
    let script = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("script/notes.py"))
            .arg(world.daemon.state_dir().join("daemon.sock"))
            .args(arguments);
        command
    };
    let mut following = Running::start(&mut script(&["follow"]))?;
    following.line("following").await?;
    let said = printed(finished(&mut script(&["add", "eggs"])).await?)?;
    assert!(said.starts_with("added "), "{said}");
    world.client(&["add", "flour"]).await?;
    assert_eq!(following.line("").await?, "eggs");
    assert_eq!(following.line("").await?, "flour");
    let said = printed(finished(&mut script(&["list"])).await?)?;
    assert_eq!(said, "eggs\nflour\n");
    let refused = finished(&mut script(&["add", ""])).await?;
    assert!(!refused.status.success());
    assert_eq!(
        String::from_utf8_lossy(&refused.stderr),
        "notes.py: an empty note\n"
    );
    Ok(())
}
