//! TR-7 without a launcher: a daemon that embeds the library starts programs as its own children.
//! And any service can say what it has started.
#![cfg(target_os = "linux")]

use std::process::{Command, Output};

use bowline_agents::{PROVIDERS, PromptVia, ProviderKind, ProviderSettings};
use bowline_daemon::{
    service::{Methods, Process, Service},
    setup::Services,
};
use bowline_testkit::eventually;
use serde_json::json;

use crate::support::{TestDaemon, local::Local};

#[tokio::test]
async fn tr_7_the_mark_of_a_turn_tells_where_there_is_no_launcher() {
    let daemon = TestDaemon::of(bowline_agents::linked(Services::none()), |settings| {
        let shell = ProviderSettings {
            name: "sh".to_owned(),
            kind: ProviderKind::Command,
            command: ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
            prompt: PromptVia::Argument,
            roots: None,
            title: None,
        };
        settings.set_section(&PROVIDERS, vec![shell]).unwrap();
    })
    .await;
    // This process is the daemon's, and so is its request.
    let mut owner = Local::connect(&daemon).await;
    let listed = owner.call("devices.list", json!({})).await;
    assert!(listed["result"].is_object(), "{listed}");

    let prompt = format!(
        "{} --state-dir . --socket {} devices; echo code=$?",
        env!("CARGO_BIN_EXE_bowline-daemon"),
        daemon.daemon.socket().display()
    );
    let id = uuid::Uuid::now_v7().to_string();
    let cwd = std::env::temp_dir();
    let params = json!({"intentId": id, "provider": "sh", "cwd": cwd, "prompt": prompt});
    let created = owner.call("agents.create", params).await;
    let agent = created["result"]["agent"]["id"].clone();
    let said = eventually("the turn has ended", async || {
        let mut asking = Local::connect(&daemon).await;
        let history = asking
            .call("agents.history", json!({"agentId": agent}))
            .await;
        let history = history.to_string();
        if history.contains("turn_end") {
            Ok(history)
        } else {
            Err(history)
        }
    })
    .await;
    assert!(said.contains("code=4"), "{said}");
    assert!(said.contains("an agent has started"), "{said}");
}

/// Starts jobs for others, under a mark in their environment.
struct Jobs;

impl Service for Jobs {
    fn methods(_: &mut Methods<Self>) {}

    fn has_started(&self, process: &Process<'_>) -> Option<&'static str> {
        match process.variable("VOXEL_JOB")?.as_slice() {
            b"clumsy" => panic!("it cannot tell"),
            _ => Some("a job of voxel"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ld_6_a_service_says_which_callers_are_programs_that_it_has_started() {
    let daemon = TestDaemon::of(Services::none().with(Jobs), |_| {}).await;
    let socket = daemon.daemon.socket().to_owned();
    // The shell stays above the program, which loses the mark.
    let devices = move |job: Option<&str>| -> Output {
        let mut command = Command::new("/bin/sh");
        let script = format!(
            "env -u VOXEL_JOB {} --state-dir . --socket {} devices; exit $?",
            env!("CARGO_BIN_EXE_bowline-daemon"),
            socket.display()
        );
        command.args(["-c", &script]).env_remove("VOXEL_JOB");
        command.envs(job.map(|job| ("VOXEL_JOB", job)));
        command.output().unwrap()
    };
    for (job, code, says) in [
        (None, 0, ""),
        (Some("1"), 4, "a program that a job of voxel has started"),
        (Some("clumsy"), 4, "failed to tell"),
    ] {
        let devices = devices.clone();
        let output = tokio::task::spawn_blocking(move || devices(job));
        let output = output.await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
