//! The local socket: one JSON-RPC text a line, for the daemon's owner (protocol.md §8).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{TestDaemon, client::paired, local::Local};

#[tokio::test]
async fn the_owner_sees_how_the_daemon_is() {
    let daemon = TestDaemon::start().await;
    let (install, mut client) = paired(&daemon).await;
    let mut local = Local::connect(&daemon).await;
    let status = local.call("daemon.status", json!({})).await["result"].clone();
    assert_eq!(status["serverId"], daemon.daemon.server_id().as_str());
    assert_eq!(status["listen"], json!([daemon.address()]));
    assert_eq!(
        (&status["sessions"], &status["devices"]),
        (&json!(1), &json!(1))
    );
    let sessions = local.call("sessions.list", json!({})).await["result"]["sessions"].clone();
    assert_eq!(
        sessions[0]["externalSessionKey"],
        install.session.external().as_str()
    );
    assert_eq!(sessions[0]["state"], "attached");
    let connections =
        local.call("connections.list", json!({})).await["result"]["connections"].clone();
    let kinds: Vec<_> = connections
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["kind"].clone())
        .collect();
    assert_eq!(kinds, ["session", "local"]);
    assert_eq!(
        local.call("system.ping", json!({})).await["error"],
        Value::Null
    );
    assert!(client.is_served().await);
}

#[tokio::test]
async fn malformed_lines_are_answered_and_survived() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    for (line, code) in [
        ("{\n", -32700),
        ("nonsense\r\n", -32700),
        ("[]\n", -32600),
        ("\u{1}\n", -32700),
    ] {
        local.write(line).await;
        let answer = local.line().await.unwrap();
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&Value::Null, &json!(code)),
            "{line:?}"
        );
    }
    local
        .write("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ping\"}]\n")
        .await;
    assert_eq!(local.line().await.unwrap()[0]["id"], 1);
    let wrong = local.call("devices.revoke", json!({"deviceId": "x"})).await;
    assert_eq!(wrong["error"]["code"], -32602);
    let wrong = local.call("pairing.create", json!({"ttlSeconds": 0})).await;
    assert_eq!(wrong["error"]["code"], -32602);
}

#[tokio::test]
async fn a_line_over_the_limit_is_answered_and_the_connection_closed() {
    let daemon = TestDaemon::with(|settings| settings.limits.max_message_bytes = 10_000).await;
    let mut other = Local::connect(&daemon).await;
    let mut local = Local::connect(&daemon).await;
    local.write(&"x".repeat(10_001)).await;
    assert_eq!(local.line().await.unwrap()["error"]["code"], -32600);
    let closing = local.line().await.unwrap();
    assert_eq!(closing["params"]["reason"], "message_too_large");
    assert_eq!(local.line().await, None);
    assert!(other.call("system.ping", json!({})).await["result"].is_object());
}

#[tokio::test]
async fn an_idle_connection_is_told_and_closed_and_a_busy_one_is_not() {
    let daemon = TestDaemon::with(|settings| {
        settings.limits.idle_timeout = Some(Duration::from_millis(300));
    })
    .await;
    let mut idle = Local::connect(&daemon).await;
    let mut busy = Local::connect(&daemon).await;
    busy.write("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"test.gate\"}\n")
        .await;
    let closing = idle.line().await.unwrap();
    assert_eq!(closing["method"], "connection.closing");
    assert_eq!(closing["params"]["reason"], "idle_timeout");
    assert_eq!(idle.line().await, None);
    let mut third = Local::connect(&daemon).await;
    third.call("test.open", json!({})).await;
    assert_eq!(
        busy.line().await.unwrap()["id"],
        1,
        "a pending request is not idleness"
    );
}

#[tokio::test]
async fn sv_4_a_connection_that_only_listens_to_events_is_not_idle() {
    // Far more than a busy machine takes from one event to the next.
    let idle_timeout = Duration::from_millis(1_200);
    let daemon =
        TestDaemon::with(|settings| settings.limits.idle_timeout = Some(idle_timeout)).await;
    let mut other = Local::connect(&daemon).await;
    let agent = "agt_1";
    let mut listener = Local::connect(&daemon).await;
    let subscribed = listener
        .call("test.subscribe", json!({"agentId": agent}))
        .await;
    assert_eq!(subscribed["result"], json!({}), "{subscribed}");

    let began = tokio::time::Instant::now();
    while began.elapsed() < 3 * idle_timeout {
        let params = json!({"bytes": 10, "agentId": agent});
        assert_eq!(other.call("test.emit", params).await["result"], json!({}));
        let event = listener.line().await.expect("an event");
        assert_eq!(event["method"], "session.event", "{event}");
        tokio::time::sleep(idle_timeout / 12).await;
    }
    // The events are over.
    let last = loop {
        let line = listener.line().await.expect("why it ends");
        if line["method"] == "connection.closing" {
            break line;
        }
    };
    assert_eq!(last["params"]["reason"], "idle_timeout");
}

#[tokio::test]
async fn json_of_several_lines_is_one_line_on_the_socket_both_ways() {
    use bowline_runtime::local::{Client, Endpoint};
    use serde_json::value::RawValue;

    let pretty = crate::support::methods::PRETTY;
    let value: serde_json::Value = serde_json::from_str(pretty).unwrap();
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    assert_eq!(local.call("test.pretty", json!({})).await["result"], value);
    assert!(local.is_served().await);

    let endpoint = Endpoint::new(daemon.daemon.socket()).unwrap();
    let client = Client::connect(&endpoint).await.unwrap();
    let params = RawValue::from_string(pretty.to_owned()).unwrap();
    let echoed: serde_json::Value = client.call("test.echo", &params).await.unwrap();
    assert_eq!(echoed, value);
}

#[tokio::test]
async fn whoever_only_writes_is_answered_before_the_end() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    local
        .write("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.status\"}")
        .await;
    local.stop_writing().await;
    assert_eq!(
        local.line().await.unwrap()["id"],
        1,
        "the end of the stream ends the line"
    );
    assert_eq!(local.line().await, None);
}
