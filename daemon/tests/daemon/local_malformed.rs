//! Malformed input on the local socket: answered as JSON-RPC 2.0 says where it can be, the end of
//! that connection where it must be, bounded memory in any case, and nothing to anybody else
//! (SV-4).

use std::time::Duration;

use bowline_testkit::eventually;
use serde_json::{Value, json};

use crate::support::{TestDaemon, local::Local};

/// What must come back for one line.
enum Expected {
    /// One error with this id and code.
    Error(Value, i32),
    /// A batch of errors of this code.
    Errors(usize, i32),
    /// A result.
    Result,
    /// Nothing: it was a notification, or an answer.
    Nothing,
}

/// A line, by what is wrong with it.
fn matrix() -> Vec<(&'static str, Vec<u8>, Expected)> {
    use Expected::{Error, Errors, Nothing, Result};
    let null = || Value::Null;
    let text = |text: &str| text.as_bytes().to_vec();
    let deep = |open: &str, close: &str| open.repeat(10_000) + &close.repeat(10_000);
    let with_params = |params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":3,"method":"test.big","params":{params}}}"#).into_bytes()
    };
    vec![
        ("an empty line", text(""), Error(null(), -32700)),
        ("blanks", text(" \t\r"), Error(null(), -32700)),
        ("no JSON", text("GET / HTTP/1.1"), Error(null(), -32700)),
        (
            "half an object",
            text(r#"{"jsonrpc":"2.0","id":1,"method"#),
            Error(null(), -32700),
        ),
        (
            "half a batch",
            text(r#"[{"jsonrpc":"2.0","id":1,"method":"system.ping"},"#),
            Error(null(), -32700),
        ),
        (
            "something behind it",
            text(r#"{"jsonrpc":"2.0","id":1,"method":"system.ping"} x"#),
            Error(null(), -32700),
        ),
        (
            "two on one line",
            text(r#"{"jsonrpc":"2.0","id":1,"method":"a"}{"jsonrpc":"2.0","id":2,"method":"a"}"#),
            Error(null(), -32700),
        ),
        (
            "a control character",
            text("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\u{1}b\"}"),
            Error(null(), -32700),
        ),
        (
            "a lone surrogate",
            text(r#"{"jsonrpc":"2.0","id":3,"method":"\ud800"}"#),
            Error(json!(3), -32600),
        ),
        ("a number", text("7"), Error(null(), -32600)),
        ("a string", text("\"system.ping\""), Error(null(), -32600)),
        ("an empty object", text("{}"), Error(null(), -32600)),
        ("an empty batch", text("[]"), Error(null(), -32600)),
        ("a batch of no requests", text("[1,2,3]"), Errors(3, -32600)),
        ("a batch of batches", text("[[],[[]]]"), Errors(2, -32600)),
        (
            "no version",
            text(r#"{"id":3,"method":"system.ping"}"#),
            Error(json!(3), -32600),
        ),
        (
            "the version before",
            text(r#"{"version":"1.1","id":3,"method":"system.ping"}"#),
            Error(json!(3), -32600),
        ),
        (
            "another version",
            text(r#"{"jsonrpc":"1.0","id":3,"method":"system.ping"}"#),
            Error(json!(3), -32600),
        ),
        (
            "a version that is a number",
            text(r#"{"jsonrpc":2.0,"id":3,"method":"system.ping"}"#),
            Error(json!(3), -32600),
        ),
        (
            "a method that is a number",
            text(r#"{"jsonrpc":"2.0","id":"x","method":1}"#),
            Error(json!("x"), -32600),
        ),
        (
            "no method",
            text(r#"{"jsonrpc":"2.0","id":3,"params":{}}"#),
            Error(json!(3), -32600),
        ),
        (
            "params that are text",
            text(r#"{"jsonrpc":"2.0","id":3,"method":"system.ping","params":"x"}"#),
            Error(json!(3), -32600),
        ),
        (
            "params that are null",
            text(r#"{"jsonrpc":"2.0","id":3,"method":"system.ping","params":null}"#),
            Error(json!(3), -32600),
        ),
        (
            "an id that is an object",
            text(r#"{"jsonrpc":"2.0","id":{},"method":"system.ping"}"#),
            Error(null(), -32600),
        ),
        (
            "an id that is true",
            text(r#"{"jsonrpc":"2.0","id":true,"method":"system.ping"}"#),
            Error(null(), -32600),
        ),
        (
            "a member twice",
            text(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"system.ping"}"#),
            Error(null(), -32600),
        ),
        (
            "request and answer in one",
            text(r#"{"jsonrpc":"2.0","id":3,"method":"a","result":1}"#),
            Error(json!(3), -32600),
        ),
        (
            "params of a wrong type",
            with_params(r#"{"bytes":"many"}"#),
            Error(json!(3), -32602),
        ),
        (
            "a wrong member of params",
            with_params("[]"),
            Error(json!(3), -32602),
        ),
        (
            "a method there is not",
            text(r#"{"jsonrpc":"2.0","id":3,"method":"system.pong"}"#),
            Error(json!(3), -32601),
        ),
        (
            "a notification of the daemon",
            text(r#"{"jsonrpc":"2.0","id":3,"method":"session.event"}"#),
            Error(json!(3), -32601),
        ),
        (
            "invalid UTF-8",
            b"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"\xff\xfe\"}".to_vec(),
            Error(null(), -32700),
        ),
        (
            "UTF-16",
            b"\xff\xfe{\x00}\x00".to_vec(),
            Error(null(), -32700),
        ),
        ("zero bytes", vec![0; 100], Error(null(), -32700)),
        (
            "a batch 10,000 deep",
            deep("[", "]").into_bytes(),
            Errors(1, -32600),
        ),
        (
            "an unclosed batch 10,000 deep",
            "[".repeat(10_000).into_bytes(),
            Error(null(), -32700),
        ),
        (
            "params 10,000 deep",
            with_params(&deep("[", "]")),
            Error(json!(3), -32602),
        ),
        (
            "objects 10,000 deep",
            with_params(&(r#"{"a":"#.repeat(10_000) + "1" + &"}".repeat(10_000))),
            Error(json!(3), -32602),
        ),
        (
            "an id 10,000 deep",
            format!(
                r#"{{"jsonrpc":"2.0","id":{},"method":"a"}}"#,
                deep("[", "]")
            )
            .into_bytes(),
            Error(null(), -32600),
        ),
        (
            "a batch over the limit",
            format!("[{}1]", "1,".repeat(1_024)).into_bytes(),
            Error(null(), -32600),
        ),
        (
            "an answer nobody asked for",
            text(r#"{"jsonrpc":"2.0","id":3,"result":{}}"#),
            Nothing,
        ),
        (
            "an error nobody asked for",
            text(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#),
            Nothing,
        ),
        (
            "a notification of no method",
            text(r#"{"jsonrpc":"2.0","method":"no.such"}"#),
            Nothing,
        ),
        (
            "members nobody knows",
            text(r#"{"jsonrpc":"2.0","id":3,"method":"system.ping","x":{}}"#),
            Result,
        ),
        (
            "a line end of another system",
            text("{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"system.ping\"}\r"),
            Result,
        ),
    ]
}

#[tokio::test]
async fn malformed_lines_are_answered_as_the_specification_says_and_survived() {
    let daemon = TestDaemon::start().await;
    let mut other = Local::connect(&daemon).await;
    let mut local = Local::connect(&daemon).await;
    for (what, mut line, expected) in matrix() {
        line.push(b'\n');
        local.write(&line).await;
        match expected {
            Expected::Error(id, code) => {
                let answer = local.line().await.unwrap();
                assert_eq!(answer["jsonrpc"], "2.0", "{what}: {answer}");
                assert_eq!(answer["id"], id, "{what}: {answer}");
                assert_eq!(answer["error"]["code"], code, "{what}: {answer}");
            }
            Expected::Errors(count, code) => {
                let answer = local.line().await.unwrap();
                let errors = answer.as_array().expect(what);
                assert_eq!(errors.len(), count, "{what}: {answer}");
                assert!(
                    errors.iter().all(|e| e["error"]["code"] == code),
                    "{what}: {answer}"
                );
            }
            Expected::Result => {
                let answer = local.line().await.unwrap();
                assert!(answer["result"].is_object(), "{what}: {answer}");
            }
            Expected::Nothing => {}
        }
        assert!(local.is_served().await, "after {what}");
    }
    assert!(other.is_served().await);
}

#[tokio::test]
async fn a_line_over_the_limit_ends_its_connection_without_being_kept() {
    let daemon = TestDaemon::with(|settings| settings.limits.max_message_bytes = 10_000).await;
    let mut other = Local::connect(&daemon).await;
    for line in [
        vec![b' '; 10_001],
        vec![b'['; 1 << 20],
        [vec![b'x'; 10_001], vec![b'\n']].concat(),
    ] {
        let mut local = Local::connect(&daemon).await;
        local.write_some(&line).await;
        let error = local.line().await.unwrap();
        assert_eq!(
            (&error["id"], &error["error"]["code"]),
            (&Value::Null, &json!(-32600))
        );
        let closing = local.line().await.unwrap();
        assert_eq!(closing["method"], "connection.closing");
        assert_eq!(closing["params"]["reason"], "message_too_large");
        assert_eq!(local.line().await, None);
    }
    // A line of exactly the limit is a line.
    let mut local = Local::connect(&daemon).await;
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"system.ping"}"#;
    local.write(format!("{request:>10000}\n")).await;
    assert_eq!(local.line().await.unwrap()["id"], 1);
    assert!(other.is_served().await);
}

#[tokio::test]
async fn half_a_line_costs_its_bytes_and_ends_with_the_idle_deadline() {
    let daemon = TestDaemon::with(|settings| {
        settings.limits.idle_timeout = Some(Duration::from_millis(400));
    })
    .await;
    let mut local = Local::connect(&daemon).await;
    local.write("{\"jsonrpc\":\"2.0\",\"id\":1,").await;
    // Bytes that make no line are no sign of life.
    local.write("\"method\":\"system").await;
    let closing = local.line().await.unwrap();
    assert_eq!(closing["params"]["reason"], "idle_timeout");
    assert_eq!(local.line().await, None);
    eventually("it is gone", async || daemon.connections().is_empty()).await;
}

#[tokio::test]
async fn half_a_line_and_the_end_is_a_malformed_line() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    local.write("{\"jsonrpc\":\"2.0\",\"id\":1,").await;
    local.stop_writing().await;
    assert_eq!(local.line().await.unwrap()["error"]["code"], -32700);
    assert_eq!(local.line().await, None);
    // Vanishing in the middle is nobody's business.
    let mut local = Local::connect(&daemon).await;
    local.write("{\"jsonrpc\"").await;
    drop(local);
    eventually("both are gone", async || daemon.connections().is_empty()).await;
}
