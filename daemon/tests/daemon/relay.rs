//! Clients that come through a relay: the same sessions, connections and rules as for direct ones
//! (RL-2, RL-3, SV-1, SV-3, INV-3, INV-4).

use bowline_daemon::connection::Kind;
use bowline_machines::Path;
use bowline_testkit::eventually;
use serde_json::{Value, json};

use crate::support::{
    Install, TestDaemon,
    client::{Attempt, paired},
    local::Local,
    relay::{daemon_at, paired_through, registered, relay, shown, url},
};

/// Rows of `connections.list` that came through a relay.
fn relayed(daemon: &TestDaemon) -> usize {
    let rows = daemon.connections();
    rows.iter().filter(|row| row.path == Path::Relay).count()
}

#[tokio::test]
async fn rl_2_sv_3_a_client_is_served_through_a_relay() {
    let (_relay, address) = relay().await;
    let daemon = daemon_at(&[address]).await;
    let (install, mut client) = paired_through(&daemon, address).await;
    let answer = client.call("system.info", json!({})).await;
    assert!(answer["result"]["serverId"].is_string(), "{answer}");
    let rows = daemon.connections();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].path, rows[0].kind),
        (Path::Relay, Some(Kind::Session))
    );
    assert_eq!(rows[0].device_id, Some(install.device_id()));
    assert_eq!(rows[0].peer, None);
    let shown_now = shown(&daemon, 0);
    assert_eq!((shown_now.sessions, shown_now.lanes), (1, 1));
    drop(client);
    daemon.quiet().await;
    eventually("the session has left the relay", async || {
        shown(&daemon, 0).sessions == 0 && shown(&daemon, 0).lanes == 0
    })
    .await;
}

#[tokio::test]
async fn sv_1_inv_3_a_session_is_one_whichever_way_its_connections_came() {
    let (_relay, address) = relay().await;
    let daemon = daemon_at(&[address]).await;
    let (install, mut direct) = paired(&daemon).await;
    let mut through = Attempt::new(&daemon, &install)
        .through(address)
        .connect()
        .await;
    assert!(through.is_served().await && direct.is_served().await);
    assert_eq!(daemon.session_count().await, 1);
    let mut local = Local::connect(&daemon).await;
    let listed = local.call("sessions.list", json!({})).await;
    let connections = listed["result"]["sessions"][0]["connections"].clone();
    assert_eq!(connections.as_array().unwrap().len(), 2, "{listed}");
    let paths: Vec<_> = daemon.connections().iter().map(|row| row.path).collect();
    assert!(paths.contains(&Path::Relay) && paths.contains(&Path::Direct));
}

#[tokio::test]
async fn rl_3_inv_4_lanes_of_one_session_are_connections_of_their_own() {
    let (_relay, address) = relay().await;
    let daemon = daemon_at(&[address]).await;
    let (install, first) = paired_through(&daemon, address).await;
    let again = Attempt::new(&daemon, &install).through(address);
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(again.connect().await);
    }
    eventually("five lanes", async || shown(&daemon, 0).lanes == 5).await;
    assert_eq!(shown(&daemon, 0).sessions, 1, "one data socket for all");
    for client in &mut others {
        assert!(client.is_served().await);
    }
    // The end of one is nobody else's.
    drop(first);
    eventually("four lanes", async || shown(&daemon, 0).lanes == 4).await;
    for client in &mut others {
        assert!(client.is_served().await);
    }
    assert_eq!(relayed(&daemon), 4);
}

#[tokio::test]
async fn inv_8_a_probe_through_a_relay_attaches_to_nothing() {
    let (_relay, address) = relay().await;
    let daemon = daemon_at(&[address]).await;
    let (install, mut client) = paired(&daemon).await;
    let probe = Attempt::new(&daemon, &install).through(address).probe();
    let mut probe = probe.connect().await;
    assert!(probe.is_served().await);
    assert!(probe.welcome.session.is_none());
    let mut local = Local::connect(&daemon).await;
    let listed = local.call("sessions.list", json!({})).await;
    let connections = &listed["result"]["sessions"][0]["connections"];
    assert_eq!(connections.as_array().unwrap().len(), 1, "{listed}");
    assert!(client.is_served().await);
}

#[tokio::test]
async fn ls_7_a_relay_opens_no_door_that_a_direct_client_finds_closed() {
    let (_relay, address) = relay().await;
    let daemon = daemon_at(&[address]).await;
    let stranger = Attempt::new(&daemon, &Install::new());
    let direct = stranger.refused().await;
    let through = stranger.through(address).refused().await;
    assert_eq!(direct, ("device_unknown".to_owned(), Some(1000)));
    assert_eq!(through, direct);
}

#[tokio::test]
async fn bx_3_a_revoked_device_is_cut_on_every_path() {
    let (_relay, address) = relay().await;
    let daemon = daemon_at(&[address]).await;
    let (install, mut through) = paired_through(&daemon, address).await;
    let ledger = daemon.daemon.ledger();
    ledger.revoke(install.device_id()).await.unwrap();
    assert_eq!(through.ended().await, Some(1000));
    let refused = Attempt::new(&daemon, &install)
        .through(address)
        .refused()
        .await;
    assert_eq!(refused, ("device_revoked".to_owned(), Some(1000)));
}

#[tokio::test]
async fn long_messages_pass_in_both_directions() {
    let (_relay, address) = relay().await;
    let daemon = daemon_at(&[address]).await;
    let (_, mut client) = paired_through(&daemon, address).await;
    for length in [1, 65_000, 70_000, 900_000] {
        let text = "x".repeat(length);
        let answer = client.call("test.echo", json!({ "text": text })).await;
        assert_eq!(
            answer["result"]["text"].as_str().map(str::len),
            Some(length)
        );
    }
}

#[tokio::test]
async fn sv_3_a_daemon_is_reached_through_every_relay_it_registered_with() {
    let (_one, first) = relay().await;
    let (_two, second) = relay().await;
    let daemon = daemon_at(&[first, second]).await;
    let (install, mut one) = paired_through(&daemon, first).await;
    let mut two = Attempt::new(&daemon, &install)
        .through(second)
        .connect()
        .await;
    assert!(one.is_served().await && two.is_served().await);
    assert_eq!(daemon.session_count().await, 1);
    assert_eq!((shown(&daemon, 0).lanes, shown(&daemon, 1).lanes), (1, 1));
}

#[tokio::test]
async fn one_relay_that_is_not_there_delays_no_other() {
    let (_relay, address) = relay().await;
    let daemon = TestDaemon::with(|settings| {
        settings.relay = vec!["ws://127.0.0.1:1".parse().unwrap(), url(address)];
    })
    .await;
    registered(&daemon, 1).await;
    eventually("the other one is waited for", async || {
        shown(&daemon, 0).last_error.is_some()
    })
    .await;
    let (_, mut client) = paired_through(&daemon, address).await;
    assert!(client.is_served().await);
}

#[tokio::test]
async fn offers_list_the_relays_without_their_tokens() {
    let daemon = TestDaemon::with(|settings| {
        settings.relay = vec![
            "wss://s3cret@127.0.0.1:1".parse().unwrap(),
            "wss://relay.invalid/base".parse().unwrap(),
        ];
    })
    .await;
    let mut local = Local::connect(&daemon).await;
    let made = local.call("pairing.create", json!({})).await;
    let offer: bowline_protocol::Offer = made["result"]["offer"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        offer.relays,
        ["wss://127.0.0.1:1", "wss://relay.invalid/base"]
    );
    let status: Value = local.call("daemon.status", json!({})).await;
    assert!(!format!("{made}{status}").contains("s3cret"));
}
