//! The JSON-RPC parser: never panics, agrees with a general JSON parser on valid JSON, and parsed
//! messages survive writing and parsing again.

#![no_main]

use bowline_protocol::{
    error::code,
    limits::MAX_BATCH,
    rpc::{Incoming, Text, parse, write_error, write_notification, write_response},
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, value::RawValue};

fuzz_target!(|data: &[u8]| {
    let json = serde_json::from_slice::<Value>(data);
    match parse(data) {
        Ok(Text::Single(incoming)) => check(incoming),
        Ok(Text::Batch(items)) => {
            assert!((1..=MAX_BATCH).contains(&items.len()));
            if let Ok(Value::Array(values)) = &json {
                assert_eq!(values.len(), items.len());
            }
            items.into_iter().for_each(check);
        }
        Err(error) => {
            assert!(matches!(
                error.code,
                code::PARSE_ERROR | code::INVALID_REQUEST
            ));
            // A general parser agrees that it is invalid JSON (it also rejects byte order marks and
            // deep nesting).
            assert!(error.code != code::PARSE_ERROR || json.is_err());
        }
    }
});

fn check(incoming: Incoming<'_>) {
    let mut text = Vec::new();
    match &incoming {
        Incoming::Request(request) => {
            // Ids are kept verbatim: a number may exceed every numeric type, a string may be
            // invalid Unicode.
            let id: &RawValue = serde_json::from_str(request.id.as_json()).unwrap();
            assert!(
                id.get().starts_with(['"', '-', 'n']) || id.get().as_bytes()[0].is_ascii_digit()
            );
            write_response(&mut text, &request.id, "{}");
            match parse(&text) {
                Ok(Text::Single(Incoming::Response(response))) => {
                    assert_eq!(response.id.as_json(), request.id.as_json());
                }
                other => panic!("{other:?}"),
            }
        }
        Incoming::Notification(notification) => match notification.params {
            Some(params) => write_notification(&mut text, &notification.method, params).unwrap(),
            None => write_notification(&mut text, &notification.method, &[0_u8; 0]).unwrap(),
        },
        Incoming::Response(response) => {
            if let Err(error) = &response.outcome {
                write_error(&mut text, &response.id, error);
            }
        }
        Incoming::Invalid { id, error } => {
            assert_eq!(error.code, code::INVALID_REQUEST);
            write_error(&mut text, id, error);
        }
    }
    if !text.is_empty() {
        let read = parse(&text);
        let is_message =
            matches!(&read, Ok(Text::Single(again)) if !matches!(again, Incoming::Invalid { .. }));
        assert!(is_message, "a written message parses: {read:?}");
    }
}
