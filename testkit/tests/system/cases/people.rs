//! Text that people read and type at a terminal.

use super::rig::{Rig, SHELL, has};

/// The words of each line.
fn words(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines();
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// `bowline run 'echo hello'` asked for a provider although there was only one.
#[test]
fn case_newcomer_the_only_provider_need_not_be_named() {
    let rig = Rig::paired();
    let run = rig.bl(&["run", "echo hello"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "hello\n"), "{run:?}");
    let listed = rig.bl(&["providers"]);
    assert_eq!(
        words(&listed.stdout)[..2],
        [
            vec!["PROVIDER", "KIND", "TITLE"],
            vec!["shell", "command", "Shell"]
        ],
        "{listed:?}"
    );
    let listed = rig.sh("$BL providers --json");
    let row: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(
        (&row["event"], &row["provider"]["name"]),
        (&"provider".into(), &"shell".into())
    );
}

/// With several providers, the error names them.
#[test]
fn case_newcomer_of_several_providers_one_is_asked_for() {
    let mut rig = Rig::new();
    let config = rig.work().join("daemon.toml");
    let provider = "[[provider]]\nname = \"echo\"\nkind = \"command\"\ncommand = [\"/bin/echo\"]\n";
    std::fs::write(&config, [SHELL, provider].concat()).unwrap();
    rig.up(&["--config", config.to_str().unwrap()]);
    rig.pair();
    let run = rig.bl(&["run", "hello"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("--provider"), "{run:?}");
    assert!(run.stderr.contains("shell, echo"), "{run:?}");
    assert_eq!(
        rig.bl(&["run", "--provider", "echo", "hello"]).stdout,
        "hello\n"
    );
}

/// Agent ids begin with the time, so typed beginnings were never unique; what a list shows is
/// accepted wherever an agent is named.
#[test]
fn case_newcomer_what_a_list_shows_names_an_agent() {
    let rig = Rig::paired();
    for prompt in ["echo one", "exit 3"] {
        rig.bl(&["run", prompt]);
    }
    let listed = rig.bl(&["agents"]).stdout;
    let rows = words(&listed);
    assert_eq!(rows.len(), 3, "a header and two agents: {listed}");
    assert_eq!(
        rows[0],
        [
            "AGENT", "STATUS", "LAST", "TURN", "CHANGED", "PROVIDER", "TITLE"
        ]
    );
    assert_eq!((rows[1][1], rows[1][2]), ("idle", "completed"), "{listed}");
    assert_eq!((rows[2][1], rows[2][2]), ("idle", "failed"), "{listed}");
    let (one, two) = (rows[1][0], rows[2][0]);
    assert!(one.len() == 8 && one != two, "{listed}");
    let history = rig.bl(&["history", one]);
    assert!(history.stdout.contains("> echo one"), "{history:?}");
    let sent = rig.bl(&["send", two, "echo again"]);
    assert_eq!(
        (sent.code, sent.stdout.as_str()),
        (0, "again\n"),
        "{sent:?}"
    );
    let ambiguous = rig.bl(&["history", "agt_"]);
    assert_eq!(ambiguous.code, 2);
    assert!(
        ambiguous.stderr.contains(one) && ambiguous.stderr.contains(two),
        "{ambiguous:?}"
    );
    let unknown = rig.bl(&["history", "nobody"]);
    assert!(unknown.stderr.contains("`bowline agents`"), "{unknown:?}");
}

/// Agents could not be archived.
#[test]
fn case_newcomer_an_agent_is_archived_and_leaves_the_list() {
    let rig = Rig::paired();
    rig.bl(&["run", "true"]);
    let listed = rig.bl(&["agents"]).stdout;
    let id = words(&listed)[1][0].to_owned();
    let archived = rig.bl(&["archive", &id]);
    assert_eq!(archived.code, 0, "{archived:?}");
    assert!(
        archived.stdout.starts_with("archived `true`"),
        "{archived:?}"
    );
    let listed = rig.bl(&["agents"]);
    assert_eq!(listed.stdout, "", "{listed:?}");
    assert!(listed.stderr.contains("--all"), "{listed:?}");
    assert!(rig.bl(&["agents", "--all"]).stdout.contains("archived"));
    let again = rig.sh(&format!("$BL archive --json {id}"));
    assert!(again.stdout.contains(r#""event":"archived""#), "{again:?}");
    let sent = rig.bl(&["send", &id, "true"]);
    assert_eq!((sent.code, sent.stderr.lines().count()), (1, 1), "{sent:?}");
    assert!(sent.stderr.contains("archived"), "{sent:?}");
}

/// `watch` printed 20 rows on any terminal, and `q` did nothing.
#[test]
fn case_newcomer_watch_fits_the_terminal_and_q_ends_it() {
    if !has("script", "bsdutils") {
        return;
    }
    let rig = Rig::paired();
    for n in 0..12 {
        rig.agent(
            "shell",
            &format!("true {n} and a title wider than the terminal"),
        );
    }
    let seen = rig.sh(
        "mkfifo keys
        script -qec \"stty rows 8 cols 40; $BL watch; echo left=\\$?; stty -a\" seen <keys >/dev/null &
        exec 3>keys
        until grep -q 'more agents' seen; do sleep 0.1; done
        printf '\\033[A' >&3
        sleep 0.5
        grep -q left=0 seen && echo early
        printf q >&3
        wait $!
        cat seen",
    );
    let text = seen.stdout;
    assert!(text.contains("left=0"), "{text}");
    assert!(!text.starts_with("early"), "an arrow is not Esc: {text}");
    let after = text.split("left=0").nth(1).unwrap();
    assert!(
        after.contains(" icanon") && after.contains(" echo "),
        "the terminal is as before: {after}"
    );
    let before = text.split("left=0").next().unwrap();
    let picture = before.rsplit("\u{1b}[?7l").next().unwrap();
    let rows: Vec<_> = picture
        .lines()
        .filter(|row| row.contains("\u{1b}[K"))
        .collect();
    assert_eq!(rows.len(), 7, "all rows but the cursor's: {picture:?}");
    for row in rows {
        assert!(columns(row) <= 40, "{row:?}");
    }
}

/// Columns that a row occupies, without escape sequences.
fn columns(row: &str) -> usize {
    let mut count = 0;
    let mut chars = row.trim_end().chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            let _ = chars.find(|c| c.is_ascii_alphabetic());
        } else if c != '\r' {
            count += 1;
        }
    }
    count
}

/// A size change takes effect at once, and a terminal's settings are restored on hangup and
/// termination.
#[test]
fn case_newcomer_watch_follows_the_terminals_size_and_gives_it_back_after_ctrl_c() {
    if !has("script", "bsdutils") {
        return;
    }
    let rig = Rig::paired();
    for n in 0..12 {
        rig.agent("shell", &format!("true {n}"));
    }
    let seen = rig.sh(
        "mkfifo keys
        script -qec \"tty >tty; stty rows 6 cols 80; $BL watch; echo left=\\$?; stty -a\" seen <keys >/dev/null &
        exec 3>keys
        until grep -q 'and 9 more agents' seen; do sleep 0.1; done
        stty -F $(cat tty) rows 10 cols 80
        until grep -q 'and 5 more agents' seen; do sleep 0.1; done
        printf '\\003' >&3
        wait $!
        cat seen",
    );
    let text = seen.stdout;
    let after = text
        .split("left=130")
        .nth(1)
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        after.contains(" icanon") && after.contains(" echo "),
        "the terminal is as before: {after}"
    );
}

/// A newcomer's first offer contains only 127.0.0.1, and its QR code said "scan with the app".
#[test]
fn case_newcomer_an_offer_says_for_whom_it_is_good_and_until_when() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let offer = rig.bd(&["pair"]);
    let text = &offer.stdout;
    assert!(text.contains("on this machine only"), "{text}");
    for way in ["--listen", "--relay", "UTC", "(10m)", "bowline://pair?"] {
        assert!(text.contains(way), "{way}: {text}");
    }
    assert!(!text.contains("Scan") && !text.contains('█'), "{text}");
    assert!(rig.log().contains("only this machine reaches the daemon"));
    rig.stop();
    rig.up(&["--advertise", "workshop.local:4717"]);
    let text = rig.bd(&["pair"]).stdout;
    assert!(text.contains("Scan") && text.contains('█'), "{text}");
    assert!(text.contains("UTC"), "{text}");
    // From another machine a loopback offer fails, and the error explains why.
    rig.stop();
    rig.up(&[]);
    let offer = rig.sh("$BD pair --json").stdout;
    let offer: serde_json::Value = serde_json::from_str(&offer).unwrap();
    rig.stop();
    let failed = rig.bl(&[
        "pair",
        "--yes",
        offer["offer"].as_str().unwrap(),
        "--timeout",
        "5s",
    ]);
    assert_eq!(
        (failed.code, failed.stderr.lines().count()),
        (3, 1),
        "{failed:?}"
    );
    assert!(failed.stderr.contains("--listen"), "{failed:?}");
    assert!(failed.stderr.contains(&rig.address), "{failed:?}");
}

/// All devices were named `bowline`, and `revoke` required thirty letters.
#[test]
fn case_newcomer_devices_are_told_apart_and_revoked_by_what_the_list_shows() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let pair = |name: &str, folder: &str| {
        let ended = rig.sh(&format!(
            "bowline --state-dir {folder} --device-name {name} pair --yes - < <($BD pair --json | sed 's/.*\"offer\":\"\\([^\"]*\\)\".*/\\1/')"
        ));
        assert_eq!(ended.code, 0, "{ended:?}");
    };
    pair("ann-laptop", "one");
    pair("ann-phone", "two");
    let listed = rig.bd(&["devices"]).stdout;
    let rows = words(&listed);
    assert_eq!(rows.len(), 3, "{listed}");
    assert!(listed.contains("bowline on ann-laptop") && listed.contains("bowline on ann-phone"));
    let short = rows[1][0];
    assert_eq!(short.len(), 8, "{listed}");
    let revoked = rig.bd(&["devices", "revoke", short]);
    assert_eq!(revoked.code, 0, "{revoked:?}");
    assert!(revoked.stdout.contains("bowline on ann-"), "{revoked:?}");
    let left = if revoked.stdout.contains("laptop") {
        "phone"
    } else {
        "laptop"
    };
    let revoked = rig.bd(&["devices", "revoke", &format!("bowline on ann-{left}")]);
    assert_eq!(revoked.code, 0, "{revoked:?}");
    let again = rig.bd(&["devices", "revoke", short]);
    assert!(again.stdout.contains("already"), "{again:?}");
    let unknown = rig.bd(&["devices", "revoke", "kitchen"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("ann-laptop"), "{unknown:?}");
}

/// Without `--device-name` a device is named after its machine.
#[test]
fn case_newcomer_a_device_is_named_after_its_machine() {
    let rig = Rig::paired();
    let listed = rig.bd(&["devices", "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let name = listed["devices"][0]["name"].as_str().unwrap();
    let machine = rig.sh("uname -n").stdout;
    let expected = format!("bowline on {}", machine.trim());
    let expected: String = expected.chars().take(64).collect();
    assert_eq!(name, expected);
}

/// Text of an author's program referred to `bowline-daemon`, and JSON-RPC codes appeared in
/// messages.
#[test]
fn case_newcomer_texts_name_the_program_they_come_from_and_no_codes() {
    let rig = Rig::paired();
    let voxel = bowline_testkit::world::program("examples/voxel").unwrap();
    let said = rig.sh(&format!("{} --state-dir V status", voxel.display()));
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stderr.contains("`voxel run`"), "{said:?}");
    for command in [
        "--help",
        "run --help",
        "pair --help",
        "devices --help",
        "config --help",
    ] {
        let help = rig.sh(&format!("{} {command}", voxel.display()));
        assert!(!help.stdout.contains("bowline-daemon"), "{help:?}");
    }
    let unknown = format!("dev_{}", "a".repeat(26));
    let refused = rig.bd(&["devices", "revoke", &unknown]);
    assert!(refused.stderr.contains(&unknown), "{refused:?}");
    let status = rig.bd(&["status"]);
    assert!(!status.stdout.contains("since"), "{status:?}");
    for text in [&refused.stderr, &rig.bl(&["send", "nobody", "x"]).stderr] {
        assert!(!text.contains("-32"), "{text}");
    }
}

/// Clients kept a daemon's old name permanently: commands end before a periodic check.
#[test]
fn case_newcomer_a_renamed_daemon_is_called_so_by_its_clients() {
    let mut rig = Rig::new();
    rig.up(&["--name", "before"]);
    rig.pair();
    rig.stop();
    rig.up(&["--name", "after"]);
    let hosts = rig.bl(&["hosts"]);
    assert_eq!(words(&hosts.stdout)[1][0], "after", "{hosts:?}");
    let run = rig.bl(&["run", "--host", "after", "echo hello"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "hello\n"), "{run:?}");
    rig.stop();
    let hosts = rig.bl(&["hosts"]);
    assert_eq!(words(&hosts.stdout)[1][0], "after", "as stored: {hosts:?}");
}

/// Every client command took four lines of the daemon's log at `info`.
#[test]
fn case_newcomer_a_command_takes_few_lines_of_the_log() {
    let rig = Rig::paired();
    rig.bd(&["status"]);
    let before = rig.log().lines().count();
    for _ in 0..5 {
        assert_eq!(rig.bl(&["agents"]).code, 0);
        assert_eq!(rig.bd(&["status"]).code, 0);
    }
    let log = rig.log();
    let taken = log.lines().count() - before;
    assert!(taken <= 11, "{taken} lines: {log}");
}

/// No help text mentioned the limits of `run` and `send`.
#[test]
fn case_newcomer_help_points_to_the_limits() {
    let rig = Rig::new();
    let helps = [
        rig.bl(&["run", "--help"]),
        rig.bl(&["send", "--help"]),
        rig.bd(&["run", "--help"]),
    ];
    for help in helps {
        assert!(help.stdout.contains("64 KiB"), "{help:?}");
        assert!(help.stdout.contains("Limits that users meet"), "{help:?}");
    }
    let commands = include_str!("../../../../docs/commands.md");
    assert!(commands.contains("\n## Limits that users meet\n"));
}
