//! What a device may do (TR-4), as devices see it on the wire.

use bowline_protocol::{Offer, Role};
use serde_json::json;

use crate::support::{
    Install, TestDaemon,
    client::{Attempt, paired},
    grants::{intent, paired_with, reason},
    local::Local,
};

#[tokio::test]
async fn tr_4_each_role_may_call_the_methods_that_are_for_it_and_nothing_above() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (_, owner) = paired(&daemon).await;
    assert_eq!(owner.welcome.grant.as_ref().unwrap().role, Role::Owner);
    for (role, may) in [
        ("viewer", [true, true, false, false]),
        ("operator", [true, true, true, false]),
        ("owner", [true; 4]),
    ] {
        let (_, _, mut client) = paired_with(&mut local, json!({"grant": {"role": role}})).await;
        assert_eq!(client.welcome.grant.as_ref().unwrap().role.as_str(), role);
        let answers = [
            client.call("test.list", json!({})).await,
            client
                .call("test.subscribe", json!({"agentId": "agt_1"}))
                .await,
            intent(&mut client, "test.act", json!({})).await,
            intent(&mut client, "test.keep", json!({})).await,
        ];
        assert_eq!(
            answers.each_ref().map(|answer| reason(answer) == "none"),
            may,
            "{role}: {answers:?}"
        );
        let refused = answers.iter().filter(|answer| reason(answer) != "none");
        for answer in refused {
            assert_eq!(reason(answer), "not_granted");
            let said = answer["error"]["message"].as_str().unwrap();
            assert!(
                said.contains(role) && said.contains("devices set"),
                "{said}"
            );
        }
        // What belongs to the machine's owner is no device's.
        let listed = client.call("devices.list", json!({})).await;
        assert_eq!(reason(&listed), "forbidden");
    }
}

#[tokio::test]
async fn tr_4_a_wrong_grant_is_refused_before_an_offer_is_made() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    for wrong in [
        json!({"roots": ["src"], "role": "owner"}),
        json!({"providers": [], "role": "owner"}),
        json!({"role": "admin"}),
        json!({"role": "owner", "expiresAt": 1}),
    ] {
        let refused = local.call("pairing.create", json!({"grant": wrong})).await;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
}

#[tokio::test]
async fn tr_4_a_changed_grant_holds_from_the_next_request_on() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (install, mut client) = paired(&daemon).await;
    assert!(client.is_served().await);
    let set = json!({"deviceId": install.device_id(), "grant": {"role": "viewer"}});
    let done = local.call("devices.set", set.clone()).await;
    assert_eq!(done["result"], json!({}), "{done}");
    let told = (Some("session_changed".to_owned()), Some(4412));
    assert_eq!(client.dismissed().await, told);
    let mut client = Attempt::new(&daemon, &install).connect().await;
    assert_eq!(client.welcome.grant.as_ref().unwrap().role, Role::Viewer);
    let refused = intent(&mut client, "test.keep", json!({})).await;
    assert_eq!(reason(&refused), "not_granted");

    let ledger = daemon.daemon.ledger();
    ledger.revoke(install.device_id()).await.unwrap();
    let gone = local.call("devices.set", set).await;
    assert_eq!(reason(&gone), "not_found");
    assert!(
        gone["error"]["message"]
            .as_str()
            .unwrap()
            .contains("revoked")
    );
}

#[tokio::test]
async fn tr_4_a_pairing_for_a_time_ends_and_its_offer_does_not_prolong_it() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let params = json!({"grant": {"role": "viewer"}, "deviceTtlSeconds": 5});
    let created = local.call("pairing.create", params).await;
    let link = created["result"]["offer"].as_str().unwrap();
    let offer: Offer = link.parse().unwrap();
    let install = Install::new();
    let mut client = Attempt::of_offer(&offer, &install).connect().await;
    let ends = client.welcome.grant.as_ref().unwrap().expires_at;
    assert!(ends.is_some());
    assert!(client.is_served().await);
    // It pairs again with its offer, under another key: the time and the role stay.
    let mut again = install.clone();
    again.secret = Install::new().secret;
    let again = Attempt::of_offer(&offer, &again);
    again.pair().await;
    let attempt = again;
    let mut client = attempt.clone().paired().connect().await;
    let again = client.welcome.grant.clone().unwrap();
    assert_eq!((again.role, again.expires_at), (Role::Viewer, ends));

    let told = (Some("device_expired".to_owned()), Some(1000));
    assert_eq!(client.dismissed().await, told, "cut off when it is over");
    let refused = ("device_expired".to_owned(), Some(1000));
    assert_eq!(attempt.clone().paired().refused().await, refused);
    let refused = ("pairing_token_invalid".to_owned(), Some(1000));
    assert_eq!(attempt.refused().await, refused);
    let until = json!({"deviceId": install.device_id(), "grant": {"role": "viewer"}});
    local.call("devices.set", until).await;
    assert!(attempt.paired().connect().await.is_served().await);
}

#[tokio::test]
async fn tr_3_a_pairing_is_told_to_all_other_devices() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (_, mut watching) = paired(&daemon).await;
    assert!(watching.is_served().await);
    let params = json!({"grant": {"role": "viewer"}});
    let (install, _, _client) = paired_with(&mut local, params).await;
    let event = watching.event().await;
    let device = &event["event"]["device"];
    assert_eq!(event["event"]["type"], "device.paired", "{event}");
    assert_eq!(device["deviceId"], install.device_id().as_str());
    assert_eq!(
        (&device["name"], &device["role"]),
        (&json!("test"), &json!("viewer"))
    );
}

#[tokio::test]
async fn tr_4_a_device_that_is_paired_anew_with_less_has_less_at_once() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (install, mut client) = paired(&daemon).await;
    assert!(client.is_served().await);
    let params = json!({"grant": {"role": "viewer"}, "deviceTtlSeconds": 3600});
    let created = local.call("pairing.create", params).await;
    let offer: Offer = created["result"]["offer"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    Attempt::of_offer(&offer, &install).pair().await;
    let told = (Some("session_changed".to_owned()), Some(4412));
    assert_eq!(client.dismissed().await, told);
    let client = Attempt::new(&daemon, &install).connect().await;
    let grant = client.welcome.grant.unwrap();
    assert_eq!(grant.role, Role::Viewer);
    assert!(grant.expires_at.is_some());
}
