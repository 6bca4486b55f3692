//! Output to readers that close or pause, and to full disks.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use crate::support::World;

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let world = World::paired();
    let prompt = "i=0; while [ $i -lt 100000 ]; do echo $i; i=$((i+1)); done";
    let mut child = world
        .command(&["run", "--provider", "shell", prompt])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "0\n");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_a_failure() {
    let world = World::paired();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = world
        .command(&["run", "--json", "--provider", "shell", "echo hi"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("cannot write the output"), "{stderr}");
}

#[test]
fn a_reader_that_pauses_stops_neither_the_connection_nor_ctrl_c() {
    let world = World::paired();
    // Far more than a pipe and the output queue hold, without a reader.
    let prompt = "i=0; while [ $i -lt 500 ]; do seq 1 1000; i=$((i+1)); done; sleep 600";
    let child = world
        .command(&["run", "--provider", "shell", prompt])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    bowline_testkit::blocking::eventually("all of it was said", || {
        let listed = world.bowline(&["agents", "--json"]);
        let lines = listed.json();
        let Some(id) = lines.first().and_then(|line| line["agent"]["id"].as_str()) else {
            return false;
        };
        let last = world.bowline(&["history", "--json", "--limit", "1", id]);
        last.stdout.contains("999\\n1000\\n\"")
    });
    assert!(world.daemon.sessions() >= 1, "it is still attached");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let mut child = child;
    let mut code = None;
    bowline_testkit::blocking::eventually("it ends", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(130));
}
