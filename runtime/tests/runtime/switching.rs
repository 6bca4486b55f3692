//! Reconnects and path switches: what is resumed, reloaded, and received twice (BX-2, SV-2).

use std::time::Duration;

use bowline_protocol::{Reason, SessionEvent, methods::name};
use bowline_runtime::{HostState, ScreenError};
use bowline_testkit::eventually;
use tokio::time::sleep;

use crate::rig::{Rig, agent, direct, epoch, is_ready, server_id};

fn updated(n: u8) -> SessionEvent {
    SessionEvent::AgentUpdated { agent: agent(n) }
}

/// The active path and the other one.
async fn paths(rig: &Rig) -> (String, String) {
    let active = rig.until("online", is_ready).await.address.clone().unwrap();
    let other = if active == "a:1" { "b:2" } else { "a:1" };
    (active, other.to_owned())
}

#[tokio::test(start_paused = true)]
async fn sv_2_a_reconnect_resumes_at_the_last_event_applied_and_fetches_nothing() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.happens(updated(1));
    rig.until("applied", |host| host.directory.agents.len() == 1)
        .await;
    let loads = rig.daemon.requests(name::AGENTS_LIST);
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    // No connection receives it.
    rig.daemon.happens(updated(2));
    rig.until("replayed", |host| host.directory.agents.len() == 2)
        .await;
    let resume = {
        let state = rig.daemon.state();
        state.hellos.last().unwrap().1.resume.clone().unwrap()
    };
    assert_eq!((resume.epoch, resume.last_seq), (epoch(1), 1));
    assert_eq!(rig.daemon.requests(name::AGENTS_LIST), loads);
    assert_eq!(rig.counters().resumed, 1);
    assert_eq!(
        (rig.counters().event_gaps, rig.counters().events_repeated),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn sv_2_after_a_reset_everything_is_fetched_and_the_new_numbering_counts() {
    let rig = Rig::online(&["a:1"]).await;
    for n in 1..=5 {
        rig.daemon.happens(updated(n));
    }
    rig.until("applied", |host| host.directory.agents.len() == 5)
        .await;
    {
        let mut state = rig.daemon.state();
        state.forget_session();
        state.agents.truncate(2);
    }
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    rig.until("fetched again", |host| {
        is_ready(host) && host.directory.agents.len() == 2
    })
    .await;
    rig.daemon.happens(updated(9));
    rig.until("applied", |host| host.directory.agents.len() == 3)
        .await;
    assert_eq!(rig.counters().last_seq, 1);
    // One acknowledgement per second, of this epoch only.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.daemon.state().acks.last(), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn bx_2_events_of_two_connections_are_applied_once_and_the_old_one_is_drained() {
    let rig = Rig::online(&["a:1", "b:2"]).await;
    let (active, other) = paths(&rig).await;
    // A query that keeps the old client draining until its deadline.
    rig.daemon.state().mute.insert(name::PROVIDERS_LIST);
    let runtime = rig.runtime.clone();
    let asking = tokio::spawn(async move {
        let params = serde_json::json!({});
        runtime
            .query::<_, serde_json::Value>(&server_id(), name::PROVIDERS_LIST, &params)
            .await
    });
    eventually("asked", async || {
        rig.daemon.requests(name::PROVIDERS_LIST) == 1
    })
    .await;
    rig.runtime.select_path(&server_id(), Some(direct(&other)));
    rig.until("switched", |host| {
        host.state == HostState::Online && host.address.as_deref() == Some(other.as_str())
    })
    .await;
    assert_eq!(rig.daemon.attached(&active), 1, "made before broken");
    for n in 1..=20 {
        rig.daemon.happens(updated(n));
    }
    rig.until("applied", |host| host.directory.agents.len() == 20)
        .await;
    let before = rig.counters();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(rig.daemon.attached(&active), 0, "drained");
    assert!(asking.await.unwrap().is_err());
    rig.until("still online", is_ready).await;
    let after = rig.counters();
    assert_eq!(after.events_applied, 20);
    assert_eq!(after.events_repeated, 20, "each came twice");
    assert_eq!((after.event_gaps, after.switches), (0, 1));
    assert_eq!(after.reset, before.reset);
}

/// The load was sent on the old path and fails with its client after the switch. No further attach
/// would restart it.
#[tokio::test(start_paused = true)]
async fn ds_4_a_load_that_dies_with_the_client_that_was_replaced_goes_on_through_the_next() {
    let rig = Rig::online(&["a:1", "b:2"]).await;
    let (_, other) = paths(&rig).await;
    rig.daemon.state().mute.insert(name::AGENTS_LIST);
    let loads = rig.daemon.requests(name::AGENTS_LIST);
    rig.runtime.refresh();
    eventually("asked", async || {
        rig.daemon.requests(name::AGENTS_LIST) > loads
    })
    .await;
    rig.daemon.state().mute.clear();
    rig.runtime.select_path(&server_id(), Some(direct(&other)));
    rig.until("switched", |host| {
        host.address.as_deref() == Some(other.as_str())
    })
    .await;
    rig.until("loaded", is_ready).await;
    assert_eq!(rig.counters().switches, 1);
    assert_eq!(rig.daemon.requests(name::AGENTS_LIST), loads + 2);
}

#[tokio::test(start_paused = true)]
async fn inv_11_a_candidate_that_fails_changes_nothing_but_a_counter() {
    let rig = Rig::online(&["a:1", "b:2"]).await;
    let (active, other) = paths(&rig).await;
    let refuse = (other.clone(), Reason::ServerRestarting);
    rig.daemon.state().refuse.extend([refuse]);
    rig.runtime.select_path(&server_id(), Some(direct(&other)));
    let host = rig
        .until("tried", |_| rig.counters().switches_failed > 0)
        .await;
    assert_eq!(
        (host.state, host.address.clone()),
        (HostState::Online, Some(active))
    );
    assert_eq!(rig.counters().switches, 0);
}

/// A system that reports one change many times must not delay the resulting connection.
#[tokio::test(start_paused = true)]
async fn hr_2_a_flurry_of_network_changes_restarts_the_dialling_a_few_times_only() {
    let rig = Rig::online(&["a:1"]).await;
    // From now on connections are not answered.
    let mut dials = rig.net.listen("a:1");
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    rig.until("away", |host| host.state != HostState::Online)
        .await;
    sleep(Duration::from_secs(5)).await;
    let mut held = Vec::new();
    while let Ok(end) = dials.try_recv() {
        held.push(end);
    }
    for _ in 0..50 {
        rig.runtime.network_changed();
        sleep(Duration::from_millis(20)).await;
    }
    let mut dialled = 0;
    while let Ok(end) = dials.try_recv() {
        held.push(end);
        dialled += 1;
    }
    assert!((2..=20).contains(&dialled), "{dialled} times in a second");
    // The last report takes effect too.
    sleep(Duration::from_millis(300)).await;
    assert!(dials.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn inv_12_what_a_host_is_told_is_done_however_busy_it_is_or_refused_as_such() {
    let rig = Rig::online(&["a:1", "b:2"]).await;
    let (active, other) = paths(&rig).await;
    // Without running the driver.
    let id = bowline_protocol::IntentId::from_uuid(uuid::Uuid::nil());
    let told = (0..2_000).map(|_| rig.runtime.dismiss(&server_id(), id));
    let refused = told.filter(|told| *told == Err(ScreenError::Busy)).count();
    assert_eq!(refused, 2_000 - 1_024);
    rig.runtime.select_path(&server_id(), Some(direct(&active)));
    rig.runtime.select_path(&server_id(), Some(direct(&other)));
    rig.until("switched", |host| host.address.as_ref() == Some(&other))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_path_that_the_host_does_not_have_is_no_choice() {
    let rig = Rig::online(&["a:1", "b:2"]).await;
    let (active, other) = paths(&rig).await;
    rig.runtime.select_path(&server_id(), Some(direct(&active)));
    rig.runtime.select_path(&server_id(), Some(direct("c:3")));
    // With the choice undone, a failed path would be replaced by the other.
    rig.daemon
        .state()
        .refuse
        .insert(active.clone(), Reason::ServerRestarting);
    rig.daemon.cut(&active, Reason::ServerRestarting);
    rig.until("away", |host| host.state != HostState::Online)
        .await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.daemon.attached(&other), 0, "the choice holds");
}
