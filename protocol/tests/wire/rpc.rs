//! JSON-RPC 2.0: messages round-trip, and any input is answered without a panic.

use bowline_protocol::{
    error::code,
    limits::MAX_BATCH,
    rpc::{
        Id, Incoming, Text, append_batch_item, begin_batch, end_batch, parse, write_done,
        write_error, write_notification, write_request, write_response,
    },
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use crate::{arbitrary, fixture::Golden};

#[test]
fn golden_messages() {
    type Write = fn(&mut Vec<u8>);
    let mut golden = Golden::new("rpc.json");
    let messages: [(&str, Write); 7] = [
        ("request", |out| {
            write_request(out, 0, "system.ping", &json!({})).unwrap();
        }),
        ("request, largest id", |out| {
            write_request(out, u64::MAX, "agents.list", &json!({"limit": 1})).unwrap();
        }),
        ("notification", |out| {
            write_notification(out, "session.ready", &json!({})).unwrap();
        }),
        ("response", |out| {
            write_response(out, &Id::number(7), r#"{"serverTime":1}"#);
        }),
        ("response to an intent", |out| {
            write_done(out, &Id::number(7), 12, r#"{"itemId":"itm_1"}"#);
        }),
        ("error response", |out| {
            let error = bowline_protocol::error::RpcError::method_not_found("x");
            write_error(out, &Id::NULL, &error);
        }),
        ("batch", |out| {
            begin_batch(out);
            append_batch_item(out, br#"{"jsonrpc":"2.0","id":1,"result":[]}"#);
            append_batch_item(out, br#"{"jsonrpc":"2.0","id":"a","result":{}}"#);
            end_batch(out);
        }),
    ];
    for (name, write) in messages {
        let mut out = Vec::new();
        write(&mut out);
        golden.json(name, String::from_utf8(out).unwrap());
    }
    golden.check();
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        arbitrary::text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((arbitrary::text(), inner), 0..4)
                .prop_map(|members| members.into_iter().collect::<Value>()),
        ]
    })
}

fn params() -> impl Strategy<Value = Value> {
    value().prop_map(|value| match value {
        Value::Array(_) | Value::Object(_) => value,
        other => json!([other]),
    })
}

fn single(bytes: &[u8]) -> Incoming<'_> {
    match parse(bytes) {
        Ok(Text::Single(incoming)) => incoming,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn requests_and_notifications_are_read_back_as_written(
        id: u64, method in arbitrary::text(), params in params(), before: Vec<u8>,
    ) {
        let mut bytes = before.clone();
        write_request(&mut bytes, id, &method, &params).unwrap();
        prop_assert_eq!(&bytes[..before.len()], before.as_slice(), "written after what was there");
        match single(&bytes[before.len()..]) {
            Incoming::Request(got) => {
                prop_assert_eq!(got.id.as_u64(), Some(id));
                prop_assert_eq!(got.method, method.as_str());
                prop_assert_eq!(got.params.unwrap().get(), serde_json::to_string(&params).unwrap());
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
        bytes.clear();
        write_notification(&mut bytes, &method, &params).unwrap();
        match single(&bytes) {
            Incoming::Notification(got) => prop_assert_eq!(got.method, method.as_str()),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }

    #[test]
    fn responses_are_read_back_as_written(
        id: u64, seq: u64, result in value(), error in arbitrary::rpc_error(),
    ) {
        let mut bytes = Vec::new();
        let result = serde_json::to_string(&result).unwrap();
        write_response(&mut bytes, &Id::number(id), &result);
        match single(&bytes) {
            Incoming::Response(got) => {
                prop_assert_eq!(got.id.as_u64(), Some(id));
                prop_assert_eq!(got.seq, None);
                prop_assert_eq!(got.outcome.unwrap().get(), &*result);
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
        bytes.clear();
        write_done(&mut bytes, &Id::number(id), seq, &result);
        match single(&bytes) {
            Incoming::Response(got) => {
                prop_assert_eq!((got.id.as_u64(), got.seq), (Some(id), Some(seq)));
                prop_assert_eq!(got.outcome.unwrap().get(), result);
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
        bytes.clear();
        write_error(&mut bytes, &Id::number(id), &error);
        match single(&bytes) {
            Incoming::Response(got) => prop_assert_eq!(got.outcome.unwrap_err(), error),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }

    /// An id is echoed byte for byte, including numbers beyond 64 bits, escapes and white space.
    #[test]
    fn ids_are_echoed_to_the_letter(
        id in prop_oneof![
            arbitrary::text().prop_map(|text| serde_json::to_string(&text).unwrap()),
            "-?[1-9][0-9]{0,40}", "0\\.[0-9]{1,30}", "[1-9]e[+-]?[0-9]{1,3}",
            Just("null".to_owned()), Just(r#""\u0041\/\ud83d\ude00""#.to_owned()),
        ],
        space in "[ \t\r\n]{0,3}",
    ) {
        let text = format!(r#"{space}{{"method":"m",{space}"id":{space}{id}{space},"jsonrpc":"2.0"}}{space}"#);
        let mut answer = Vec::new();
        match single(text.as_bytes()) {
            Incoming::Request(request) => write_response(&mut answer, &request.id.into_owned(), "1"),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
        prop_assert_eq!(String::from_utf8(answer).unwrap(), format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1}}"#));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }

    #[test]
    fn texts_that_look_like_messages_never_panic(
        text in r#"[\[\]{}":,0-9a-z.\\ -]{0,60}"#,
        parts in vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"jsonrpc\"", "\"2.0\"", "\"id\"", "1", "null", "\"method\"",
            "\"m\"", "\"params\"", "\"result\"", "\"error\"", "\\", "\"", " ", "\u{e9}", "1e999",
        ]), 0..30),
    ) {
        let _ = parse(text.as_bytes());
        let _ = parse(parts.concat().as_bytes());
    }

    /// Any JSON value is answered: as a message, as an invalid request, or with one error for the
    /// text.
    #[test]
    fn any_json_is_understood_or_refused_as_an_invalid_request(value in value()) {
        match parse(value.to_string().as_bytes()) {
            Ok(Text::Batch(parts)) => prop_assert_eq!(Some(parts.len()), value.as_array().map(Vec::len)),
            Ok(Text::Single(Incoming::Invalid { error, .. })) | Err(error) => {
                prop_assert_eq!(error.code, code::INVALID_REQUEST);
            }
            Ok(Text::Single(_)) => prop_assert!(value.is_object()),
        }
    }

    #[test]
    fn a_batch_keeps_number_order_and_kind_of_its_parts(ids in vec(any::<Option<u64>>(), 1..40)) {
        let mut batch = Vec::new();
        begin_batch(&mut batch);
        for id in &ids {
            let mut item = Vec::new();
            match id {
                Some(id) => write_request(&mut item, *id, "m", &json!({})).unwrap(),
                None => write_notification(&mut item, "n", &json!({})).unwrap(),
            }
            append_batch_item(&mut batch, &item);
        }
        end_batch(&mut batch);
        let Ok(Text::Batch(parts)) = parse(&batch) else {
            return Err(TestCaseError::fail("no batch"));
        };
        let read: Vec<_> = parts.iter().map(|part| match part {
            Incoming::Request(request) => request.id.as_u64(),
            _ => None,
        }).collect();
        prop_assert_eq!(read, ids);
    }
}

#[test]
fn a_full_batch_is_read_and_a_fuller_one_refused() {
    let batch = |n: usize| {
        let one = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
        format!("[{}]", vec![one; n].join(","))
    };
    match parse(batch(MAX_BATCH).as_bytes()).unwrap() {
        Text::Batch(parts) => assert_eq!(parts.len(), MAX_BATCH),
        Text::Single(_) => panic!("not a batch"),
    }
    let error = parse(batch(MAX_BATCH + 1).as_bytes()).unwrap_err();
    assert_eq!(error.code, code::INVALID_REQUEST);
}

/// Nesting of any depth needs no stack: the test runs on a thread with a small one.
#[test]
fn nesting_is_bounded_by_size_alone() {
    let work = || {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let depth = 100_000;
            let inner = if open == "[" { "" } else { "1" };
            let deep = open.repeat(depth) + inner + &close.repeat(depth);
            let _ = parse(deep.as_bytes());
            for member in [
                "id", "method", "params", "result", "error", "jsonrpc", "other",
            ] {
                let text = format!(r#"{{"jsonrpc":"2.0","{member}":{deep}}}"#);
                let _ = parse(text.as_bytes());
                let _ = parse(format!("[{text}]").as_bytes());
            }
            let unclosed = open.repeat(depth);
            assert_eq!(
                parse(unclosed.as_bytes()).unwrap_err().code,
                code::PARSE_ERROR
            );
        }
    };
    std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}
