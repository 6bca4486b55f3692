//! What a person reads and types at a terminal.

use super::rig::{Rig, has};

/// The words of each line.
fn words(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines();
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// A newcomer types `bowline run 'echo hello'`, and was asked for a provider where there is only one.
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

/// Where there are several, the answer names them.
#[test]
fn case_newcomer_of_several_providers_one_is_asked_for() {
    let mut rig = Rig::new();
    let config = rig.work().join("daemon.toml");
    let provider = "[[provider]]\nname = \"echo\"\nkind = \"command\"\ncommand = [\"/bin/echo\"]\n";
    std::fs::write(&config, provider).unwrap();
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

/// Ids of agents begin with the time, so the beginnings that people typed were never the only one; what a list shows is
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

/// There was no way to put an agent away.
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

/// `watch` was 20 rows whatever the terminal, and `q` did nothing.
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

/// Columns that a row of the picture takes: what is no escape sequence.
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

/// Another size is taken up at once, and a terminal that is hung up or asked to end gets its settings back.
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
