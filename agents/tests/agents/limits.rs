//! The section `[agents]` of a daemon's settings (TR-12).

use std::time::Duration;

use bowline_agents::{AgentLimits, LIMITS};
use bowline_daemon::config::{Home, Sections, Settings, Timeout, Written, load};
use bowline_protocol::RpcReason;
use serde_json::json;

use crate::{
    prompted::{agent, daemon_with},
    support::{client::paired, grants::intent},
};

fn of(text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("daemon.toml");
    std::fs::write(&file, text).unwrap();
    let written = Written {
        state_dir: Some(folder.path().to_owned()),
        ..Written::default()
    };
    let sections = Sections::default().with(LIMITS);
    load(Home::BOWLINE, Some(file), written, &sections).map_err(|error| error.to_string())
}

#[test]
fn ld_6_the_limits_of_agents_are_a_section_of_their_own() {
    let settings = of("[agents]\ntimeline_bytes = 131072\noutput_age = \"1h\"\n").unwrap();
    let limits = settings.section(&LIMITS).unwrap();
    assert_eq!(limits.timeline_bytes, 131_072);
    assert_eq!(limits.agents_per_device, 10_000, "the default");
    let shown = settings.to_toml().unwrap();
    assert_eq!(*of(&shown).unwrap().section(&LIMITS).unwrap(), *limits);
    assert!(shown.contains("output_age = \"1h\""), "{shown}");
    for (wrong, says) in [
        ("[agents]\ntimeline_bytes = 5\n", "at least 131072"),
        ("[agents]\ntimeline_byte = 5\n", "`timeline_byte`"),
        ("[limits]\noutput_agee = \"1h\"\n", "`output_agee`"),
        (
            "[limits]\noutput_age = \"1h\"\n[agents]\noutput_age = \"1h\"\n",
            "`[agents]` as well",
        ),
    ] {
        let error = of(wrong).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn tr_12_a_file_of_an_earlier_version_keeps_its_limits_of_agents() {
    let former = "[limits]\nagents_per_device = 3\ntimeline_bytes_per_device = 400000\ntimeline_bytes = 200000\noutput_age = \"1h\"\n\
                  storage_limit = 8388608\n";
    let settings = of(former).unwrap();
    let expected = AgentLimits {
        agents_per_device: 3,
        timeline_bytes_per_device: 400_000,
        timeline_bytes: 200_000,
        output_age: Timeout::of(Duration::from_secs(3_600)),
    };
    assert_eq!(*settings.section(&LIMITS).unwrap(), expected);
    assert_eq!(settings.limits.storage_limit, 8_388_608);
}

#[tokio::test]
async fn tr_12_a_daemon_takes_the_limits_of_agents_from_its_settings() {
    let daemon = daemon_with(|settings| {
        let limits = AgentLimits {
            agents_per_device: 1,
            ..AgentLimits::default()
        };
        settings.set_section(&LIMITS, limits).unwrap();
    })
    .await;
    let (_, mut client) = paired(&daemon).await;
    let dir = tempfile::tempdir().unwrap();
    agent(&mut client, dir.path()).await;
    let params = json!({"provider": "shell", "cwd": dir.path()});
    let refused = intent(&mut client, "agents.create", params).await;
    let reason = RpcReason::QuotaExceeded.as_str();
    assert_eq!(refused["error"]["data"]["reason"], reason, "{refused}");
}
