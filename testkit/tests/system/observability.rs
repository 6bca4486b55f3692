//! Logged transitions on both sides, and secrets that must not be logged (OB-1).

use std::{collections::BTreeSet, time::Duration};

use bowline_runtime::{HostState, Intent, machines::Path, transport::Address};
use bowline_testkit::world::Follower;
use serde_json::Value;

use crate::{
    Outcome, log,
    world::{LONG, Plan, World},
};

/// Transitions in a log of JSON lines.
fn transitions(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"))
        .filter(|line| line["target"] == "bowline::transition")
        .collect()
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or_default()
}

/// Fields required of every record on either side.
fn check(record: &Value, server_id: &str) {
    assert_eq!(record["server_id"], server_id, "{record}");
    for field in ["machine", "from", "to", "event"] {
        assert!(!text(record, field).is_empty(), "no {field}: {record}");
    }
    if let Some(path) = record.get("path") {
        assert!(
            ["direct", "relay", "local"].contains(&path.as_str().unwrap()),
            "{record}"
        );
    }
}

fn machines(records: &[Value]) -> BTreeSet<&str> {
    records
        .iter()
        .map(|record| text(record, "machine"))
        .collect()
}

/// Everything that is logged: a switch, an outage, a kill, a refusal, a stream.
async fn live(world: &mut World) -> Outcome {
    let agent = world
        .client
        .agent("stream", &world.work(), Some("50"))
        .await?;
    let follower = Follower::new(&world.client, &agent).await?;
    let server = world.client.server_id()?;
    let active = world.active().unwrap().addr();
    let other = world
        .proxies
        .iter()
        .find(|proxy| proxy.addr() != active)
        .unwrap();
    let address = Address {
        path: Path::Direct,
        address: other.addr().to_string(),
    };
    world.client.runtime().select_path(&server, Some(address));
    world
        .client
        .until("switched", LONG, |_| world.client.counters().switches == 1)
        .await?;
    world.client.runtime().refresh();
    world.offline();
    world
        .client
        .until("offline", LONG, |host| host.state == HostState::Degraded)
        .await?;
    world.healthy();
    world.client.online().await?;
    follower.until_ended(1).await?;
    world
        .client
        .run(Intent::Archive { agent_id: agent })
        .await?;
    world.daemon.kill().await?;
    world
        .client
        .until("offline", LONG, |host| host.state == HostState::Degraded)
        .await?;
    world.daemon.start_again().await?;
    world.client.online().await?;
    Ok(())
}

#[tokio::test]
async fn ob_1_every_transition_of_both_sides_is_told_in_full_and_no_secret_ever() -> Outcome {
    let mut plan = Plan {
        paths: 2,
        log: "trace",
        ..Plan::default()
    };
    plan.settings.host.probe_interval = Duration::from_millis(100);
    let mut world = World::with(plan).await?;
    live(&mut world).await?;
    let server = world.client.server_id()?.to_string();
    let profile = world.client.runtime().profile().clone();
    // Both sides log the same hash, so that their logs can be correlated.
    let session_key = profile.client_session_key(&world.client.server_id()?);
    let hash = session_key.external().log_hash();

    let ours = log::take();
    let records = transitions(&ours);
    for record in &records {
        check(record, &server);
        assert_eq!(text(record, "session"), hash, "{record}");
        assert!(record["client"].is_u64(), "the host's generation: {record}");
        let of_a_client = text(record, "machine") == "daemon_client";
        if of_a_client {
            assert!(
                record["generation"].is_u64() && record["path"] == "direct",
                "{record}"
            );
        }
        if ["disconnected", "degraded"].contains(&text(record, "to")) {
            assert!(!text(record, "reason").is_empty(), "{record}");
        }
    }
    let seen = machines(&records);
    for machine in ["daemon_client", "host_runtime", "directory_sync"] {
        assert!(seen.contains(machine), "{machine} is not among {seen:?}");
    }

    let theirs = std::fs::read_to_string(world.daemon_log())?;
    let records = transitions(&theirs);
    for record in &records {
        check(record, &server);
        if text(record, "machine") == "session" {
            assert!(!text(record, "session").is_empty(), "{record}");
        }
        if text(record, "machine") == "connection" {
            assert!(!text(record, "path").is_empty(), "{record}");
        }
        if text(record, "to") == "closed" {
            assert!(!text(record, "reason").is_empty(), "{record}");
        }
    }
    assert!(
        records
            .iter()
            .any(|record| record["session"] == hash.as_str())
    );
    let seen = machines(&records);
    for machine in ["session", "connection"] {
        assert!(seen.contains(machine), "{machine} is not among {seen:?}");
    }

    let key = session_key.as_str();
    let device_key = profile.device_key(&world.client.server_id()?).to_base64();
    let random = key.strip_prefix("csk_").unwrap();
    for (side, log) in [("client", &ours), ("daemon", &theirs)] {
        assert!(
            !log.contains(random),
            "the {side}'s log has the session key"
        );
        assert!(
            !log.contains(&device_key),
            "the {side}'s log has the device key"
        );
    }
    assert_eq!(log::errors(&ours), Vec::<String>::new());
    world.done().await
}
