//! Pairing with the owner's yes or no (TR-3), as a device sees it on the wire.

use bowline_protocol::{
    Offer,
    identity::{PairingSecret, PresharedKey, pairing_code},
    methods::PairingAsked,
};
use serde_json::{Value, json};

use crate::support::{
    Install, TestDaemon,
    client::{Attempt, Client, Ended, paired},
    local::Local,
};

/// An offer whose devices are asked for, made as `bowline-daemon pair` does.
async fn offer(local: &mut Local) -> (Offer, Value) {
    let created = local
        .call("pairing.create", json!({"ttlSeconds": 60, "approve": true}))
        .await;
    let link = created["result"]["offer"].as_str().unwrap();
    (link.parse().unwrap(), created["result"]["offerId"].clone())
}

/// A device that has proved the token and waits for the answer, and the code that it shows.
async fn asking(offer: &Offer, install: &Install) -> (Client, String) {
    let attempt = Attempt::of_offer(offer, install);
    let (wire, channel, welcome) = attempt.welcome().await.expect("a welcome");
    let mut client = Client::attached(wire, channel, welcome);
    client.notify("session.ready", json!({})).await;
    let asked = client.next_text().await.unwrap();
    assert_eq!(asked["method"], "pairing.asked", "{asked}");
    let asked: PairingAsked = serde_json::from_value(asked["params"].clone()).unwrap();
    assert!(client.is_served().await, "it may ping meanwhile");
    let key = PresharedKey::of_offer(&offer.token);
    let code = pairing_code(&key, &install.key.public(), &install.secret, &asked.nonce);
    (client, code)
}

/// The owner's yes.
async fn approve(local: &mut Local, offer_id: &Value, install: &Install, code: &str) -> Value {
    let params = json!({
        "offerId": offer_id,
        "deviceId": install.device_id(),
        "code": code,
    });
    local.call("pairing.approve", params).await
}

async fn wait(local: &mut Local, offer_id: &Value) -> Value {
    let params = json!({"offerId": offer_id, "waitMs": 10_000});
    local.call("pairing.wait", params).await["result"]["request"].clone()
}

#[tokio::test]
async fn tr_3_a_device_is_paired_after_the_owner_has_compared_the_code_and_said_yes() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (offer, offer_id) = offer(&mut local).await;
    let install = Install::new();
    let attempt = Attempt::of_offer(&offer, &install);
    let (mut client, code) = asking(&offer, &install).await;
    let request = wait(&mut local, &offer_id).await;
    assert_eq!(request["deviceId"], install.device_id().as_str());
    assert_eq!(
        (&request["name"], &request["platform"]),
        (&json!("test"), &json!("linux"))
    );
    assert_eq!(request["code"], code, "the same six digits");
    assert_eq!(daemon.devices().await, [], "nothing is paired yet");
    let session = attempt.clone().paired();
    assert_eq!(session.refused().await.0, "device_unknown");

    let answer = approve(&mut local, &offer_id, &install, &code).await;
    assert_eq!(answer["result"]["deviceId"], install.device_id().as_str());
    assert_eq!(
        client.next_text().await.unwrap()["method"],
        "pairing.approved"
    );
    install.paired_by(&PresharedKey::of_offer(&offer.token));
    assert!(attempt.paired().connect().await.is_served().await);
}

#[tokio::test]
async fn tr_3_a_no_ends_the_offer_and_is_told_sealed() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (offer, offer_id) = offer(&mut local).await;
    let install = Install::new();
    let attempt = Attempt::of_offer(&offer, &install);
    let (mut client, _) = asking(&offer, &install).await;
    wait(&mut local, &offer_id).await;
    let refused = local
        .call("pairing.refuse", json!({"offerId": offer_id}))
        .await;
    assert_eq!(refused["result"], json!({}));
    let told: (Option<String>, Ended) = client.dismissed().await;
    assert_eq!(told, (Some("pairing_refused".to_owned()), Some(1000)));
    let again = attempt.refused().await;
    assert_eq!(again, ("pairing_refused".to_owned(), Some(1000)));
    let other = Attempt::of_offer(&offer, &Install::new());
    assert_eq!(other.refused().await.0, "pairing_refused");
    assert_eq!(daemon.devices().await, []);
}

#[tokio::test]
async fn tr_3_a_thief_of_the_link_cannot_ask_beside_the_device_that_came_first() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (offer, offer_id) = offer(&mut local).await;
    let install = Install::new();
    let (mut client, code) = asking(&offer, &install).await;
    let thief = Attempt::of_offer(&offer, &Install::new());
    assert_eq!(thief.refused().await.0, "pairing_token_invalid");
    let request = wait(&mut local, &offer_id).await;
    assert_eq!(request["deviceId"], install.device_id().as_str());
    // A yes to another device than the one that asks does nothing.
    let answer = approve(&mut local, &offer_id, &Install::new(), &code).await;
    assert_eq!(answer["error"]["data"]["reason"], "not_found");
    assert!(client.is_served().await, "it still waits");
}

#[tokio::test]
async fn tr_3_without_the_token_the_hello_of_a_seen_offer_pairs_nobody() {
    let daemon = TestDaemon::start().await;
    let offer = daemon.offer().await;
    let thief = Install::new();
    // The id of the offer is known, as from a log; the token is not.
    let mut attempt = Attempt::of_offer(&offer, &thief);
    attempt.forget_token();
    assert!(attempt.message_2_does_not_open().await);
    assert_eq!(daemon.devices().await, []);
}

#[tokio::test]
async fn tr_3_a_device_that_lost_the_connection_asks_with_the_same_code_and_gets_the_answer() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (offer, offer_id) = offer(&mut local).await;
    let install = Install::new();
    let attempt = Attempt::of_offer(&offer, &install);
    let (first, shown) = asking(&offer, &install).await;
    drop(first);
    let (second, again) = asking(&offer, &install).await;
    assert_eq!(again, shown);
    drop(second);
    let request = wait(&mut local, &offer_id).await;
    assert_eq!(request["code"], shown);
    approve(&mut local, &offer_id, &install, &shown).await;
    attempt.pair().await;
    assert_eq!(daemon.devices().await, [(install.device_id(), false)]);
}

/// A device that tries secrets until the digits suit it must not be paired for an older code.
#[tokio::test]
async fn tr_3_another_secret_is_another_question_with_a_code_of_its_own() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (offer, offer_id) = offer(&mut local).await;
    let install = Install::new();
    let mut codes = Vec::new();
    let mut clients = Vec::new();
    for secret in 0..3 {
        let mut install = install.as_of_now();
        install.secret = PairingSecret::from_bytes([secret; 32]);
        let (client, code) = asking(&offer, &install).await;
        clients.push(client);
        codes.push(code);
    }
    assert_ne!(codes[0], codes[2]);
    let listed = local.call("pairing.list", json!({})).await;
    let request = &listed["result"]["offers"][0]["request"];
    assert_eq!(request["code"], codes[2], "the owner sees the last one");
    let stale = approve(&mut local, &offer_id, &install, &codes[0]).await;
    assert_eq!(stale["error"]["data"]["reason"], "not_found", "{stale}");
    assert_eq!(daemon.devices().await, []);
    let yes = approve(&mut local, &offer_id, &install, &codes[2]).await;
    assert_eq!(yes["result"]["code"], codes[2]);
    let mut last = clients.pop().unwrap();
    let told = last.next_text().await.unwrap();
    assert_eq!(told["method"], "pairing.approved");
    for mut older in clients {
        let told = older.dismissed().await.0;
        assert_eq!(told.as_deref(), Some("pairing_token_invalid"));
    }
}

#[tokio::test]
async fn ls_18_an_offer_that_is_cancelled_or_expires_is_over_for_the_device_that_asks() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let over = (Some("pairing_token_invalid".to_owned()), Some(1000));
    let (cancelled, offer_id) = offer(&mut local).await;
    let (mut client, code) = asking(&cancelled, &Install::new()).await;
    let listed = local.call("pairing.list", json!({})).await;
    assert_eq!(listed["result"]["offers"][0]["offerId"], offer_id);
    assert_eq!(listed["result"]["offers"][0]["approve"], true);
    assert_eq!(listed["result"]["offers"][0]["request"]["code"], code);
    local
        .call("pairing.cancel", json!({"offerId": offer_id}))
        .await;
    assert_eq!(client.dismissed().await, over);

    let created = local
        .call("pairing.create", json!({"ttlSeconds": 1, "approve": true}))
        .await;
    let short: Offer = created["result"]["offer"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let (mut client, _) = asking(&short, &Install::new()).await;
    assert_eq!(client.dismissed().await, over);
    let params = json!({"offerId": created["result"]["offerId"]});
    let gone = local.call("pairing.wait", params).await;
    assert_eq!(gone["error"]["data"]["reason"], "not_found");
}

#[tokio::test]
async fn tr_5_a_revoked_device_does_not_come_back_with_the_offer_that_it_used() {
    let daemon = TestDaemon::start().await;
    let offer = daemon.offer().await;
    let install = Install::new();
    let attempt = Attempt::of_offer(&offer, &install);
    assert!(attempt.connect().await.is_served().await);
    daemon
        .daemon
        .ledger()
        .revoke(install.device_id())
        .await
        .unwrap();
    assert_eq!(attempt.refused().await.0, "pairing_token_invalid");
    assert_eq!(daemon.devices().await, [(install.device_id(), true)]);
}

#[tokio::test]
async fn tr_2_a_close_code_in_clear_tells_nothing_of_a_refusal() {
    let daemon = TestDaemon::start().await;
    let (lost, mut client) = paired(&daemon).await;
    daemon
        .daemon
        .ledger()
        .revoke(lost.device_id())
        .await
        .unwrap();
    assert_eq!(
        client.dismissed().await,
        (Some("device_revoked".to_owned()), Some(1000))
    );
    let revoked = Attempt::new(&daemon, &lost);
    let unknown = Attempt::new(&daemon, &Install::new());
    let sizes = [revoked.welcome_size().await, unknown.welcome_size().await];
    assert_eq!(sizes[0], sizes[1], "not even by the size of the welcome");
}

#[tokio::test]
async fn tr_3_a_device_that_missed_the_answer_to_a_second_pairing_goes_on_with_its_key() {
    let daemon = TestDaemon::start().await;
    let (install, mut client) = paired(&daemon).await;
    assert!(client.is_served().await);
    let before = Attempt::new(&daemon, &install.as_of_now());
    // The app was ended between the daemon's answer and its own disk.
    let again = Attempt::of_offer(&daemon.offer().await, &install);
    again.pair().await;
    assert!(before.connect().await.is_served().await, "the key before");
    assert!(
        before.connect().await.is_served().await,
        "as often as needed"
    );
    assert!(
        again.paired().connect().await.is_served().await,
        "the new one"
    );
    let refused = before.refused().await;
    assert_eq!(refused.0, "device_unknown", "over with the first use");

    // Revoked, it has neither.
    let ledger = daemon.daemon.ledger();
    ledger.revoke(install.device_id()).await.unwrap();
    let third = Attempt::of_offer(&daemon.offer().await, &install);
    third.pair().await;
    assert_eq!(before.refused().await.0, "device_unknown");
    assert!(third.paired().connect().await.is_served().await);
}
