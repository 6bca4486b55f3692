//! The section `[agents]` of a daemon's settings (TR-12).

use bowline_agents::{AgentLimits, LIMITS};
use bowline_daemon::config::{Home, Sections, Settings, Written, load};
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
        ("[limits]\noutput_age = \"1h\"\n", "`output_age`"),
    ] {
        let error = of(wrong).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
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
