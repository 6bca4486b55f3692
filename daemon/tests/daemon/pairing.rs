//! Pairing and revocation (BX-3, LS-18).

use std::time::Duration;

use bowline_daemon::clock::Clock;
use bowline_protocol::Offer;
use serde_json::json;

use crate::support::{
    Install, TestDaemon,
    client::{Attempt, Client, paired},
};

#[tokio::test]
async fn ls_18_a_token_pairs_one_device_once() {
    let daemon = TestDaemon::start().await;
    let offer = daemon.offer().await;
    let first = Install::new();
    let mut client = Attempt::of_offer(&offer, &first).connect().await;
    assert!(client.is_served().await);
    let second = Attempt::of_offer(&offer, &Install::new());
    assert_eq!(
        second.refused().await,
        ("pairing_token_invalid".to_owned(), Some(1000))
    );
    assert_eq!(daemon.devices().await, [(first.device_id(), false)]);
    // The device itself comes back with or without it: it is paired.
    let mut again = Attempt::new(&daemon, &first).connect().await;
    assert!(again.is_served().await);
}

#[tokio::test]
async fn ls_18_two_devices_racing_for_one_token_do_not_both_get_in() {
    let daemon = TestDaemon::start().await;
    let offer = daemon.offer().await;
    // Both have their welcome before either says that it is ready.
    let (one, two) = (Install::new(), Install::new());
    let (mut wire_1, mut channel_1, _) = Attempt::of_offer(&offer, &one).welcome().await.unwrap();
    let (mut wire_2, mut channel_2, _) = Attempt::of_offer(&offer, &two).welcome().await.unwrap();
    let ready = br#"{"jsonrpc":"2.0","method":"session.ready"}"#;
    for (wire, channel) in [(&mut wire_1, &mut channel_1), (&mut wire_2, &mut channel_2)] {
        let mut sealed = Vec::new();
        channel
            .gather(ready, |message| sealed.push(message.to_vec()))
            .unwrap();
        channel
            .finish(|message| sealed.push(message.to_vec()))
            .unwrap();
        wire.send(sealed.remove(0)).await;
    }
    // The loser is told why; it is the second, as both come through the one ledger in order.
    assert_eq!(wire_2.ended().await, Some(1000));
    assert_eq!(daemon.devices().await, [(one.device_id(), false)]);
    drop(wire_1);
}

#[tokio::test]
async fn ls_18_a_token_expires() {
    let clock = Clock::manual(1_700_000_000_000);
    let daemon = TestDaemon::with_clock(clock.clone(), |_| {}).await;
    let offer = daemon.offer().await;
    clock.advance(Duration::from_secs(601));
    let late = Attempt::of_offer(&offer, &Install::new());
    assert_eq!(
        late.refused().await,
        ("pairing_token_invalid".to_owned(), Some(1000))
    );
    assert_eq!(daemon.devices().await, []);
}

#[tokio::test]
async fn ls_18_revocation_cuts_live_connections_and_lasts() {
    let daemon = TestDaemon::start().await;
    let (lost, mut client) = paired(&daemon).await;
    let mut second = Attempt::new(&daemon, &lost).connect().await;
    assert!(second.is_served().await);
    let (_, mut other) = paired(&daemon).await;

    let ledger = daemon.daemon.ledger();
    ledger.revoke(lost.device_id()).await.unwrap();
    // C37b: sealed, since a close code can be anybody's.
    let revoked = (Some("device_revoked".to_owned()), Some(1000));
    assert_eq!(client.dismissed().await, revoked);
    assert_eq!(second.dismissed().await, revoked);
    let attempt = Attempt::new(&daemon, &lost);
    assert_eq!(
        attempt.refused().await,
        ("device_revoked".to_owned(), Some(1000))
    );
    assert_eq!(attempt.clone().probe().refused().await.1, Some(1000));
    assert!(other.is_served().await, "nobody else is cut");

    // The owner may change their mind: a new token pairs the device again.
    let offer = daemon.offer().await;
    let mut back = Attempt::of_offer(&offer, &lost).connect().await;
    assert!(back.is_served().await);
}

#[tokio::test]
async fn an_offer_made_on_the_local_socket_pairs() {
    let daemon = TestDaemon::start().await;
    let mut local = crate::support::local::Local::connect(&daemon).await;
    let created = local
        .call("pairing.create", json!({"ttlSeconds": 60}))
        .await;
    let offer: Offer = created["result"]["offer"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(offer.direct, [daemon.address().to_string()]);
    assert_eq!(&offer.server_id, daemon.daemon.server_id());
    assert!(created["result"]["expiresAt"].as_i64().unwrap() > 0);
    let install = Install::new();
    let mut client = Attempt::of_offer(&offer, &install).connect().await;
    assert!(client.is_served().await);

    let devices = local.call("devices.list", json!({})).await;
    assert_eq!(
        devices["result"]["devices"][0]["deviceId"],
        install.device_id().as_str()
    );
    let revoked = local
        .call("devices.revoke", json!({"deviceId": install.device_id()}))
        .await;
    assert_eq!(revoked["result"], json!({"turnsEnded": 0}));
    assert_eq!(client.ended().await, Some(1000));
}

/// X2: pairing over two paths closed the second as `slow_consumer`, which is worth an alarm.
#[tokio::test]
async fn case_x2_pairing_over_two_paths_is_one_pairing() {
    let daemon = TestDaemon::start().await;
    let offer = daemon.offer().await;
    let install = Install::new();
    let attempt = Attempt::of_offer(&offer, &install);
    let (wire_1, channel_1, welcome_1) = attempt.welcome().await.unwrap();
    let (wire_2, channel_2, welcome_2) = attempt.welcome().await.unwrap();
    let mut first = Client::attached(wire_1, channel_1, welcome_1);
    let mut second = Client::attached(wire_2, channel_2, welcome_2);
    for client in [&mut first, &mut second] {
        client.notify("session.ready", json!({})).await;
        let approved = client.next_text().await.unwrap();
        assert_eq!(approved["method"], "pairing.approved");
    }
    assert_eq!(daemon.devices().await, [(install.device_id(), false)]);
}
