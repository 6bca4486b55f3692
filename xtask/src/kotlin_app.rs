//! Tests the packaged jar: an app in an empty folder, with the jar as its only dependency, runs the
//! guide's program against a real daemon and relay.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    kotlin,
    process::{Workspace, target_dir},
};

/// Lines that the program prints on success.
const SAYS: [&str; 2] = [": ONLINE", "OUTPUT it works"];

/// Compiles and runs the app. The jar is in Maven's local repository.
///
/// # Errors
/// The app does not compile, or its output differs from the guide.
pub(crate) fn run(sh: &Workspace) -> Result<()> {
    let folder = sh.empty(target_dir().join("kotlin-app"))?;
    let told = folder.join("told.txt");
    let mut world = World::start()?;
    let offer = world.offer()?;
    let at = folder.display();
    kotlin::project(sh, "bindings/kotlin/app/pom.xml")
        .arg(format!("-Dbowline.app={at}/target"))
        .arg(format!("-Dbowline.arguments={at}/storage {offer}"))
        .arg(format!("-Dexec.workingdir={at}"))
        .arg(format!("-Dexec.outputFile={}", told.display()))
        .args(["kotlin:compile", "exec:exec"])
        // Forces the library of the jar instead of the one in cargo's folders.
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("DYLD_LIBRARY_PATH")
        .env_remove("DYLD_FALLBACK_LIBRARY_PATH")
        .run()?;
    let said = sh.read_file(told)?;
    ensure!(
        SAYS.iter().all(|line| said.contains(line)),
        "the app did not work as docs/kotlin.md describes; its output: {said}"
    );
    say!(
        "an app in an empty folder, with the jar as its one dependency, works as docs/kotlin.md describes"
    );
    Ok(())
}

/// A running daemon and relay. Dropping it ends them.
struct World(Child);

impl World {
    fn start() -> Result<Self> {
        let program = target_dir().join("debug/bowline-testkit-world");
        let mut command = Command::new(&program);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        started
            .map(Self)
            .with_context(|| program.display().to_string())
    }

    /// Requests a pairing offer for an app.
    fn offer(&mut self) -> Result<String> {
        let streams = self.0.stdin.as_mut().zip(self.0.stdout.as_mut());
        let (orders, answers) = streams.context("the test world accepts no commands")?;
        let mut answers = BufReader::new(answers).lines();
        let mut answer = || -> Result<Value> {
            let line = answers.next().context("the test world ended")??;
            serde_json::from_str(&line).context(line)
        };
        // The first answer reports that the world is ready.
        answer()?;
        writeln!(orders, r#"{{"do":"offer","paths":[0,2]}}"#)?;
        let answer = answer()?;
        let offer = answer.get("offer").and_then(Value::as_str);
        Ok(offer
            .with_context(|| format!("no offer: {answer}"))?
            .to_owned())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The world ends at the end of its input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
