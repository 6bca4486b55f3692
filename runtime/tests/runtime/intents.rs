//! Intents over failing connections (BX-1).

use std::time::Duration;

use bowline_protocol::{Reason, methods::name};
use bowline_runtime::{HostState, Intent, Outcome, Receipt};
use bowline_testkit::eventually;
use tokio::time::timeout;

use crate::rig::{LONG, Rig, agent_id, direct, is_ready, server_id};

fn send(rig: &Rig, text: &str) -> Receipt {
    let intent = Intent::SendPrompt {
        agent_id: agent_id(1),
        text: text.into(),
    };
    rig.runtime.send(&server_id(), intent).unwrap()
}

async fn done(submitted: Receipt) {
    let outcome = timeout(LONG, submitted.outcome()).await.unwrap();
    assert!(matches!(outcome, Some(Outcome::Done { .. })), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn bx_1_an_intent_in_flight_is_offered_once_on_each_connection_under_one_id() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let submitted = send(&rig, "hello");
    let id = submitted.id.to_string();
    for round in 1..=3 {
        eventually("it arrives", async || {
            rig.daemon.state().arrivals.len() == round
        })
        .await;
        rig.daemon.cut("a:1", Reason::ConnectionLost);
    }
    eventually("it arrives", async || {
        rig.daemon.state().arrivals.len() == 4
    })
    .await;
    rig.daemon.state().mute.clear();
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    done(submitted).await;
    let state = rig.daemon.state();
    assert_eq!(state.arrivals.len(), 5, "{:?}", state.arrivals);
    assert!(state.arrivals.iter().all(|(arrived, _)| *arrived == id));
    assert!(state.done.contains(&id));
}

#[tokio::test(start_paused = true)]
async fn bx_1_an_intent_made_while_the_host_is_away_waits_in_order() {
    let rig = Rig::online(&["a:1"]).await;
    let refuse = |reason| rig.daemon.state().refuse.insert("a:1".into(), reason);
    refuse(Reason::ServerRestarting);
    rig.daemon.cut("a:1", Reason::ServerRestarting);
    rig.until("away", |host| host.state != HostState::Online)
        .await;
    let waiting: Vec<_> = (0..5).map(|n| send(&rig, &n.to_string())).collect();
    let ids: Vec<_> = waiting.iter().map(|one| one.id.to_string()).collect();
    rig.until("they wait", |host| host.intents.pending == 5)
        .await;
    rig.daemon.state().refuse.clear();
    for submitted in waiting {
        done(submitted).await;
    }
    let state = rig.daemon.state();
    let arrived: Vec<_> = state.arrivals.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(arrived, ids);
}

#[tokio::test(start_paused = true)]
async fn bx_1_an_answer_that_comes_while_the_runtime_closes_counts() {
    let mut rig = Rig::online(&["a:1"]).await;
    let delay = (name::AGENTS_SEND, Duration::from_secs(1));
    rig.daemon.state().delay.extend([delay]);
    let submitted = send(&rig, "last words");
    eventually("it arrives", async || {
        rig.daemon.state().arrivals.len() == 1
    })
    .await;
    rig.runtime.close().await;
    done(submitted).await;
    rig.restart().await;
    let host = rig.until("online again", is_ready).await;
    assert_eq!(host.intents.pending, 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        rig.daemon.state().arrivals.len(),
        1,
        "nothing is offered again"
    );
}

#[tokio::test(start_paused = true)]
async fn bx_1_an_intent_whose_path_goes_silent_goes_on_through_the_next() {
    let rig = Rig::online(&["a:1", "b:2"]).await;
    let active = rig.until("online", is_ready).await.address.clone().unwrap();
    let other = if active == "a:1" { "b:2" } else { "a:1" };
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let submitted = send(&rig, "hello");
    eventually("it arrives", async || {
        rig.daemon.state().arrivals.len() == 1
    })
    .await;
    rig.daemon.state().mute.clear();
    rig.runtime.select_path(&server_id(), Some(direct(other)));
    // The old client gets five seconds for the answer; then the new one sends the intent.
    done(submitted).await;
    let state = rig.daemon.state();
    let addresses: Vec<_> = state.arrivals.iter().map(|(_, at)| at.clone()).collect();
    assert_eq!(addresses, [active, other.to_owned()]);
}
