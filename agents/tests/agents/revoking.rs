//! What becomes of the turns of a device that the owner revokes (TR-5), and of all turns under the
//! lock (TR-15).

use bowline_testkit::eventually;
use serde_json::json;

use crate::{
    prompted::{Prompted, daemon},
    support::{Install, client::Attempt},
};

#[tokio::test]
async fn tr_5_revocation_ends_the_turn_that_runs_and_the_one_that_waits() {
    let daemon = daemon().await;
    let mut it = Prompted::start(&daemon, [Prompted::ENDLESS, "touch second"]).await;
    let mut probe = Attempt::new(&daemon, &it.install).probe().connect().await;
    assert!(probe.is_served().await);

    let device = json!({"deviceId": it.install.device_id()});
    let revoked = it.local.call("devices.revoke", device).await;
    assert_eq!(revoked["result"], json!({"turnsEnded": 2}), "{revoked}");
    let told = (Some("device_revoked".to_owned()), Some(1000));
    assert_eq!(it.client.dismissed().await, told);
    assert_eq!(probe.dismissed().await, told, "probes too");
    assert_eq!(it.ends(2).await, ["cancelled", "cancelled"]);
    assert!(!it.did("second"));
}

#[tokio::test]
async fn tr_5_turns_that_are_kept_outlive_their_device() {
    let daemon = daemon().await;
    let mut it = Prompted::start(&daemon, [Prompted::UNTIL_GO, "touch second"]).await;
    let params = json!({"deviceId": it.install.device_id(), "keepTurns": true});
    let revoked = it.local.call("devices.revoke", params).await;
    assert_eq!(revoked["result"], json!({"turnsEnded": 0}));
    it.go();
    eventually("the second turn ran", async || it.did("second")).await;
}

#[tokio::test]
async fn tr_15_a_locked_daemon_refuses_devices_and_stops_agents_until_it_is_unlocked() {
    let daemon = daemon().await;
    // The second turn fails if it begins before the unlock.
    let mut it = Prompted::start(&daemon, [Prompted::ENDLESS, "test -e unlocked"]).await;
    let offer = daemon.offer().await;

    let locked = it.local.call("daemon.lock", json!({})).await["result"].clone();
    assert_eq!(locked["changed"], true);
    assert!(locked["lockedAt"].as_i64().is_some());
    let told = (Some("daemon_locked".to_owned()), Some(1000));
    assert_eq!(it.client.dismissed().await, told);
    let refused = ("daemon_locked".to_owned(), Some(1000));
    let attempt = Attempt::new(&daemon, &it.install);
    assert_eq!(attempt.refused().await, refused);
    let stranger = Attempt::of_offer(&offer, &Install::new());
    assert_eq!(stranger.refused().await, refused, "nobody pairs");
    let status = it.local.call("daemon.status", json!({})).await;
    assert_eq!(status["result"]["lockedAt"], locked["lockedAt"]);
    assert_eq!(it.ends(1).await, ["cancelled"]);
    let again = it.local.call("daemon.lock", json!({})).await;
    assert_eq!(again["result"]["changed"], false);
    let listed = it.local.call("agents.list", json!({})).await;
    let status = &listed["result"]["agents"][0]["status"];
    assert_eq!(status, "starting", "the other one waits: {listed}");
    std::fs::write(it.work.path().join("unlocked"), "").unwrap();
    let unlocked = it.local.call("daemon.unlock", json!({})).await;
    assert_eq!(unlocked["result"], json!({"changed": true}));
    assert_eq!(it.ends(2).await, ["cancelled", "completed"]);
    assert!(attempt.connect().await.is_served().await);
}
