//! TR-7 without a launcher: a daemon that embeds the library starts programs as its own children.
#![cfg(target_os = "linux")]

use bowline_daemon::config::{PromptVia, ProviderKind, ProviderSettings};
use bowline_testkit::eventually;
use serde_json::json;

use crate::support::{TestDaemon, local::Local};

#[tokio::test]
async fn tr_7_the_mark_of_a_turn_tells_where_there_is_no_launcher() {
    let daemon = TestDaemon::with(|settings| {
        settings.providers = vec![ProviderSettings {
            name: "sh".to_owned(),
            kind: ProviderKind::Command,
            command: ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
            prompt: PromptVia::Argument,
            roots: None,
            title: None,
        }];
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
