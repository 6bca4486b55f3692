//! TR-3 as people see it: the daemon's owner compares a code and says yes or no.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use bowline_protocol::{Offer, TransportKey};
use serde_json::Value;

use crate::cases::rig::Rig;

/// `bowline-daemon pair` that waits for a device.
struct Asking {
    program: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    link: String,
}

impl Asking {
    fn begin(rig: &Rig) -> Self {
        let mut command = rig.program("bowline-daemon");
        command.arg("--state-dir").arg(rig.state());
        command.args(["pair", "--ask"]);
        let mut program = piped(command);
        let (stdin, stdout) = (program.stdin.take(), program.stdout.take());
        let mut asking = Self {
            stdin: stdin.unwrap(),
            stdout: BufReader::new(stdout.unwrap()),
            program,
            link: String::new(),
        };
        asking.link = asking.until(|line| line.starts_with("bowline://"));
        asking
    }

    fn until(&mut self, fits: impl Fn(&str) -> bool) -> String {
        let lines = self.stdout.by_ref().lines().map_while(Result::ok);
        let mut lines = lines.map(|line| line.trim().to_owned());
        lines.find(|line| fits(line)).expect("the line")
    }

    /// The code as it is shown, without its space.
    fn code(&mut self) -> String {
        let line = self.until(|line| line.contains("shows this code"));
        digits(&line)
    }

    fn answer(mut self, word: &str) -> i32 {
        writeln!(self.stdin, "{word}").unwrap();
        drop(self.stdin);
        self.program.wait().unwrap().code().unwrap()
    }
}

fn piped(mut command: Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// `bowline pair LINK --json`, and the code that it shows.
fn device(rig: &Rig, link: &str) -> (Child, BufReader<ChildStdout>, String) {
    let mut command = rig.bl_command(&["pair", link, "--json"]);
    let mut program = {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    let line: Value = read(&mut stdout);
    assert_eq!(line["event"], "pairing", "{line}");
    let code = line["code"].as_str().unwrap().to_owned();
    (program, stdout, code)
}

fn read(stdout: &mut impl BufRead) -> Value {
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn tr_3_both_sides_show_one_code_and_a_yes_pairs() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let mut asking = Asking::begin(&rig);
    let (mut program, mut stdout, shown) = device(&rig, &asking.link);
    assert_eq!(asking.code(), shown);
    assert_eq!(shown.len(), 6);
    assert_eq!(rig.bl(&["hosts", "--json"]).stdout, "", "not paired yet");
    assert_eq!(asking.answer("y"), 0);
    assert_eq!(read(&mut stdout)["event"], "paired");
    assert!(program.wait().unwrap().success());
    let hosts = rig.bl(&["hosts", "--json"]);
    assert!(hosts.stdout.contains("\"online\""), "{hosts:?}");
}

#[test]
fn tr_3_any_other_answer_refuses_and_both_sides_say_so() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let mut asking = Asking::begin(&rig);
    let (mut program, mut stdout, _) = device(&rig, &asking.link);
    asking.code();
    assert_eq!(asking.answer(""), 4, "refused");
    let said = read(&mut stdout);
    assert_eq!(said["reason"], "pairing_refused", "{said}");
    assert_eq!(program.wait().unwrap().code(), Some(4));
    assert_eq!(rig.bd(&["devices"]).code, 0);
    assert!(rig.bd(&["offers"]).stdout.contains("no open offers"));
}

#[test]
fn tr_3_a_script_approves_with_the_code_that_the_device_shows() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let made = rig.bd(&["pair", "--ask", "--json"]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let (offer, link) = (
        made["offerId"].as_str().unwrap(),
        made["offer"].as_str().unwrap(),
    );
    let (mut program, mut stdout, shown) = device(&rig, link);
    let listed = rig.bd(&["offers"]);
    assert!(digits(&listed.stdout).contains(&shown), "{listed:?}");
    let without = rig.bd(&["offers", "approve", offer]);
    assert_eq!(without.code, 2, "{without:?}");
    let other = if shown == "000000" {
        "000001"
    } else {
        "000000"
    };
    let wrong = rig.bd(&["offers", "approve", offer, "--code", other]);
    assert_eq!(wrong.code, 4, "{wrong:?}");
    let grouped = format!("{} {}", &shown[..3], &shown[3..]);
    let right = rig.bd(&["offers", "approve", offer, "--code", &grouped, "--json"]);
    assert_eq!(right.code, 0, "{right:?}");
    let paired: Value = serde_json::from_str(&right.stdout).unwrap();
    assert_eq!(paired["code"], shown.as_str());
    assert_eq!(read(&mut stdout)["event"], "paired");
    assert!(program.wait().unwrap().success());
}

#[test]
fn tr_1_a_forged_link_for_a_known_host_is_refused_and_nobody_is_dialled() {
    let mut rig = Rig::paired();
    let made = rig.bd(&["pair", "--json"]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let mut forged: Offer = made["offer"].as_str().unwrap().parse().unwrap();
    // The victim's id with the thief's key and address.
    let thief = TcpListener::bind("127.0.0.1:0").unwrap();
    thief.set_nonblocking(true).unwrap();
    forged.transport_key = TransportKey::from_private([66; 32]).public();
    forged.direct = vec![thief.local_addr().unwrap().to_string()];
    let refused = rig.bl(&["pair", &forged.to_string(), "--json"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(
        refused.stdout.contains("server_identity_mismatch"),
        "{refused:?}"
    );
    assert!(refused.stdout.contains("forget"), "what to do: {refused:?}");
    let dialled = thief.accept().map_err(|error| error.kind());
    assert_eq!(dialled.unwrap_err(), io::ErrorKind::WouldBlock);
    rig.stop();
}
