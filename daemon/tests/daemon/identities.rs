//! INV-9: no identity is ever made up. INV-8: probes touch nothing. LS-7: the client is
//! authenticated inside the encryption, always the same way.

use bowline_protocol::Purpose;
use serde_json::json;

use crate::support::{
    Install, TestDaemon,
    client::{Attempt, paired},
    stray_token,
};

#[tokio::test]
async fn inv_9_missing_empty_and_malformed_session_keys_are_typed_errors() {
    let daemon = TestDaemon::start().await;
    let (install, mut other) = paired(&daemon).await;
    for purpose in [Purpose::Session, Purpose::Probe] {
        let mut attempt = Attempt::new(&daemon, &install);
        attempt.hello.purpose = purpose;
        let good = serde_json::to_value(&attempt.hello).unwrap();
        for key in [
            None,
            Some(json!(null)),
            Some(json!("")),
            Some(json!("csk_")),
            Some(json!("csk_SHOUTING2222222222222222aa")),
            Some(json!(format!("{}a", install.session.as_str()))),
            Some(json!(format!("srv_{}", &install.session.as_str()[4..]))),
            Some(json!(7)),
        ] {
            let mut hello = good.clone();
            match &key {
                None => {
                    hello.as_object_mut().unwrap().remove("clientSessionKey");
                }
                Some(key) => hello["clientSessionKey"] = key.clone(),
            }
            let refused = attempt.refused_raw(hello.to_string().as_bytes()).await;
            assert_eq!(
                refused,
                ("identity_missing".to_owned(), Some(1000)),
                "{purpose:?} with {key:?}"
            );
        }
    }
    assert!(other.is_served().await);
    assert_eq!(daemon.session_count().await, 1, "no session was made up");
}

#[tokio::test]
async fn ls_7_an_unknown_device_is_refused() {
    let daemon = TestDaemon::start().await;
    let (_, mut other) = paired(&daemon).await;
    let stranger = Attempt::new(&daemon, &Install::new());
    assert_eq!(
        stranger.refused().await,
        ("device_unknown".to_owned(), Some(1000))
    );
    assert_eq!(
        stranger.clone().probe().refused().await.1,
        Some(1000),
        "a probe as well"
    );
    assert_eq!(
        stranger.token(&stray_token()).refused().await,
        ("pairing_token_invalid".to_owned(), Some(1000))
    );
    assert!(other.is_served().await);
    assert_eq!(daemon.devices().await.len(), 1);
}

#[tokio::test]
async fn another_devices_session_key_is_a_conflict() {
    let daemon = TestDaemon::start().await;
    let (owner, mut client) = paired(&daemon).await;
    let (mut thief, _) = paired(&daemon).await;
    thief.session = owner.session.clone();
    let attempt = Attempt::new(&daemon, &thief);
    assert_eq!(
        attempt.refused().await,
        ("session_key_conflict".to_owned(), Some(1000))
    );
    // A stranger does not get so far as to learn that the key exists.
    let mut stranger = Install::new();
    stranger.session = owner.session.clone();
    assert_eq!(
        Attempt::new(&daemon, &stranger).refused().await.1,
        Some(1000)
    );
    assert!(client.is_served().await);
}

#[tokio::test]
async fn another_daemons_key_or_name_does_not_open_this_one() {
    let daemon = TestDaemon::start().await;
    let elsewhere = TestDaemon::start().await;
    let (install, mut client) = paired(&daemon).await;
    let mut attempt = Attempt::new(&daemon, &install);
    attempt.server = elsewhere.daemon.server_id().clone();
    assert_eq!(attempt.welcome().await.err(), Some(Some(4440)));
    let mut attempt = Attempt::new(&daemon, &install);
    attempt.daemon = elsewhere.daemon.identity().transport.public();
    assert_eq!(attempt.welcome().await.err(), Some(Some(4440)));
    assert!(client.is_served().await);
}

#[tokio::test]
async fn inv_8_a_probe_attaches_to_nothing_and_may_ping_only() {
    let daemon = TestDaemon::start().await;
    let (install, mut client) = paired(&daemon).await;
    let sessions = |daemon: &TestDaemon| {
        let ledger = daemon.daemon.ledger().clone();
        async move { serde_json::to_value(ledger.sessions().await.unwrap()).unwrap() }
    };
    let before = sessions(&daemon).await;
    let mut probe = Attempt::new(&daemon, &install).probe().connect().await;
    assert_eq!(probe.welcome.session, None);
    assert!(probe.is_served().await);
    for method in [
        "system.info",
        "test.list",
        "daemon.status",
        "test.echo",
        "no.such",
    ] {
        let answer = probe.call(method, json!({})).await;
        assert_eq!(
            answer["error"]["data"]["reason"], "forbidden",
            "{method}: {answer}"
        );
    }
    probe.notify("session.ack", json!({"seq": 99})).await;
    assert!(
        probe.is_served().await,
        "a notification that means nothing for a probe changes nothing"
    );
    assert_eq!(
        sessions(&daemon).await,
        before,
        "the session does not know of the probe"
    );

    // An event reaches the session and not the probe.
    client.call("test.emit", json!({"bytes": 10})).await;
    assert_eq!(client.event().await["event"]["type"], "agent.updated");
    assert!(probe.is_served().await);
    assert_eq!(probe.next_kept_event(), None);

    // A key that no session has gets none by probing.
    let mut newcomer = install.clone();
    newcomer.session = Install::new().session;
    let mut probe = Attempt::new(&daemon, &newcomer).probe().connect().await;
    assert!(probe.is_served().await);
    assert_eq!(daemon.session_count().await, 1);
}
