//! `describe` of the program, beside what a running one answers (LD-7).

use serde_json::{Value, json};

use crate::{
    running::{Running, output},
    support::local::Local,
};

#[tokio::test]
async fn ld_7_what_is_described_without_a_daemon_is_what_a_running_one_answers() {
    let dir = tempfile::tempdir().unwrap();
    let described = output(dir.path(), &["describe", "--json"]);
    assert!(described.status.success());
    let described: Value = serde_json::from_slice(&described.stdout).unwrap();
    assert!(
        !dir.path().join("bowline.db").exists(),
        "it makes no state of its own"
    );
    let running = Running::start(dir.path());
    let socket = running.lines[1]["address"].as_str().unwrap();
    let mut local = Local::connect_to(socket.as_ref()).await;
    let answered = local.call("rpc.discover", json!({})).await;
    assert_eq!(answered["result"], described);
    assert_eq!(described["info"]["title"], "bowline-daemon");
}

#[test]
fn ld_7_people_get_lines_of_the_program_and_generators_no_types_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let said = output(dir.path(), &["describe"]);
    let said = String::from_utf8(said.stdout).unwrap();
    let line = said.lines().find(|line| line.starts_with("agents.send "));
    let words: Vec<_> = line.unwrap().split_whitespace().collect();
    let expected = [
        "agents.send",
        "intent",
        "operator",
        "agentId",
        "intentId",
        "text",
        "PromptSent",
    ];
    assert_eq!(words, expected);
    // The program has no services, and so no types of their own.
    let said = output(dir.path(), &["describe", "--schema"]);
    let schema: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(schema["definitions"], json!({}));
}
