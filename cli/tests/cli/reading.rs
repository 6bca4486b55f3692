//! Output of `history`, `agents`, `hosts` and `watch`.

use serde_json::Value;

use crate::support::{Daemon, World, items};

#[test]
fn history_is_what_run_printed() {
    let world = World::paired();
    // More than one page, in items that grow while followed.
    let prompt = "i=0; while [ $i -lt 60 ]; do seq $((i*1000)) $((i*1000+999)); echo $i >&2; i=$((i+1)); done";
    let run = world.bowline(&["run", "--json", "--provider", "shell", prompt]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let ran = items(&run.json());
    let id = run.json()[0]["agent"]["id"].as_str().unwrap().to_owned();
    let history = world.bowline(&["history", "--json", &id]);
    assert_eq!(history.code, 0, "{}", history.stderr);
    let told = items(&history.json());
    assert!(
        told.iter()
            .map(|item| item.to_string().len())
            .sum::<usize>()
            > 300_000
    );
    assert!(ran == told, "the same items with the same text");
    let text: String = told
        .iter()
        .filter(|item| item["stream"] == "stdout")
        .map(|item| item["text"].as_str().unwrap())
        .collect();
    let expected: String = (0..60_000).map(|n| format!("{n}\n")).collect();
    assert!(text == expected, "nothing lost, repeated or out of order");

    let newest = world.bowline(&["history", "--json", "--limit", "2", &id]);
    assert_eq!(items(&newest.json()), told[told.len() - 2..]);
}

#[test]
fn history_for_people_is_prompt_output_and_end() {
    let world = World::paired();
    world.bowline(&["run", "--provider", "shell", "printf a; exit 2"]);
    let agent = world.only_agent()["id"].as_str().unwrap().to_owned();
    let history = world.bowline(&["history", &agent]);
    assert_eq!(history.code, 0);
    assert_eq!(
        history.stdout,
        "> printf a; exit 2\na\n(failed with exit status 2)\n"
    );
    let unknown = world.bowline(&["history", "nobody", "--json"]);
    assert_eq!(unknown.code, 2);
    assert_eq!(unknown.json()[0]["reason"], "not_found");
}

#[test]
fn listings_tell_what_there_is() {
    let world = World::paired();
    let none = world.bowline(&["agents"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    assert!(none.stderr.contains("bowline run"), "{}", none.stderr);
    world.bowline(&["run", "--provider", "shell", "true"]);
    let agents = world.bowline(&["agents", "--host", "workshop"]).stdout;
    let lines: Vec<Vec<&str>> = agents
        .lines()
        .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(
        lines[0].iter().map(|cell| cell.trim()).collect::<Vec<_>>(),
        [
            "AGENT",
            "STATUS",
            "LAST TURN",
            "CHANGED",
            "PROVIDER",
            "TITLE"
        ]
    );
    assert_eq!(
        [lines[1][1], lines[1][2], lines[1][4], lines[1][5]].map(str::trim),
        ["idle", "completed", "shell", "true"],
        "{agents}"
    );
    let hosts = world.bowline(&["hosts", "--json"]).json();
    let host = &hosts[0]["host"];
    assert_eq!(
        (&hosts[0]["event"], &host["name"]),
        (&"host".into(), &"workshop".into())
    );
    assert_eq!(
        (&host["state"], &host["path"]),
        (&"online".into(), &"direct".into())
    );
    assert_eq!(host["address"], world.daemon.address.as_str());
}

#[test]
fn watch_prints_one_snapshot_a_line_and_sees_what_others_do() {
    let world = World::paired();
    let mut watch = world.start(&["watch", "--json"]);
    watch.line_with(r#""state":"ready""#);
    assert_eq!(
        world
            .bowline(&["run", "--provider", "shell", "echo seen"])
            .code,
        0
    );
    let line = watch.line_with(r#""attention":"finished""#);
    watch.interrupt();
    let ended = watch.finish();
    assert_eq!((ended.code, ended.stderr.as_str()), (130, ""));
    let snapshot: Value = serde_json::from_str(&line).unwrap();
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&snapshot), ["hosts", "rev"]);
    let host = &snapshot["hosts"][0];
    let promised = [
        "address",
        "directory",
        "generation",
        "grant",
        "name",
        "path",
        "probes",
        "serverId",
        "state",
    ];
    assert_eq!(keys(host), promised);
    assert_eq!(keys(&host["directory"]), ["agents", "state"]);
    let revs: Vec<_> = ended
        .json()
        .iter()
        .map(|line| line["rev"].as_u64().unwrap())
        .collect();
    assert!(revs.is_sorted_by(|a, b| a < b), "{revs:?}");
}

/// C51: a host paired by another process on the same folder appeared only after the app had been
/// suspended and resumed.
#[test]
fn case_c51_what_another_process_pairs_and_forgets_is_seen_soon() {
    let world = World::paired();
    let mut watch = world.start(&["watch", "--json"]);
    watch.line_with(r#""state":"ready""#);
    let other = Daemon::start(&world.work().join("other"), "127.0.0.1:0");
    let paired = world.bowline(&["pair", "--yes", "--json", &other.offer()]);
    assert_eq!(paired.code, 0, "{paired:?}");
    let id = paired.json()[0]["host"]["serverId"]
        .as_str()
        .unwrap()
        .to_owned();
    let hosts = |line: &str| -> Vec<Value> {
        let snapshot: Value = serde_json::from_str(line).unwrap();
        snapshot["hosts"].as_array().unwrap().clone()
    };
    let is_online = |host: &Value| host["serverId"] == id.as_str() && host["state"] == "online";
    while !hosts(&watch.line_with(&id)).iter().any(is_online) {}

    assert_eq!(world.bowline(&["forget", &id]).code, 0);
    while hosts(&watch.line_with(r#""rev""#)).len() > 1 {}
    watch.interrupt();
    assert_eq!(watch.finish().code, 130);
}
