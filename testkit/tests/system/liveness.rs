//! Deadlines: silent paths, dead ports, slow paths, sleeping programs (INV-12, INV-13, DC-2).

use std::time::Duration;

use bowline_protocol::{Reason, methods::name};
use bowline_runtime::{CallError, HostState};
use bowline_testkit::{eventually, world::done};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    Outcome,
    world::{LONG, Plan, World},
};

#[tokio::test]
async fn inv_12_dc_2_a_silently_frozen_path_is_noticed_by_the_heartbeat() -> Outcome {
    let world = World::new().await?;
    world.proxies[0].freeze();
    // The heartbeat waits for 4 s of silence, then sends two pings with 2 s each.
    let host = world
        .client
        .until("the silence shows", LONG, |host| {
            host.state == HostState::Degraded
        })
        .await?;
    assert_eq!(
        host.last_error.as_ref().map(|error| error.reason),
        Some(Reason::HeartbeatTimeout)
    );
    world.proxies[0].thaw();
    world.client.online().await?;
    assert_eq!(
        (
            world.client.counters().resumed,
            world.client.counters().reset
        ),
        (1, 1)
    );
    world.done().await
}

#[tokio::test]
async fn inv_12_dc_2_a_port_that_never_answers_ends_in_a_connect_timeout_and_is_tried_again()
-> Outcome {
    let mut plan = Plan::default();
    plan.settings.client.connect_deadline = Duration::from_millis(300);
    let world = World::with(plan).await?;
    // Accepts connections without answering.
    world.proxies[0].freeze();
    world.proxies[0].cut();
    for _ in 0..3 {
        let open = world.proxies[0].counters().open;
        world
            .client
            .until("a connect timeout", LONG, |host| {
                host.last_error.as_ref().map(|error| error.reason) == Some(Reason::ConnectTimeout)
            })
            .await?;
        eventually("another attempt", async || {
            world.proxies[0].counters().open > open
        })
        .await;
    }
    world.proxies[0].thaw();
    world.client.online().await?;
    world.done().await
}

#[tokio::test]
async fn inv_13_a_query_ends_with_its_connection_and_not_with_its_deadline() -> Outcome {
    let world = World::new().await?;
    let server = world.client.server_id()?;
    world.proxies[0].freeze();
    let runtime = world.client.runtime().clone();
    let query = tokio::spawn(async move {
        let answer: Result<Value, _> = runtime.query(&server, name::AGENTS_LIST, &json!({})).await;
        answer
    });
    // The frozen proxy holds the request by then; the connection fails afterwards.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    world.proxies[0].cut();
    let answer = tokio::time::timeout(Duration::from_secs(10), query).await??;
    assert!(
        matches!(answer, Err(CallError::Disconnected(_))),
        "{answer:?}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "the deadline is 30 s"
    );
    world.done().await
}

/// Settings in which only the urgent check finds a dead path within minutes.
fn patient() -> Plan {
    let mut plan = Plan::default();
    plan.settings.client.liveness.misses = 1_000;
    plan
}

#[tokio::test]
async fn ls_3_after_a_network_change_a_dead_path_is_found_within_seconds() -> Outcome {
    let world = World::with(patient()).await?;
    // Half-open: both ends keep a connection that carries nothing.
    world.proxies[0].blackhole();
    world.client.runtime().network_changed();
    world
        .client
        .until("a new connection", LONG, |host| {
            host.state == HostState::Online && world.client.counters().resumed == 1
        })
        .await?;
    assert_eq!(world.client.counters().event_gaps, 0);
    world.done().await
}

#[tokio::test]
async fn ls_3_the_foreground_checks_at_once() -> Outcome {
    let world = World::with(patient()).await?;
    world.client.runtime().background();
    world.proxies[0].blackhole();
    world.client.runtime().foreground();
    world
        .client
        .until("a new connection", LONG, |host| {
            host.state == HostState::Online && world.client.counters().resumed == 1
        })
        .await?;
    world.done().await
}

/// The network fails, the client dials over it, and only then does the system report the next
/// network.
#[tokio::test]
async fn ls_3_a_dial_into_a_network_that_is_gone_is_begun_anew_on_the_next() -> Outcome {
    let world = World::new().await?;
    for event in ["network", "foreground"] {
        world.client.online().await?;
        let open = || world.proxies[0].counters().open;
        world.proxies[0].refuse(true);
        world.proxies[0].cut();
        eventually("nothing is open", async || open() == 0).await;
        world.proxies[0].freeze();
        world.proxies[0].refuse(false);
        eventually("a dial into the void", async || open() > 0).await;
        if event == "foreground" {
            world.client.runtime().background();
        }
        // That dial never succeeds, later ones do.
        world.proxies[0].blackhole();
        world.proxies[0].thaw();
        let began = Instant::now();
        match event {
            "network" => world.client.runtime().network_changed(),
            _ => world.client.runtime().foreground(),
        }
        world.client.online().await?;
        let took = began.elapsed();
        println!("{event}: {took:?}");
        assert!(took < Duration::from_secs(3), "{event}: {took:?}");
    }
    world.done().await
}

#[tokio::test]
async fn ls_4_the_background_slows_retries_down_and_never_ends_them() -> Outcome {
    let mut plan = Plan::default();
    plan.settings.client.backoff.cap = Duration::from_millis(500);
    let world = World::with(plan).await?;
    let agent = world.appender().await?;
    world.client.runtime().background();
    world.offline();
    world
        .client
        .until("offline", LONG, |host| host.state != HostState::Online)
        .await?;
    let intent = world.effect(&agent, "from the background")?;
    world.healthy();
    done(intent, LONG).await?;
    world.until_effects(1).await?;
    // The foreground resumes what the background slowed down.
    world.client.runtime().foreground();
    world.client.online().await?;
    world.done().await
}

#[tokio::test]
async fn ls_9_a_path_with_300_ms_each_way_is_reached() -> Outcome {
    let mut world = World::with(Plan {
        paths: 2,
        ..Plan::default()
    })
    .await?;
    let agent = world.appender().await?;
    for proxy in &world.proxies {
        proxy.delay(Duration::from_millis(300));
    }
    world.client.restart().await?;
    let host = world.client.online().await?;
    assert!(host.address.is_some());
    done(world.effect(&agent, "from far away")?, LONG).await?;
    world.until_effects(1).await?;
    world.done().await
}

/// LS-5, on the daemon's side: time that it slept does not count against its peers.
#[cfg(unix)]
#[tokio::test]
async fn ls_5_a_daemon_that_slept_expels_nobody() -> Outcome {
    let world = World::with(Plan {
        limits: "heartbeat_timeout = \"5s\"".into(),
        ..patient()
    })
    .await?;
    eventually("the connection that paired is gone", async || {
        world.attached().await.unwrap().len() == 1
    })
    .await;
    let connection = world.attached().await?[0]["id"].clone();
    let pid = world.daemon.pid().unwrap().to_string();
    let signal = async |name: &str| {
        let mut kill = tokio::process::Command::new("kill");
        kill.args([name, &pid]).status().await
    };
    signal("-STOP").await?;
    // Longer than the daemon's silence timeout.
    tokio::time::sleep(Duration::from_secs(7)).await;
    signal("-CONT").await?;
    let server = world.client.server_id()?;
    let _: Value = world
        .client
        .runtime()
        .query(&server, name::SYSTEM_INFO, &json!({}))
        .await?;
    let after = world.attached().await?;
    assert_eq!(after.len(), 1);
    assert_eq!(after[0]["id"], connection, "the same connection");
    world.done().await
}
