//! Exit codes and messages of commands that cannot succeed.

use crate::support::World;

#[test]
fn a_daemon_that_is_not_there_is_exit_code_three_and_the_message_helps() {
    let mut world = World::paired();
    world.daemon.kill();
    let address = &world.daemon.address;
    for args in [
        &["agents"][..],
        &["run", "--provider", "shell", "true"],
        &["history", "agt_1"],
        &["send", "agt_1", "true"],
    ] {
        let args = [args, &["--timeout", "500ms", "--json"]].concat();
        let ended = world.bowline(&args);
        assert_eq!(ended.code, 3, "{args:?}: {ended:?}");
        let line = &ended.json()[0];
        assert_eq!(line["event"], "error");
        assert_eq!(line["reason"], "unreachable");
        let message = line["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("not reachable at {address}")),
            "{message}"
        );
        assert!(message.contains("is the daemon running?"), "{message}");
        assert!(message.contains("`bowline-daemon run`"), "{message}");
        assert_eq!(
            ended.stderr,
            format!("error: {message}\n"),
            "people read the same"
        );
    }
    world.daemon.again();
    assert_eq!(
        world.bowline(&["agents", "--json"]).stdout,
        "",
        "nothing was left behind to run"
    );
}

#[test]
fn hosts_tells_that_a_daemon_is_away_and_does_not_wait_for_it() {
    let mut world = World::paired();
    world.daemon.kill();
    let ended = world.bowline(&["hosts", "--json"]);
    assert_eq!(ended.code, 0);
    let host = &ended.json()[0]["host"];
    assert_eq!(host["state"], "selecting_active_connection");
    assert_eq!(host["lastError"]["reason"], "unreachable");
}

#[test]
fn bx_3_an_offer_that_does_not_read_is_usage_and_a_used_one_is_refused() {
    let mut world = World::new();
    let offer = world.daemon.offer();
    for wrong in [
        "hello",
        "bowline://pair?v=1",
        &offer.replace("v=1", "v=9"),
        &offer.replace("&t=", "&t=!"),
    ] {
        let ended = world.bowline(&["pair", wrong, "--json"]);
        assert_eq!(ended.code, 2, "{wrong}: {ended:?}");
        assert_eq!(ended.json()[0]["reason"], "usage");
    }
    let paired = world.bowline(&["pair", "--yes", &offer, "--json"]);
    assert_eq!(paired.code, 0, "{paired:?}");
    let line = &paired.json()[0];
    assert_eq!(
        (&line["event"], &line["host"]["name"]),
        (&"paired".into(), &"workshop".into())
    );
    assert_eq!(
        line["host"]["addresses"][0]["address"],
        world.daemon.address.as_str()
    );

    let other = world.state().with_file_name("other");
    let other = other.to_str().unwrap();
    let mut used = std::process::Command::new(env!("CARGO_BIN_EXE_bowline"));
    let used = used
        .args(["--state-dir", other, "pair", "--yes", &offer, "--json"])
        .output()
        .unwrap();
    assert_eq!(used.status.code(), Some(4));
    let stdout = String::from_utf8(used.stdout).unwrap();
    assert!(
        stdout.contains(r#""reason":"pairing_token_invalid""#),
        "{stdout}"
    );

    let offer = world.daemon.offer();
    world.daemon.kill();
    let away = world.bowline(&["pair", "--yes", &offer]);
    assert_eq!(away.code, 3);
    assert!(
        away.stderr
            .contains(&format!("not reachable at {}", world.daemon.address)),
        "{away:?}"
    );
}

#[test]
fn bx_3_a_revoked_device_is_exit_code_four_at_once_also_in_mid_stream() {
    let world = World::paired();
    let mut run = world.start(&[
        "run",
        "--json",
        "--provider",
        "shell",
        "echo begun; sleep 600",
    ]);
    run.line_with(r#""kind":"output""#);
    world.daemon.revoke_the_device();
    let ended = run.finish();
    assert_eq!(ended.code, 4, "{ended:?}");
    let last = ended.json().pop().unwrap();
    assert_eq!(last["reason"], "device_revoked");
    assert!(ended.stderr.contains("pair again"), "{}", ended.stderr);
    // The timeout applies to daemons that do not answer; this one has answered.
    let ended = world.bowline(&["agents", "--json", "--timeout", "0s"]);
    assert_eq!(
        (ended.code, &ended.json()[0]["reason"]),
        (4, &"device_revoked".into())
    );
    let ended = world.bowline(&["watch"]);
    assert_eq!(ended.code, 4);
    let offer = world.daemon.offer();
    assert_eq!(
        world.bowline(&["pair", "--yes", &offer]).code,
        0,
        "pairing again helps"
    );
    assert_eq!(world.bowline(&["agents"]).code, 0);
}

#[test]
fn inv_9_a_corrupt_profile_is_an_error_that_names_it_and_no_new_identity() {
    let world = World::paired();
    let profile = world.state().join("profile.json");
    std::fs::write(&profile, "{").unwrap();
    let offer = world.daemon.offer();
    for args in [
        &["hosts", "--json"][..],
        &["pair", "--yes", &offer, "--json"],
    ] {
        let ended = world.bowline(args);
        assert_eq!(ended.code, 1);
        let line = &ended.json()[0];
        assert_eq!(line["reason"], "corrupt_state");
        assert!(
            line["message"]
                .as_str()
                .unwrap()
                .contains(profile.to_str().unwrap())
        );
    }
    assert_eq!(std::fs::read_to_string(profile).unwrap(), "{");
}

#[test]
fn a_forgotten_host_is_gone() {
    let world = World::paired();
    let unknown = world.bowline(&["forget", "attic"]);
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.stderr.contains("workshop"),
        "it says what is known: {}",
        unknown.stderr
    );
    let forgot = world.bowline(&["forget", "workshop", "--json"]);
    assert_eq!(
        (forgot.code, &forgot.json()[0]["event"]),
        (0, &"forgotten".into())
    );
    let hosts = world.bowline(&["hosts"]);
    assert_eq!((hosts.code, hosts.stdout.as_str()), (0, ""));
    let ended = world.bowline(&["agents", "--json"]);
    assert_eq!(
        (ended.code, &ended.json()[0]["reason"]),
        (1, &"no_hosts".into())
    );
    assert!(
        ended.stderr.contains("bowline-daemon pair"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_path_that_is_not_allowed_is_not_used() {
    let world = World::paired();
    let ended = world.bowline(&["agents", "--only", "relay", "--json"]);
    assert_eq!(
        (ended.code, &ended.json()[0]["reason"]),
        (3, &"no_path".into())
    );
    assert!(
        ended
            .stderr
            .contains(&format!("direct {}", world.daemon.address)),
        "{ended:?}"
    );
    assert_eq!(world.bowline(&["agents", "--only", "direct"]).code, 0);
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_and_unknown_keys_are_named() {
    let world = World::paired();
    let config = world.work().join("client.toml");
    std::fs::write(
        &config,
        "provider = \"shell\"\nlimit = 1\ntimeuot = \"1s\"\n",
    )
    .unwrap();
    let ended = world.bowline(&["hosts", "--json", "--config", config.to_str().unwrap()]);
    assert_eq!(
        (ended.code, &ended.json()[0]["reason"]),
        (2, &"config".into())
    );
    let expected = format!("{}:3: unknown field `timeuot`", config.display());
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);

    std::fs::write(&config, "provider = \"shell\"\nlimit = 1\n").unwrap();
    let run = |args: &[&str], limit: Option<&str>| {
        let mut command = world.command(args);
        command
            .env("BOWLINE_CONFIG", &config)
            .envs(limit.map(|limit| ("BOWLINE_LIMIT", limit)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    assert_eq!(
        run(&["run", "echo hi"], None),
        1,
        "the provider is in the file"
    );
    assert_eq!(run(&["history", "echo hi"], None), 1);
    assert_eq!(run(&["history", "echo hi"], Some("2")), 2);
    assert_eq!(run(&["history", "echo hi", "--limit", "3"], Some("2")), 3);
}

#[test]
fn a_wrong_command_line_is_usage_also_for_programs() {
    let world = World::new();
    let ended = world.bowline(&["hists", "--json"]);
    assert_eq!(
        (ended.code, &ended.json()[0]["reason"]),
        (2, &"usage".into())
    );
    assert!(ended.stderr.contains("Usage:"), "{}", ended.stderr);
    assert_eq!(world.bowline(&["hosts", "--log", "a=b=c"]).code, 2);
    let help = world.bowline(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    assert!(help.stdout.contains("Exit codes: 0 done"));
}
