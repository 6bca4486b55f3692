//! Pairing over several addresses at once.

use bowline_protocol::{Reason, TransportKey, identity::OfferId};
use bowline_runtime::PairError;
use tokio::time::timeout;

use bowline_testkit::peer::Keys;

use crate::rig::{LONG, Rig, is_ready, offer, transport_key};

#[tokio::test(start_paused = true)]
async fn bx_3_one_address_that_answers_is_enough() {
    let rig = Rig::new(&["a:1", "b:2"]);
    let refuse = ("a:1".to_owned(), Reason::RateLimited);
    rig.daemon.state().refuse.extend([refuse]);
    let offer = offer(&["a:1", "b:2", "dead:3"], &transport_key());
    let paired = rig.runtime.pair(&offer).await.unwrap();
    assert_eq!(
        paired.name, "welcomed",
        "what the daemon says, not the link"
    );
    assert_eq!(paired.addresses.len(), 3, "every address is kept");
    let hello = {
        let state = rig.daemon.state();
        state.hellos.iter().find(|(at, _)| at == "b:2").cloned()
    };
    let (_, hello) = hello.unwrap();
    let pairing = hello.pairing.unwrap();
    assert_eq!(pairing.offer, OfferId::of_token(&offer.token));
    let said = serde_json::to_string(&pairing).unwrap();
    assert!(
        !said.contains(&offer.token.to_string()),
        "TR-3: the token is not sent"
    );
}

#[tokio::test(start_paused = true)]
async fn bx_3_a_refusal_says_more_than_a_dead_address() {
    let rig = Rig::new(&["a:1"]);
    let refuse = ("a:1".to_owned(), Reason::PairingTokenInvalid);
    rig.daemon.state().refuse.extend([refuse]);
    let offer = offer(&["dead:3", "a:1"], &transport_key());
    match rig.runtime.pair(&offer).await {
        Err(PairError::Refused(failure)) => {
            assert_eq!(failure.reason, Reason::PairingTokenInvalid);
        }
        other => panic!("{other:?}"),
    }
    assert!(rig.runtime.known_hosts().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn ls_10_a_host_whose_daemon_did_not_prove_itself_is_not_kept() {
    let rig = Rig::new(&["a:1"]);
    let key = TransportKey::from_private([66; 32]);
    let paired = rig.runtime.pair(&offer(&["a:1"], &key)).await;
    assert!(
        matches!(paired, Err(PairError::AnotherKey(_))),
        "{paired:?}"
    );
    assert!(rig.runtime.known_hosts().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn inv_12_an_address_that_never_answers_does_not_hold_up_pairing() {
    let rig = Rig::new(&["a:1"]);
    let _silent = rig.net.listen("silent:2");
    let offer = offer(&["silent:2", "a:1"], &transport_key());
    rig.runtime.pair(&offer).await.unwrap();
    rig.until("online", is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn inv_12_pairing_ends_by_its_deadline() {
    let rig = Rig::new(&[]);
    let _silent = rig.net.listen("silent:2");
    let offer = offer(&["silent:2"], &transport_key());
    let paired = timeout(LONG, rig.runtime.pair(&offer)).await.unwrap();
    match paired {
        Err(PairError::Unreachable(failure)) => {
            assert_eq!(failure.reason, Reason::ConnectTimeout);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn tr_1_an_offer_for_a_known_host_with_another_key_is_refused_and_nothing_is_sent() {
    let rig = Rig::new(&["a:1"]);
    rig.runtime
        .pair(&offer(&["a:1"], &transport_key()))
        .await
        .unwrap();
    let mut thiefs = rig.net.listen("thief:2");
    let forged = offer(&["thief:2"], &TransportKey::from_private([66; 32]));
    let paired = rig.runtime.pair(&forged).await;
    assert!(
        matches!(paired, Err(PairError::KeyChanged { .. })),
        "{paired:?}"
    );
    assert!(thiefs.try_recv().is_err(), "nobody dialled");
    let known = rig.runtime.known_hosts().unwrap();
    assert_eq!(known[0].transport_key, transport_key().public());

    // The owner set the daemon up anew, and says so by forgetting the host first.
    rig.runtime.forget(&known[0].server_id).await.unwrap();
    let paired = rig.runtime.pair(&forged).await;
    assert!(!matches!(paired, Err(PairError::KeyChanged { .. })));
}

#[tokio::test(start_paused = true)]
async fn tr_1_a_daemon_that_claims_the_id_of_another_is_not_kept() {
    let rig = Rig::new(&["a:1"]);
    // Its own identity and key, behind a link that names the victim.
    let thief = Keys::new([13; 32], [8; 32], [1; 16]);
    rig.daemon.state().keys = std::sync::Arc::new(thief);
    let paired = rig.runtime.pair(&offer(&["a:1"], &transport_key())).await;
    assert!(
        matches!(paired, Err(PairError::AnotherKey(_))),
        "{paired:?}"
    );
    assert!(rig.runtime.known_hosts().unwrap().is_empty());
    assert!(rig.runtime.subscribe().borrow().pairings.is_empty());
}
