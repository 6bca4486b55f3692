//! The logical session: one per client install, across all connections (INV-1 … INV-3, INV-8).

use bowline_protocol::{Offer, ServerId};
use bowline_runtime::HostState;
use bowline_testkit::{
    eventually,
    world::{Client, resident},
};
use serde_json::Value;

use crate::{
    Outcome,
    world::{LONG, Plan, World},
};

/// Properties of a session that never change.
fn identity(session: &Value) -> (Value, Value, Value) {
    (
        session["externalSessionKey"].clone(),
        session["deviceId"].clone(),
        session["createdAt"].clone(),
    )
}

#[tokio::test]
async fn inv_1_inv_2_one_session_over_reconnects_and_client_restarts() -> Outcome {
    let mut world = World::new().await?;
    let before = world.sessions().await?;
    assert_eq!(before.len(), 1);
    let profile = world.client.runtime().profile();
    let key = profile.client_session_key(&world.client.server_id()?);
    assert_eq!(
        before[0]["externalSessionKey"],
        key.external().as_str(),
        "INV-1"
    );
    for cut in 1..=5 {
        world.proxies[0].cut();
        world.client.until_resumed(cut).await?;
    }
    let after = world.sessions().await?;
    assert_eq!(
        after[0]["epoch"], before[0]["epoch"],
        "resumed, never reset"
    );
    for _ in 0..3 {
        world.client.restart().await?;
        world.client.online().await?;
    }
    let after = world.sessions().await?;
    assert_eq!(after.len(), 1);
    assert_eq!(identity(&after[0]), identity(&before[0]));
    world.done().await
}

#[tokio::test]
async fn inv_3_several_connections_of_one_session_at_once() -> Outcome {
    let world = World::new().await?;
    // More processes of the same install, such as a widget and the app.
    let mut more = Vec::new();
    for _ in 0..2 {
        let client = Client::open(world.client.folder(), world.settings.clone())?;
        client.online().await?;
        more.push(client);
    }
    eventually("three connections on one session", async || {
        let sessions = world.sessions().await.unwrap();
        let connections = sessions[0]["connections"].as_array().map_or(0, Vec::len);
        sessions.len() == 1 && connections == 3
    })
    .await;
    let agent = world.appender().await?;
    for client in more.iter().chain([&world.client]) {
        client
            .until("the agent shows", LONG, |host| {
                host.directory.agents.iter().any(|row| row.id == agent)
            })
            .await?;
    }
    // Closing one does not affect the others.
    let generation = world.client.online().await?.generation;
    more.pop().unwrap().runtime().close().await;
    eventually("two connections are left", async || {
        world.attached().await.unwrap().len() == 2
    })
    .await;
    let host = world.client.online().await?;
    assert_eq!(
        (host.generation, world.client.counters().resumed),
        (generation, 0)
    );
    world.done().await
}

#[tokio::test]
async fn inv_8_probes_at_full_rate_change_nothing_on_the_daemon() -> Outcome {
    let mut plan = Plan {
        paths: 2,
        ..Plan::default()
    };
    plan.settings.host.probe_interval = std::time::Duration::from_millis(10);
    let world = World::with(plan).await?;
    let before = world.sessions().await?;
    let probed = |world: &World| -> u64 {
        let each = world.proxies.iter();
        each.map(|proxy| proxy.counters().accepted).sum()
    };
    let start = probed(&world);
    eventually("a hundred probes", async || probed(&world) > start + 100).await;
    let after = world.sessions().await?;
    assert_eq!(after.len(), 1);
    for field in ["epoch", "nextSeq", "connections", "subscriptions"] {
        assert_eq!(after[0][field], before[0][field], "{field}");
    }
    let host = world.client.online().await?;
    assert_eq!(host.generation, 1);
    assert_eq!(host.probes.len(), 2);
    assert!(host.probes.iter().all(|probe| probe.rtt_ms.is_some()));
    let sessions = world.attached().await?;
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    world.done().await
}

#[tokio::test]
async fn ls_2_a_hundred_client_restarts_leave_nothing_behind() -> Outcome {
    let mut world = World::new().await?;
    let pid = world.daemon.pid().unwrap();
    let mut settled = None;
    for round in 0..100 {
        world.client.restart().await?;
        world.client.online().await?;
        if round == 20 {
            settled = resident(pid);
        }
    }
    world.client.runtime().close().await;
    eventually("every socket is gone", async || {
        world.proxies[0].counters().open == 0 && world.connections().await.unwrap().is_empty()
    })
    .await;
    assert_eq!(world.sessions().await?.len(), 1);
    match (settled, resident(pid)) {
        (Some(before), Some(after)) => assert!(
            after < before + (4 << 20),
            "the daemon grew from {before} to {after} bytes"
        ),
        _ => println!("the daemon's memory is not measured on this system"),
    }
    world.done().await
}

/// HR-3: all hosts run concurrently; faults of one host never delay another.
#[tokio::test]
async fn hr_3_inv_6_a_host_in_trouble_is_no_trouble_for_another() -> Outcome {
    let world = World::new().await?;
    let agent = world.appender().await?;
    let mut other = world.other_daemon().await?;
    let offer: Offer = other.offer().await?.parse()?;
    let record = world.client.runtime().pair(&offer).await?;
    let states = || {
        let snapshot = world.client.runtime().subscribe().borrow().clone();
        let find = |id: &ServerId| {
            let host = snapshot.hosts.iter().find(|host| host.server_id == *id);
            host.map(|host| host.state)
        };
        (
            find(&world.client.server_id().unwrap()),
            find(&record.server_id),
        )
    };
    eventually("both online", async || {
        states() == (Some(HostState::Online), Some(HostState::Online))
    })
    .await;
    other.kill().await?;
    eventually("one in trouble", async || {
        states().1 != Some(HostState::Online)
    })
    .await;
    for n in 0..20 {
        bowline_testkit::world::done(world.effect(&agent, &n.to_string())?, LONG).await?;
    }
    world.until_effects(20).await?;
    let (ours, theirs) = states();
    assert_eq!(ours, Some(HostState::Online));
    assert_ne!(theirs, Some(HostState::Online));
    assert_eq!(world.client.counters().resumed, 0);
    // Forgetting it does not affect the other.
    assert!(world.client.runtime().forget(&record.server_id).await?);
    eventually("forgotten", async || {
        states() == (Some(HostState::Online), None)
    })
    .await;
    world.done().await
}
