//! Receipts of intents: who has one learns the outcome, whenever it comes and whoever asks (LD-1).

use bowline_protocol::{IntentId, Reason, RpcReason, error::RpcError, methods::name};
use bowline_runtime::{HostState, Intent, IntentError, Outcome, Receipt};
use bowline_testkit::eventually;
use tokio::time::timeout;

use crate::rig::{LONG, Rig, agent_id, is_ready, server_id};

fn send(rig: &Rig) -> Receipt {
    let intent = Intent::SendPrompt {
        agent_id: agent_id(1),
        text: "hello".into(),
    };
    rig.runtime.send(&server_id(), intent).unwrap()
}

fn receipt(rig: &Rig, id: IntentId) -> Option<Receipt> {
    rig.runtime.receipt(&server_id(), id).unwrap()
}

async fn outcome(receipt: Receipt) -> Option<Outcome> {
    timeout(LONG, receipt.outcome()).await.unwrap()
}

fn is_done(outcome: Option<&Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Done { .. }))
}

#[tokio::test(start_paused = true)]
async fn ld_1_every_holder_of_a_receipt_learns_the_outcome_also_after_it_is_there() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let sent = send(&rig);
    let again = receipt(&rig, sent.id).unwrap();
    let copy = again.clone();
    rig.daemon.state().mute.clear();
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    let first = outcome(sent.clone()).await;
    assert!(is_done(first.as_ref()), "{first:?}");
    for receipt in [again, copy, sent.clone(), receipt(&rig, sent.id).unwrap()] {
        assert_eq!(outcome(receipt).await, first);
    }
    assert_eq!(rig.daemon.state().done.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn ld_1_bx_1_the_outcome_of_a_known_id_is_there_after_a_restart_of_the_app() {
    let mut rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let sent = send(&rig);
    let id = sent.id;
    eventually("it arrives", async || {
        rig.daemon.state().arrivals.len() == 1
    })
    .await;
    rig.runtime.close().await;
    assert_eq!(outcome(sent).await, None, "the next process has it");
    rig.daemon.state().mute.clear();
    rig.restart().await;
    // Asked before there is a connection.
    let found = receipt(&rig, id).unwrap();
    let ended = outcome(found).await;
    assert!(is_done(ended.as_ref()), "{ended:?}");
    let later = outcome(receipt(&rig, id).unwrap()).await;
    assert_eq!(later, ended);

    rig.restart().await;
    rig.until("online", is_ready).await;
    assert!(
        receipt(&rig, id).is_none(),
        "what has ended is not kept on disk"
    );
}

#[tokio::test(start_paused = true)]
async fn ld_1_a_refusal_is_the_outcome_and_is_kept_as_long_as_it_is_shown() {
    let mut rig = Rig::online(&["a:1"]).await;
    let error = RpcError::new(RpcReason::NotFound, "no such agent");
    let fail = (name::AGENTS_SEND, error.clone());
    rig.daemon.state().errors.extend([fail]);
    let sent = send(&rig);
    let id = sent.id;
    let refused = Some(Outcome::Refused { error });
    assert_eq!(outcome(sent).await, refused);
    rig.restart().await;
    assert_eq!(outcome(receipt(&rig, id).unwrap()).await, refused);
    rig.runtime.dismiss(&server_id(), id).unwrap();
    eventually("dismissed", async || receipt(&rig, id).is_none()).await;
    rig.restart().await;
    assert!(receipt(&rig, id).is_none());
}

#[tokio::test(start_paused = true)]
async fn ld_1_a_host_that_is_forgotten_ends_every_wait_and_an_unknown_one_is_an_error() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon
        .state()
        .refuse
        .insert("a:1".into(), Reason::ServerRestarting);
    rig.daemon.cut("a:1", Reason::ServerRestarting);
    rig.until("away", |host| host.state != HostState::Online)
        .await;
    let sent = send(&rig);
    let (id, again) = (sent.id, receipt(&rig, sent.id).unwrap());
    rig.runtime.forget(&server_id()).await.unwrap();
    assert_eq!(outcome(sent).await, Some(Outcome::Abandoned));
    assert_eq!(outcome(again).await, Some(Outcome::Abandoned));
    let unknown = rig.runtime.receipt(&server_id(), id).unwrap_err();
    assert!(matches!(unknown, IntentError::UnknownHost(_)), "{unknown}");
}
