//! What the owner does about devices: revoking them (TR-5), the lock and the audit log (TR-15), and
//! who is told of a pairing.

use serde_json::json;

use crate::support::{
    Install, TestDaemon,
    client::{Attempt, paired},
    grants::{intent, paired_with, until},
    local::Local,
};

#[tokio::test]
async fn tr_5_a_revoked_device_is_out_on_every_connection() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (install, mut client) = paired(&daemon).await;
    let attempt = Attempt::new(&daemon, &install);
    let mut probe = attempt.clone().probe().connect().await;
    assert!(probe.is_served().await && client.is_served().await);

    let device = json!({"deviceId": install.device_id()});
    let revoked = local.call("devices.revoke", device).await;
    assert_eq!(revoked["result"], json!({"turnsEnded": 0}), "{revoked}");
    let told = (Some("device_revoked".to_owned()), Some(1000));
    assert_eq!(client.dismissed().await, told);
    assert_eq!(probe.dismissed().await, told, "probes too");
    assert_eq!(attempt.refused().await.0, "device_revoked");
}

#[tokio::test]
async fn tr_15_a_locked_daemon_refuses_devices_until_it_is_unlocked() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (install, mut client) = paired(&daemon).await;
    assert!(client.is_served().await);
    let offer = daemon.offer().await;

    let locked = local.call("daemon.lock", json!({})).await["result"].clone();
    assert_eq!(locked["changed"], true);
    assert!(locked["lockedAt"].as_i64().is_some());
    let told = (Some("daemon_locked".to_owned()), Some(1000));
    assert_eq!(client.dismissed().await, told);
    let refused = ("daemon_locked".to_owned(), Some(1000));
    let attempt = Attempt::new(&daemon, &install);
    assert_eq!(attempt.refused().await, refused);
    let stranger = Attempt::of_offer(&offer, &Install::new());
    assert_eq!(stranger.refused().await, refused, "nobody pairs");
    let status = local.call("daemon.status", json!({})).await;
    assert_eq!(status["result"]["lockedAt"], locked["lockedAt"]);
    let again = local.call("daemon.lock", json!({})).await;
    assert_eq!(again["result"]["changed"], false);
    let unlocked = local.call("daemon.unlock", json!({})).await;
    assert_eq!(unlocked["result"], json!({"changed": true}));
    assert!(attempt.connect().await.is_served().await);
}

#[tokio::test]
async fn tr_15_the_audit_log_has_what_was_done_to_devices_and_by_them() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let params = json!({"grant": {"role": "owner"}});
    let (install, _, mut client) = paired_with(&mut local, params).await;
    intent(&mut client, "test.act", json!({})).await;
    let text = format!("echo {}", "x".repeat(2_000));
    intent(&mut client, "test.keep", json!({"text": text})).await;
    intent(&mut client, "test.refuse", json!({})).await;
    let revoke = json!({"deviceId": install.device_id()});
    local.call("devices.revoke", revoke).await;
    let attempt = Attempt::new(&daemon, &install);
    assert_eq!(attempt.refused().await.0, "device_revoked");
    Attempt::new(&daemon, &Install::new()).refused().await;

    let asked = ("audit.list", json!({"after": 0}));
    let rows = until(&mut local, "seven rows", asked, |page| {
        let rows = page["entries"].as_array()?;
        (rows.len() >= 7).then(|| rows.clone())
    });
    let rows = rows.await;
    let events: Vec<_> = rows
        .iter()
        .map(|row| row["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        events[..6],
        [
            "offer_made",
            "device_paired",
            "ran",
            "ran",
            "ran",
            "device_revoked"
        ]
    );
    let id = install.device_id();
    let of_device = rows
        .iter()
        .filter(|row| row["deviceId"] == id.as_str())
        .count();
    assert_eq!(of_device, 6, "five of its own, and its refusal: {rows:?}");
    let ran = &rows[3]["detail"];
    assert_eq!(ran["method"], "test.keep");
    let params = ran["params"].as_str().unwrap();
    assert!(
        params.contains("echo xxx") && params.len() <= 512,
        "{params}"
    );
    assert_eq!(rows[4]["detail"]["refused"], "not_found");
    let page = local.call("audit.list", json!({"limit": 2})).await;
    let newest = page["result"]["entries"].as_array().unwrap();
    assert_eq!(newest.len(), 2);
    assert_eq!(page["result"]["hasMore"], true);
    assert!(newest[0]["n"].as_u64() < newest[1]["n"].as_u64());
}

#[tokio::test]
async fn tr_15_a_device_that_pairs_again_and_again_pushes_nothing_out_and_tells_nobody() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    let (_, mut watching) = paired(&daemon).await;
    let params = json!({"grant": {"role": "viewer"}});
    let (_, attempt, _client) = paired_with(&mut local, params).await;
    assert_eq!(watching.event().await["event"]["type"], "device.paired");
    let rows = async |local: &mut Local| {
        let page = local.call("audit.list", json!({"after": 0})).await;
        page["result"]["entries"].as_array().unwrap().len()
    };
    let before = rows(&mut local).await;
    for _ in 0..5 {
        attempt.pair().await;
    }
    assert_eq!(rows(&mut local).await, before);
    assert!(watching.is_served().await);
    assert_eq!(watching.next_kept_event(), None);
}
