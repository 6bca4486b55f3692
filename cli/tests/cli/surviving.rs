//! Ends of either side: no loss and no duplication.

use bowline_testkit::blocking::eventually;

use crate::support::{World, items};

#[test]
fn bx_1_a_prompt_whose_client_was_killed_in_mid_request_is_run_once() {
    let world = World::paired();
    kill_the_client_in_mid_request(&world);
    world.daemon.thaw();
    assert_it_ran_once(&world);
}

#[test]
fn bx_1_a_prompt_whose_client_and_daemon_were_killed_in_mid_request_is_run_once() {
    let mut world = World::paired();
    kill_the_client_in_mid_request(&world);
    // Data in the daemon's socket buffer is lost.
    world.daemon.kill();
    world.daemon.again();
    assert_it_ran_once(&world);
}

/// The daemon is frozen when the request is sent, so no answer can have arrived.
fn kill_the_client_in_mid_request(world: &World) {
    let mut run = world.start(&["run", "--json", "--provider", "shell", "-"]);
    eventually("the client is attached", || world.daemon.sessions() == 1);
    world.daemon.freeze();
    run.input("echo ran >> proof");
    let outbox = || {
        let files = std::fs::read_dir(world.state()).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let mut lines = files.filter(|file| file.extension().is_some_and(|end| end == "jsonl"));
        lines.any(|file| std::fs::read_to_string(file).unwrap().contains("echo ran"))
    };
    eventually("the request is kept", outbox);
    run.kill();
}

/// Any later command delivers stored requests.
fn assert_it_ran_once(world: &World) {
    // Watches from the start, so that a second agent cannot appear and vanish unnoticed.
    eventually("the request is delivered", || {
        world.bowline(&["agents", "--json"]).json().len() == 1
    });
    world.until_status("idle");
    eventually("nothing waits any more", || {
        world.bowline(&["hosts", "--json"]).json()[0]["host"]["pending"] == 0
    });
    assert_eq!(world.only_agent()["attention"], "finished");
    let proof = std::fs::read_to_string(world.work().join("proof")).unwrap();
    assert_eq!(proof, "ran\n", "once");
}

#[test]
fn bx_4_a_run_goes_on_over_the_daemons_death_and_tells_the_truth() {
    let mut world = World::paired();
    let mut run = world.start(&[
        "run",
        "--json",
        "--provider",
        "shell",
        "echo begun; sleep 600",
    ]);
    run.line_with(r#""kind":"output""#);
    world.daemon.kill();
    world.daemon.again();
    let ended = run.finish();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(
        ended.stdout.lines().last().unwrap(),
        r#"{"event":"done","status":"interrupted"}"#
    );
    let id = ended.json()[0]["agent"]["id"].as_str().unwrap().to_owned();
    let history = world.bowline(&["history", "--json", &id]);
    assert_eq!(items(&history.json()), items(&ended.json()));
    let again = world.bowline(&["send", &id, "echo well"]);
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, "well\n"),
        "the agent lives on"
    );
}

#[test]
fn inv_2_ctrl_c_leaves_the_agent_at_work() {
    let world = World::paired();
    let gate = world.work().join("gate");
    let prompt = format!(
        "echo begun; while [ ! -e {} ]; do sleep 0.02; done; echo done",
        gate.display()
    );
    let mut run = world.start(&["run", "--json", "--provider", "shell", &prompt]);
    run.line_with(r#""kind":"output""#);
    run.interrupt();
    let ended = run.finish();
    assert_eq!(ended.code, 130);
    let id = ended.json()[0]["agent"]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        ended.stderr,
        format!("{id} continues on workshop; `bowline history {id}` shows its output\n")
    );
    assert_eq!(world.only_agent()["status"], "running");
    std::fs::write(gate, "").unwrap();
    world.until_status("idle");
    let history = world.bowline(&["history", &id]);
    assert!(
        history.stdout.ends_with("begun\ndone\n(completed)\n"),
        "{}",
        history.stdout
    );
}

#[test]
fn give_up_bounds_the_wait_for_a_daemon_that_is_gone() {
    let mut world = World::paired();
    let prompt = "echo begun; sleep 600";
    let args = [
        "run",
        "--json",
        "--provider",
        "shell",
        "--give-up",
        "500ms",
        prompt,
    ];
    let mut run = world.start(&args);
    run.line_with(r#""kind":"output""#);
    world.daemon.kill();
    let ended = run.finish();
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(ended.json().pop().unwrap()["event"], "error");
    assert!(
        ended.stderr.contains("continues on workshop"),
        "{}",
        ended.stderr
    );
    // Ends the processes that the killed daemon left running.
    world.daemon.again();
    world.until_status("failed");
}
