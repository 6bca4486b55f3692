//! Claims in clear never end attempts; sealed ones do (TR-2, C37b).

use std::time::Duration;

use bowline_protocol::{Reason, TransportKey};
use bowline_runtime::{HostState, PairError};
use tokio::time::sleep;

use crate::rig::{Rig, is_ready, offer, transport_key};

/// An on-path attacker or a relay sent 4402, and the app showed "pair again" permanently.
#[tokio::test(start_paused = true)]
async fn case_c37b_no_claim_of_a_stranger_ends_a_host() {
    for reason in Reason::ALL.iter().copied() {
        let rig = Rig::online(&["a:1"]).await;
        rig.daemon.state().claims.insert("a:1".to_owned(), reason);
        rig.daemon.cut("a:1", reason);
        sleep(Duration::from_secs(20)).await;
        let hosts = rig.runtime.subscribe().borrow().clone();
        assert_ne!(hosts.hosts[0].state, HostState::Error, "{reason}");
        rig.daemon.state().claims.clear();
        rig.until("online again by itself", is_ready).await;
    }
}

#[tokio::test(start_paused = true)]
async fn case_c37b_another_path_is_used_while_a_stranger_closes_one() {
    let rig = Rig::online(&["a:1", "b:2"]).await;
    for reason in [Reason::DeviceRevoked, Reason::ProtocolUnsupported] {
        for (forged, other) in [("a:1", "b:2"), ("b:2", "a:1")] {
            rig.daemon.state().claims.clear();
            rig.daemon.state().claims.insert(forged.to_owned(), reason);
            rig.daemon.cut(forged, reason);
            rig.until("on the other path", |host| {
                is_ready(host) && rig.daemon.attached(other) > 0
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tr_2_a_sealed_goodbye_is_believed_and_shown_for_what_it_is() {
    for reason in [Reason::DeviceRevoked, Reason::SlowConsumer] {
        let rig = Rig::online(&["a:1"]).await;
        rig.daemon.state().refuse.insert("a:1".to_owned(), reason);
        rig.daemon.dismiss("a:1", reason);
        let host = rig
            .until("told", |host| {
                host.last_error
                    .as_ref()
                    .is_some_and(|error| error.reason == reason)
            })
            .await;
        assert_eq!(
            host.state == HostState::Error,
            !reason.is_recoverable(),
            "{reason}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn tr_2_a_refusal_without_proof_is_tried_again_while_pairing_lasts() {
    let rig = Rig::new(&["a:1"]);
    let forged = Reason::PairingTokenInvalid;
    rig.daemon.state().claims.insert("a:1".to_owned(), forged);
    let offer = offer(&["a:1"], &transport_key());
    let healed = async {
        sleep(Duration::from_secs(5)).await;
        rig.daemon.state().claims.clear();
    };
    let (paired, ()) = tokio::join!(rig.runtime.pair(&offer), healed);
    paired.unwrap();

    let rig = Rig::new(&["a:1"]);
    rig.daemon.state().claims.insert("a:1".to_owned(), forged);
    match rig.runtime.pair(&offer).await {
        Err(PairError::Unreachable(failure)) => {
            assert_eq!(failure.unproved, Some(forged));
            assert!(failure.message.contains("without proof"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
}

/// The only message for an outdated offer was "crypto_failed; is the daemon running?".
#[tokio::test(start_paused = true)]
async fn an_offer_with_another_key_says_that_it_is_another_daemon() {
    let rig = Rig::new(&["a:1"]);
    let key = TransportKey::from_private([66; 32]);
    match rig.runtime.pair(&offer(&["a:1"], &key)).await {
        Err(PairError::AnotherKey(failure)) => {
            assert!(
                failure.message.contains("the daemon at a:1 is not the one"),
                "{failure}"
            );
        }
        other => panic!("{other:?}"),
    }
}
