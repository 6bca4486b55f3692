//! `run` and `send`: their output, and the turn they wait for.

use serde_json::json;

use crate::support::{World, items, without};

#[test]
fn run_prints_the_agent_then_each_item_then_how_it_ended() {
    let world = World::paired();
    let ended = world.bowline(&["run", "--json", "--provider", "shell", "echo hi"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let lines = ended.json();
    let cwd = world.work();
    assert_eq!(lines[0]["event"], "agent");
    assert_eq!(
        without(
            lines[0]["agent"].clone(),
            &["id", "createdAt", "updatedAt", "intentId"]
        ),
        json!({"title": "echo hi", "provider": "shell", "cwd": cwd, "status": "starting"})
    );
    let items = items(&lines);
    let intent = &items[0]["intentId"];
    assert_eq!(lines[0]["agent"]["intentId"], *intent, "what created it");
    assert!(intent.is_string());
    let expected = [
        json!({"index": 0, "kind": "user", "text": "echo hi", "intentId": intent}),
        json!({"index": 1, "kind": "output", "text": "hi\n", "stream": "stdout"}),
        json!({"index": 2, "kind": "turn_end", "status": "completed", "exitCode": 0, "intentId": intent}),
    ];
    let shown: Vec<_> = items
        .into_iter()
        .map(|item| without(item, &["id", "at"]))
        .collect();
    assert_eq!(shown, expected);
    assert_eq!(
        ended.stdout.lines().last().unwrap(),
        r#"{"event":"done","status":"completed","exitCode":0}"#
    );
}

#[test]
fn output_goes_where_the_command_meant_it_to() {
    let world = World::paired();
    let prompt = "printf out; printf err >&2; exit 0";
    let ended = world.bowline(&["run", "--provider", "shell", prompt]);
    let said = (ended.code, ended.stdout.as_str(), ended.stderr.as_str());
    assert_eq!(said, (0, "out", "err"), "to the byte");
}

#[test]
fn a_failed_turn_is_exit_code_one_and_the_commands_own_is_in_the_last_line() {
    let world = World::paired();
    let ended = world.bowline(&["run", "--json", "--provider", "shell", "exit 3"]);
    assert_eq!(ended.code, 1);
    assert_eq!(
        ended.stdout.lines().last().unwrap(),
        r#"{"event":"done","status":"failed","exitCode":3}"#
    );
    let ended = world.bowline(&["run", "--provider", "shell", "exit 3"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert_eq!(ended.stderr, "failed with exit status 3\n");
}

#[test]
fn a_prompt_may_come_from_standard_input() {
    let world = World::paired();
    let mut run = world.start(&["run", "--provider", "shell", "-"]);
    run.input("echo from\necho stdin\n");
    let ended = run.finish();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "from\nstdin\n"));
}

#[test]
fn send_waits_for_the_turn_of_its_own_prompt() {
    let world = World::paired();
    assert_eq!(
        world
            .bowline(&["run", "--provider", "shell", "echo made"])
            .code,
        0
    );
    let id = world.only_agent()["id"].as_str().unwrap().to_owned();
    let gate = world.work().join("gate");
    let wait = format!(
        "while [ ! -e {} ]; do sleep 0.02; done; exit 4",
        gate.display()
    );
    let mut first = world.start(&["send", "--json", &id, &wait]);
    first.line_with(r#""kind":"user""#);
    let mut second = world.start(&["send", "--json", "echo made", "echo second"]);
    second.line_with(r#""kind":"user""#);
    std::fs::write(gate, "").unwrap();
    let (first, second) = (first.finish(), second.finish());
    assert_eq!((first.code, second.code), (1, 0));
    let done = |status: &str, code: i32| {
        format!(r#"{{"event":"done","status":"{status}","exitCode":{code}}}"#)
    };
    assert_eq!(first.stdout.lines().last().unwrap(), done("failed", 4));
    assert_eq!(second.stdout.lines().last().unwrap(), done("completed", 0));
    let texts: Vec<_> = items(&second.json())
        .iter()
        .filter(|item| item["kind"] == "output")
        .map(|item| item["text"].clone())
        .collect();
    assert_eq!(texts, ["second\n"]);
}

#[test]
fn what_the_daemon_refuses_is_said_with_what_there_is_instead() {
    let world = World::paired();
    let ended = world.bowline(&["run", "--json", "--provider", "shall", "true"]);
    assert_eq!(ended.code, 2);
    assert_eq!(ended.json()[0]["reason"], "not_found");
    assert!(
        ended
            .stderr
            .contains("no provider `shall`; workshop has: shell"),
        "{ended:?}"
    );
    let ended = world.bowline(&["run", "--json", " "]);
    assert_eq!(
        (ended.code, &ended.json()[0]["reason"]),
        (2, &"usage".into())
    );
    assert!(ended.stderr.contains("the prompt is empty"), "{ended:?}");
    let ended = world.bowline(&[
        "run",
        "--provider",
        "shell",
        "--cwd",
        "/no/such/place",
        "true",
    ]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("/no/such/place"), "{ended:?}");
    assert!(ended.stderr.contains("--cwd"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert_eq!(
        world.bowline(&["agents", "--json"]).stdout,
        "",
        "nothing was made"
    );
}

#[test]
fn a_finished_run_leaves_no_subscription_behind() {
    let world = World::paired();
    for n in 0..3 {
        assert_eq!(
            world.bowline(&["run", "--provider", "shell", "true"]).code,
            0,
            "{n}"
        );
    }
    let sessions = world.daemon.ask(&["sessions", "--json"]);
    assert_eq!(sessions["sessions"][0]["subscriptions"], 0, "{sessions}");
}
