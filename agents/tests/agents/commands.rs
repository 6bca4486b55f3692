//! The `command` provider: what is printed arrives, what is ended is really ended.
use std::time::{Duration, Instant};

use bowline_agents::{AgentsOptions, PromptVia};
use bowline_protocol::ItemKind;
use serde_json::json;

use crate::{
    bench::{Bench, ended, ends, options, printed, provider, runs},
    rig::intent_id,
};

fn kinds(items: &[bowline_protocol::TimelineItem]) -> Vec<ItemKind> {
    items.iter().map(|item| item.kind).collect()
}

#[tokio::test]
async fn a_prompt_runs_and_its_exit_status_ends_the_turn() {
    let bench = Bench::new().await;
    let agent = bench.create("shell", Some("echo out; exit 3")).await;
    let items = bench.turns(&agent, 1).await;
    assert_eq!(
        kinds(&items),
        [ItemKind::User, ItemKind::Output, ItemKind::TurnEnd]
    );
    assert_eq!(items[0].text, "echo out; exit 3");
    assert!(items[0].intent_id.is_some(), "UX-3 reconciles by it");
    assert_eq!(printed(&items, "stdout"), "out\n");
    assert_eq!(ends(&items), [("failed".to_owned(), Some(3))]);
    let row = bench.row(&agent).await;
    assert_eq!(
        (&row["status"], &row["attention"]),
        (&json!("idle"), &json!("failed"))
    );

    bench.send(&agent, "true").await.unwrap();
    let items = bench.turns(&agent, 2).await;
    assert_eq!(ends(&items)[1], ("completed".to_owned(), Some(0)));
    assert_eq!(bench.row(&agent).await["attention"], "finished");
}

#[tokio::test]
async fn a_long_output_arrives_byte_exact_in_bounded_items() {
    let bench = Bench::new().await;
    let agent = bench.create("shell", Some("seq 1 20000")).await;
    let items = bench.turns(&agent, 1).await;
    let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert!(printed(&items, "stdout") == expected, "the output differs");
    assert!(items.iter().all(|item| item.text.len() <= 16 * 1024));
    assert!(items.len() > 5);
}

#[tokio::test]
async fn what_a_subscriber_is_told_adds_up_to_the_history() {
    let mut bench = Bench::new().await;
    let agent = bench.create("shell", None).await;
    bench.subscribe(&agent).await;
    bench
        .send(
            &agent,
            "seq 1 9000; echo err >&2; printf 'no newline \\303\\251'",
        )
        .await
        .unwrap();
    let items = bench.turns(&agent, 1).await;
    let mut told: Vec<(u64, String)> = Vec::new();
    for (_, event) in bench.link.apply() {
        match event["type"].as_str().unwrap() {
            "timeline.appended" => {
                let item = &event["item"];
                let text = item["text"].as_str().unwrap_or_default().to_owned();
                told.push((item["index"].as_u64().unwrap(), text));
            }
            "timeline.delta" => {
                let last = told.last_mut().unwrap();
                assert_eq!(event["index"].as_u64().unwrap(), last.0);
                last.1.push_str(event["text"].as_str().unwrap());
            }
            "agent.updated" => {}
            other => panic!("unexpected {other}"),
        }
    }
    let stored: Vec<(u64, String)> = items
        .iter()
        .map(|item| (item.index, item.text.clone()))
        .collect();
    assert!(told == stored, "events and history differ");
    assert!(printed(&items, "stdout").ends_with("no newline é"));
    assert_eq!(printed(&items, "stderr"), "err\n");
}

#[tokio::test]
async fn the_order_of_a_stream_is_kept_and_streams_are_told_apart() {
    let bench = Bench::new().await;
    let script = "for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done";
    let agent = bench.create("shell", Some(script)).await;
    let items = bench.turns(&agent, 1).await;
    assert_eq!(printed(&items, "stdout"), "o1\no2\no3\no4\no5\n");
    assert_eq!(printed(&items, "stderr"), "e1\ne2\ne3\ne4\ne5\n");
}

#[tokio::test]
async fn a_prompt_on_standard_input_ends_with_it() {
    let bench = Bench::new().await;
    let prompt = "line\n".repeat(10_000);
    let agent = bench.create("cat", Some(&prompt)).await;
    let items = bench.turns(&agent, 1).await;
    assert!(printed(&items, "stdout") == prompt);
    assert_eq!(ends(&items), [("completed".to_owned(), Some(0))]);
}

#[tokio::test]
async fn a_command_knows_where_it_is_and_whose_turn_it_is() {
    let bench = Bench::new().await;
    let prompt = "pwd -P; echo $BOWLINE_AGENT; test -n \"$BOWLINE_TURN\" && echo named";
    let agent = bench.create("shell", Some(prompt)).await;
    let items = bench.turns(&agent, 1).await;
    let cwd = bench.rig.dir.path().canonicalize().unwrap();
    let expected = format!("{}\n{agent}\nnamed\n", cwd.display());
    assert_eq!(printed(&items, "stdout"), expected);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_replaced_and_nul_survives() {
    let bench = Bench::new().await;
    let agent = bench
        .create(
            "shell",
            Some(r"printf 'a\000b\377c'; sleep 0.05; printf 'd\000e'"),
        )
        .await;
    let items = bench.turns(&agent, 1).await;
    assert_eq!(printed(&items, "stdout"), "a\0b\u{fffd}cd\0e");
}

#[tokio::test]
async fn a_program_that_is_not_there_fails_the_turn_with_its_name() {
    let bench = Bench::new().await;
    let agent = bench.create("absent", Some("x")).await;
    let items = bench.turns(&agent, 1).await;
    assert_eq!(
        kinds(&items),
        [ItemKind::User, ItemKind::Error, ItemKind::TurnEnd]
    );
    assert!(items[1].text.contains("/nonexistent/program"));
    assert_eq!(ends(&items), [("failed".to_owned(), None)]);
    assert_eq!(bench.row(&agent).await["status"], "failed");
}

#[tokio::test]
async fn tr_12_output_in_tiny_pieces_counts_with_the_space_it_takes() {
    let most = 10_000;
    let bench = Bench::with(AgentsOptions {
        max_output_bytes: most,
        ..options()
    })
    .await;
    // The pauses let the daemon see the order of the two streams.
    let pieces = "for i in $(seq 200); do printf o; sleep 0.01; printf e >&2; sleep 0.01; done";
    let agent = bench.create("shell", Some(pieces)).await;
    let items = bench.turns(&agent, 1).await;
    let outputs = items.iter().filter(|item| item.kind == ItemKind::Output);
    let most_items = most / 127 + 2;
    assert!(outputs.clone().count() <= most_items, "{}", items.len());
    assert!(items.iter().any(|item| item.kind == ItemKind::Error));
}

#[tokio::test]
async fn output_over_the_bound_is_dropped_and_said_so_once() {
    let bench = Bench::with(AgentsOptions {
        max_output_bytes: 10_000,
        ..options()
    })
    .await;
    let agent = bench.create("shell", Some("seq 1 50000; exit 7")).await;
    let items = bench.turns(&agent, 1).await;
    let out = printed(&items, "stdout");
    assert_eq!(out.len(), 10_000);
    assert!(out.starts_with("1\n2\n3\n"));
    let errors = items.iter().filter(|item| item.kind == ItemKind::Error);
    assert_eq!(errors.count(), 1);
    assert_eq!(ends(&items), [("failed".to_owned(), Some(7))], "it ran on");
}

/// Prints the pids of a whole family: the leader, which ignores the polite request, and two
/// children.
const FAMILY: &str = "trap '' TERM; sleep 1000 & echo $!; sh -c 'trap \"\" TERM; echo $$; \
    while :; do sleep 1; done' & echo $$; wait; while :; do sleep 1; done";

async fn family(bench: &Bench, agent: &str) -> Vec<i32> {
    let items = bench
        .until(agent, |items| printed(items, "stdout").lines().count() == 3)
        .await;
    let pids: Vec<i32> = printed(&items, "stdout")
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert!(pids.iter().all(|pid| runs(*pid)), "{pids:?}");
    pids
}

#[tokio::test]
async fn cancel_really_ends_the_whole_process_group() {
    let bench = Bench::new().await;
    let agent = bench.create("shell", Some(FAMILY)).await;
    let pids = family(&bench, &agent).await;
    let begin = Instant::now();
    bench.intent("agents.cancel", &agent).await.unwrap();
    let items = bench.turns(&agent, 1).await;
    assert!(begin.elapsed() >= Duration::from_secs(2), "TERM, then KILL");
    assert_eq!(ends(&items)[0].0, "cancelled");
    for pid in pids {
        ended(pid).await;
    }
    assert_eq!(bench.row(&agent).await["status"], "idle");
    bench.send(&agent, "echo again").await.unwrap();
    let items = bench.turns(&agent, 2).await;
    assert!(printed(&items, "stdout").ends_with("again\n"));
}

#[tokio::test]
async fn a_polite_program_is_cancelled_without_the_order_to_die() {
    let bench = Bench::new().await;
    let agent = bench
        .create(
            "shell",
            Some("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"),
        )
        .await;
    bench
        .until(&agent, |items| printed(items, "stdout") == "up\n")
        .await;
    bench.intent("agents.cancel", &agent).await.unwrap();
    let items = bench.turns(&agent, 1).await;
    assert_eq!(printed(&items, "stdout"), "up\nbye\n");
    assert_eq!(ends(&items), [("cancelled".to_owned(), Some(0))]);
}

#[tokio::test]
async fn a_background_process_that_holds_the_pipes_does_not_hold_the_turn() {
    let bench = Bench::new().await;
    let agent = bench.create("shell", Some("sleep 1000 & echo $!")).await;
    let items = bench.turns(&agent, 1).await;
    assert_eq!(ends(&items), [("completed".to_owned(), Some(0))]);
    let pid: i32 = printed(&items, "stdout").trim().parse().unwrap();
    assert!(runs(pid), "what was put into the background stays");
    std::process::Command::new("kill")
        .arg(pid.to_string())
        .status()
        .unwrap();
    ended(pid).await;
}

#[tokio::test]
async fn shutdown_ends_what_runs_and_records_it() {
    let bench = Bench::new().await;
    let agent = bench.create("shell", Some(FAMILY)).await;
    let pids = family(&bench, &agent).await;
    bench.agents.shutdown().await;
    for pid in pids {
        ended(pid).await;
    }
    let items = bench.timeline(&agent).await;
    assert_eq!(ends(&items)[0].0, "interrupted");
    assert_eq!(bench.row(&agent).await["status"], "failed");
}

#[tokio::test]
async fn inv_2_after_a_kill_a_running_turn_is_interrupted_and_its_processes_are_ended() {
    let bench = Bench::new().await;
    let agent = bench.create("shell", Some(FAMILY)).await;
    let pids = family(&bench, &agent).await;
    bench.send(&agent, "echo queued").await.unwrap();
    let next = bench.kill().await;
    let items = next.turns(&agent, 2).await;
    assert_eq!(
        ends(&items),
        [
            ("interrupted".to_owned(), None),
            ("completed".to_owned(), Some(0))
        ]
    );
    assert!(printed(&items, "stdout").ends_with("queued\n"));
    assert!(items.iter().any(|item| item.kind == ItemKind::Error));
    if cfg!(target_os = "linux") {
        for pid in pids {
            ended(pid).await;
        }
    }
    bench.agents.shutdown().await;
}

#[tokio::test]
async fn bx_1_the_same_prompt_sent_again_and_again_starts_one_process() {
    let bench = Bench::new().await;
    let params = json!({
        "intentId": intent_id(), "provider": "shell", "cwd": bench.rig.dir.path(),
        "prompt": "echo ran >> runs",
    });
    let calls = (0..10).map(|_| bench.call("agents.create", params.clone()));
    let created = futures_util::future::join_all(calls).await;
    let first = created[0].as_ref().unwrap();
    assert!(created.iter().all(|other| other.as_ref().unwrap() == first));
    let agent = first["agent"]["id"].as_str().unwrap();
    bench.turns(agent, 1).await;
    let next = bench.kill().await;
    let again = next.call("agents.create", params).await.unwrap();
    assert_eq!(again, *first);
    // A prompt after it has run proves that no other is on its way.
    next.send(agent, "true").await.unwrap();
    next.turns(agent, 2).await;
    let runs = std::fs::read_to_string(bench.rig.dir.path().join("runs")).unwrap();
    assert_eq!(runs, "ran\n");
}

#[tokio::test]
async fn prompts_to_a_busy_agent_run_in_their_order() {
    let bench = Bench::new().await;
    let agent = bench
        .create(
            "shell",
            Some("while [ ! -e go ]; do sleep 0.01; done; echo 0"),
        )
        .await;
    for n in 1..=5 {
        bench.send(&agent, &format!("echo {n}")).await.unwrap();
    }
    std::fs::write(bench.rig.dir.path().join("go"), "").unwrap();
    let items = bench.turns(&agent, 6).await;
    assert_eq!(printed(&items, "stdout"), "0\n1\n2\n3\n4\n5\n");
}

#[tokio::test]
async fn runs_are_bounded_and_the_rest_waits_its_turn() {
    let bench = Bench::with(AgentsOptions {
        max_runs: 1,
        ..options()
    })
    .await;
    let holding = bench
        .create("shell", Some("while [ ! -e go ]; do sleep 0.01; done"))
        .await;
    bench.until(&holding, |items| !items.is_empty()).await;
    let waiting = bench.create("shell", Some("echo ran")).await;
    assert_eq!(bench.row(&waiting).await["status"], "starting");
    std::fs::write(bench.rig.dir.path().join("go"), "").unwrap();
    let items = bench.turns(&waiting, 1).await;
    assert_eq!(printed(&items, "stdout"), "ran\n");
}

#[tokio::test]
async fn tr_12_a_device_leaves_places_for_the_turns_of_others() {
    let mut bench = Bench::with(AgentsOptions {
        max_runs: 4,
        ..options()
    })
    .await;
    // More turns than there are places.
    let hold = "touch began.$$; while [ ! -e go ]; do sleep 0.01; done; echo done";
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(bench.create("shell", Some(hold)).await);
    }
    let running = async |bench: &Bench| {
        let mut statuses = Vec::new();
        for agent in &held {
            statuses.push(bench.row(agent).await["status"].clone());
        }
        statuses.iter().filter(|it| *it == "running").count()
    };
    bowline_testkit::eventually("three of them run", async || running(&bench).await == 3).await;
    let row = bench.row(&held[5]).await;
    assert_eq!(row["status"], "starting");

    let other = bench.rig.paired().await;
    let other = bench.rig.attach(&other).await.unwrap();
    let noisy = std::mem::replace(&mut bench.link, other);
    for _ in 0..3 {
        let agent = bench.create("shell", Some("echo ran")).await;
        let items = bench.turns(&agent, 1).await;
        assert_eq!(printed(&items, "stdout"), "ran\n");
    }
    // Nor does a turn behind one of the noisy device wait for more than that one.
    bench.send(&held[5], "echo mine").await.unwrap();
    bench.link = noisy;
    bench.intent("agents.cancel", &held[5]).await.unwrap();
    let items = bench.turns(&held[5], 2).await;
    assert_eq!(printed(&items, "stdout"), "mine\n");
    assert_eq!(running(&bench).await, 3, "and no more");

    // The rest runs in its order once there is room.
    std::fs::write(bench.rig.dir.path().join("go"), "").unwrap();
    for agent in &held[..5] {
        let items = bench.turns(agent, 1).await;
        assert_eq!(printed(&items, "stdout"), "done\n");
    }
}

/// A daemon that embeds the library has no launcher, which checks the folder it has entered.
#[tokio::test]
async fn tr_6_roots_hold_without_a_launcher() {
    let folders = tempfile::tempdir().unwrap();
    let at = |name: &str| folders.path().join(name);
    for name in ["root/moves", "out"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    let mut shell = provider("shell", &["/bin/sh", "-c"], PromptVia::Argument);
    shell.roots = Some(vec![at("root").to_str().unwrap().to_owned()]);
    let bench = Bench::with(AgentsOptions::new(vec![shell])).await;
    let agent = bench
        .create_in("shell", Some("touch ran"), &at("root/moves"))
        .await;
    bench.turns(&agent, 1).await;
    assert!(at("root/moves/ran").exists());
    std::fs::remove_dir_all(at("root/moves")).unwrap();
    std::os::unix::fs::symlink(at("out"), at("root/moves")).unwrap();
    bench.send(&agent, "touch ran").await.unwrap();
    let items = bench.turns(&agent, 2).await;
    assert_eq!(ends(&items)[1], ("failed".to_owned(), None));
    assert!(!at("out/ran").exists());
}
