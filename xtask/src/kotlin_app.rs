//! Tries the packaged jar: an app of its own, in an empty folder, that has the jar as its one dependency and is the guide's
//! program, against a real daemon and relay.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use crate::{
    kotlin,
    memory::target_dir,
    process::{Outcome, run as run_command},
    tree,
};

/// What the program prints when it did what the page says.
const SAYS: [&str; 2] = [": ONLINE", "OUTPUT it works"];

/// Compiles and runs the app. The jar is in Maven's local repository.
///
/// # Errors
/// When it does not compile, or did not do what the page says.
pub(crate) fn run() -> Outcome {
    let folder = target_dir().join("kotlin-app");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let told = folder.join("told.txt");
    let mut world = World::start()?;
    let offer = world.offer()?;
    let mut app = Command::new(kotlin::program());
    app.args([
        "--batch-mode",
        "--no-transfer-progress",
        "--quiet",
        "--file",
    ])
    .arg(tree::root().join("bindings/kotlin/app/pom.xml"))
    .arg("-Dkotlin.compiler.daemon=false")
    .arg(format!(
        "-Dbowline.guide={}",
        kotlin::guide_folder().display()
    ))
    .arg(format!("-Dbowline.app={}", folder.join("target").display()))
    .arg(format!(
        "-Dbowline.arguments={} {offer}",
        folder.join("storage").display()
    ))
    .arg(format!("-Dexec.workingdir={}", folder.display()))
    .arg(format!("-Dexec.outputFile={}", told.display()))
    .args(["kotlin:compile", "exec:exec"]);
    // The library is the jar's, not the one that cargo's own folders have.
    for variable in [
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
    ] {
        app.env_remove(variable);
    }
    run_command(&mut app)?;
    let said = fs::read_to_string(&told).map_err(|error| format!("{}: {error}", told.display()))?;
    if SAYS.iter().all(|line| said.contains(line)) {
        say!(
            "an app in an empty folder, with the jar as its one dependency, does what docs/kotlin.md says"
        );
        return Ok(());
    }
    Err(format!(
        "the app did not do what docs/kotlin.md says, but said: {said}"
    ))
}

/// A daemon and a relay, as long as this is held.
struct World(Child);

impl World {
    fn start() -> Outcome<Self> {
        let program = target_dir()
            .join("debug")
            .join(format!("bowline-sim-world{}", std::env::consts::EXE_SUFFIX));
        let mut command = Command::new(&program);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        started
            .map(Self)
            .map_err(|error| format!("{}: {error}", program.display()))
    }

    /// What an app is given to pair with.
    fn offer(&mut self) -> Outcome<String> {
        let (Some(orders), Some(answers)) = (self.0.stdin.as_mut(), self.0.stdout.as_mut()) else {
            return Err("the world takes no orders".to_owned());
        };
        let mut answers = BufReader::new(answers).lines();
        let mut answer = || match answers.next() {
            Some(Ok(line)) => serde_json::from_str::<serde_json::Value>(&line)
                .map_err(|error| format!("{line}: {error}")),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the world ended".to_owned()),
        };
        // It says that it is ready.
        answer()?;
        writeln!(orders, r#"{{"do":"offer","paths":[0,2]}}"#).map_err(|error| error.to_string())?;
        let offer = answer()?;
        offer
            .get("offer")
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| format!("no offer: {offer}"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
