//! Queries of the app: they wait only while a wait can succeed.

use std::time::Duration;

use bowline_protocol::{
    Reason,
    methods::{Empty, SystemInfo, name},
};
use bowline_runtime::{CallError, HostState};
use tokio::time::Instant;

use crate::rig::{Rig, is_ready, server_id};

async fn ask(rig: &Rig) -> Result<SystemInfo, CallError> {
    rig.runtime
        .query(&server_id(), name::SYSTEM_INFO, &Empty {})
        .await
}

#[tokio::test(start_paused = true)]
async fn a_query_rides_out_a_short_outage() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon
        .state()
        .refuse
        .insert("a:1".into(), Reason::ServerRestarting);
    rig.daemon.cut("a:1", Reason::ServerRestarting);
    rig.until("away", |host| host.state != HostState::Online)
        .await;
    let back = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        rig.daemon.state().refuse.clear();
    };
    let (answer, ()) = tokio::join!(ask(&rig), back);
    assert_eq!(answer.unwrap().name, "named");
}

#[tokio::test(start_paused = true)]
async fn inv_12_a_query_to_a_host_that_stays_away_ends_as_a_connect_would() {
    let rig = Rig::online(&["a:1"]).await;
    drop(rig.net.listen("a:1"));
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    rig.until("away", |host| host.state != HostState::Online)
        .await;
    let start = Instant::now();
    assert_eq!(ask(&rig).await.unwrap_err(), CallError::NotConnected);
    assert_eq!(start.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn inv_12_a_query_that_waits_is_answered_when_the_host_gives_up() {
    let rig = Rig::online(&["a:1"]).await;
    let refuse = |reason| rig.daemon.state().refuse.insert("a:1".into(), reason);
    refuse(Reason::ServerRestarting);
    rig.daemon.cut("a:1", Reason::ServerRestarting);
    rig.until("away", |host| host.state != HostState::Online)
        .await;
    let start = Instant::now();
    let (answer, _) = tokio::join!(ask(&rig), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        refuse(Reason::DeviceRevoked)
    });
    assert_eq!(answer.unwrap_err(), CallError::NotConnected);
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(10), "{waited:?}");
    rig.until("given up", |host| host.state == HostState::Error)
        .await;
    let start = Instant::now();
    assert_eq!(ask(&rig).await.unwrap_err(), CallError::NotConnected);
    assert_eq!(start.elapsed(), Duration::ZERO, "nothing is being tried");
}

#[tokio::test(start_paused = true)]
async fn inv_13_a_query_under_way_ends_with_its_connection() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::SYSTEM_INFO);
    let (answer, ()) = tokio::join!(ask(&rig), async {
        bowline_testkit::eventually("asked", async || {
            rig.daemon.requests(name::SYSTEM_INFO) == 1
        })
        .await;
        rig.daemon.cut("a:1", Reason::SlowConsumer);
    });
    let lost = CallError::Disconnected(Reason::SlowConsumer);
    assert_eq!(answer.unwrap_err(), lost);
    rig.until("back", is_ready).await;
}
