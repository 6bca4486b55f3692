//! Parses bytes into messages, with the errors that JSON-RPC 2.0 prescribes.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

use super::{Id, usual};
use crate::{error::RpcError, limits::MAX_BATCH};

/// One JSON-RPC text.
#[derive(Debug)]
pub enum Text<'a> {
    /// One message.
    Single(Incoming<'a>),
    /// A batch of at least one and at most [`MAX_BATCH`] messages.
    Batch(Vec<Incoming<'a>>),
}

/// One message.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// Expects an answer.
    Request(Request<'a>),
    /// Expects no answer.
    Notification(Notification<'a>),
    /// Answers an earlier request of this side.
    Response(Response<'a>),
    /// JSON, but not a message; answered with this error.
    Invalid {
        /// The id if it is readable, else null.
        id: Id<'a>,
        /// −32600.
        error: RpcError,
    },
}

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The id, echoed in the answer.
    pub id: Id<'a>,
    /// Method name.
    pub method: Cow<'a, str>,
    /// An array or object, unparsed.
    pub params: Option<&'a RawValue>,
}

/// A notification.
#[derive(Debug)]
pub struct Notification<'a> {
    /// Method name.
    pub method: Cow<'a, str>,
    /// An array or object, unparsed.
    pub params: Option<&'a RawValue>,
}

/// A response.
#[derive(Debug)]
pub struct Response<'a> {
    /// Id of the answered request.
    pub id: Id<'a>,
    /// On the result of an intent: the number of the event with which its effects are told.
    pub seq: Option<u64>,
    /// The result, unparsed, or the error.
    pub outcome: Result<&'a RawValue, RpcError>,
}

/// Every member of a message, unparsed; `Some` whenever present, `null` included.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    seq: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Parses one JSON-RPC text.
///
/// # Errors
/// −32700 when the text is not JSON; −32600 when it is an empty or over-long batch, or neither
/// object nor array. Both are answered with id `null`. Every other problem is an
/// [`Incoming::Invalid`] in its place.
pub fn parse(bytes: &[u8]) -> Result<Text<'_>, RpcError> {
    let text = std::str::from_utf8(bytes).map_err(|_| RpcError::parse("the text is not UTF-8"))?;
    match usual::read(text) {
        Some(incoming) => Ok(Text::Single(incoming)),
        None => parse_any(text),
    }
}

fn parse_any(text: &str) -> Result<Text<'_>, RpcError> {
    match text.bytes().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => match serde_json::from_str::<Members<'_>>(text) {
            Ok(members) => Ok(Text::Single(classify(members))),
            Err(error) => {
                ensure_json(text, &error)?;
                Ok(Text::Single(invalid(Id::NULL, &error.to_string())))
            }
        },
        Some(b'[') => {
            let Batch(elements) = match serde_json::from_str(text) {
                Ok(batch) => batch,
                Err(error) => {
                    ensure_json(text, &error)?;
                    return Err(RpcError::invalid_request(error.to_string()));
                }
            };
            if elements.is_empty() {
                return Err(RpcError::invalid_request("an empty batch"));
            }
            Ok(Text::Batch(
                elements.into_iter().map(parse_element).collect(),
            ))
        }
        Some(_) => Err(match serde_json::from_str::<de::IgnoredAny>(text) {
            Ok(_) => RpcError::invalid_request("neither an object nor an array"),
            Err(error) => RpcError::parse(error.to_string()),
        }),
        None => Err(RpcError::parse("an empty text")),
    }
}

/// Checks whether a rejected text is JSON to its end: serde reports a duplicate member, for
/// instance, before it has read the rest.
fn ensure_json(text: &str, error: &serde_json::Error) -> Result<(), RpcError> {
    if error.classify() != Category::Data {
        return Err(RpcError::parse(error.to_string()));
    }
    match serde_json::from_str::<de::IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(RpcError::parse(error.to_string())),
    }
}

fn parse_element(raw: &RawValue) -> Incoming<'_> {
    // Serde also reads structs from arrays, by position, which JSON-RPC does not allow.
    if !raw.get().starts_with('{') {
        return invalid(Id::NULL, "a message is an object");
    }
    match serde_json::from_str::<Members<'_>>(raw.get()) {
        Ok(members) => classify(members),
        Err(error) => invalid(Id::NULL, &error.to_string()),
    }
}

fn invalid<'a>(id: Id<'a>, problem: &str) -> Incoming<'a> {
    Incoming::Invalid {
        id,
        error: RpcError::invalid_request(problem),
    }
}

fn classify(members: Members<'_>) -> Incoming<'_> {
    let id = match members.id.map(Id::from_raw) {
        None => None,
        Some(Some(id)) => Some(id),
        Some(None) => return invalid(Id::NULL, "`id` must be a string, a number or null"),
    };
    let problem = |text: &str| invalid(id.clone().unwrap_or(Id::NULL), text);
    if members.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return problem("`jsonrpc` must be \"2.0\"");
    }
    if let Some(params) = members.params
        && !matches!(params.get().as_bytes().first(), Some(b'{' | b'['))
    {
        return problem("`params` must be an object or an array");
    }
    match (members.method, members.result, members.error) {
        (Some(method), None, None) => {
            let Some(method) = string(method) else {
                return problem("`method` must be a string");
            };
            match id {
                Some(id) => Incoming::Request(Request {
                    id,
                    method,
                    params: members.params,
                }),
                None => Incoming::Notification(Notification {
                    method,
                    params: members.params,
                }),
            }
        }
        (None, Some(result), None) => match id {
            Some(id) => Incoming::Response(Response {
                id,
                // A later version may say something else there.
                seq: members.seq.and_then(|seq| seq.get().parse().ok()),
                outcome: Ok(result),
            }),
            None => problem("a response without `id`"),
        },
        (None, None, Some(error)) => match (id, serde_json::from_str::<RpcError>(error.get())) {
            (Some(id), Ok(error)) => Incoming::Response(Response {
                id,
                seq: None,
                outcome: Err(error),
            }),
            (id, _) => invalid(id.unwrap_or(Id::NULL), "a malformed error response"),
        },
        _ => problem("it must have one of `method`, `result` and `error`"),
    }
}

/// The string of a raw value, borrowed if it contains no escapes.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(raw.get()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The elements of a batch. Reading stops at the bound, so a hostile text costs no memory.
struct Batch<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Batch<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a batch")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if elements.len() == MAX_BATCH {
                        return Err(de::Error::custom(format_args!(
                            "a batch of more than {MAX_BATCH} messages"
                        )));
                    }
                    elements.push(element);
                }
                Ok(elements)
            }
        }
        deserializer.deserialize_seq(Elements).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn single(text: &str) -> Incoming<'_> {
        match parse(text.as_bytes()).unwrap() {
            Text::Single(incoming) => incoming,
            Text::Batch(_) => panic!("a batch"),
        }
    }

    #[test]
    fn the_four_kinds_are_distinguished() {
        assert!(matches!(
            single(r#"{"jsonrpc":"2.0","id":7,"method":"system.ping","params":{}}"#),
            Incoming::Request(Request { id, method, params: Some(_) })
                if id.as_u64() == Some(7) && method == "system.ping"
        ));
        assert!(matches!(
            single(r#"{"jsonrpc":"2.0","method":"session.ready"}"#),
            Incoming::Notification(Notification { params: None, .. })
        ));
        assert!(matches!(
            single(r#"{"jsonrpc":"2.0","id":"a","result":null}"#),
            Incoming::Response(Response { id, seq: None, outcome: Ok(result) })
                if id.as_json() == "\"a\"" && result.get() == "null"
        ));
        assert!(matches!(
            single(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#),
            Incoming::Response(Response { id, seq: None, outcome: Err(_) }) if id == Id::NULL
        ));
    }

    #[test]
    fn an_id_of_null_is_an_id() {
        assert!(matches!(
            single(r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#),
            Incoming::Request(Request { id, .. }) if id == Id::NULL
        ));
    }

    #[test]
    fn an_invalid_message_is_answered_with_its_id() {
        for (text, id) in [
            (r#"{"jsonrpc":"2.0","id":5,"method":1}"#, "5"),
            (r#"{"jsonrpc":"1.0","id":5,"method":"m"}"#, "5"),
            (
                r#"{"jsonrpc":"2.0","id":5,"method":"m","params":"bar"}"#,
                "5",
            ),
            (r#"{"jsonrpc":"2.0","id":5}"#, "5"),
            (r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#, "null"),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#, "null"),
        ] {
            match single(text) {
                Incoming::Invalid { id: got, error } => {
                    assert_eq!(got.as_json(), id, "{text}");
                    assert_eq!(error.code, crate::error::code::INVALID_REQUEST);
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn broken_json_and_bad_batches_are_errors_of_the_whole_text() {
        let code = |text: &str| parse(text.as_bytes()).unwrap_err().code;
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","method":"m""#),
            crate::error::code::PARSE_ERROR
        );
        assert_eq!(code(""), crate::error::code::PARSE_ERROR);
        assert_eq!(code("[]"), crate::error::code::INVALID_REQUEST);
        assert_eq!(code("7"), crate::error::code::INVALID_REQUEST);
        assert_eq!(code("[1"), crate::error::code::PARSE_ERROR);
        let long = format!("[{}1]", "1,".repeat(MAX_BATCH));
        assert_eq!(code(&long), crate::error::code::INVALID_REQUEST);
        // Rejected early, although the rest is not JSON either.
        for cut in [r#"{"id":1,"id":2"#, long.trim_end_matches(']')] {
            assert_eq!(code(cut), crate::error::code::PARSE_ERROR, "{cut:.40}");
        }
        assert!(parse(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_batch_keeps_its_good_and_bad_parts_apart() {
        let text = br#"[1, {"jsonrpc":"2.0","id":1,"method":"m"}, {"jsonrpc":"2.0","method":"n"}]"#;
        match parse(text).unwrap() {
            Text::Batch(parts) => assert!(matches!(
                parts.as_slice(),
                [
                    Incoming::Invalid { .. },
                    Incoming::Request(_),
                    Incoming::Notification(_)
                ]
            )),
            Text::Single(_) => panic!("not a batch"),
        }
    }

    #[test]
    fn an_array_in_a_batch_is_no_message() {
        let text = br#"[["2.0",1,"system.ping"],["2.0",null,"agents.list",{}]]"#;
        match parse(text).unwrap() {
            Text::Batch(parts) => {
                assert_eq!(parts.len(), 2);
                assert!(parts.iter().all(|part| matches!(
                    part,
                    Incoming::Invalid { error, .. }
                        if error.code == crate::error::code::INVALID_REQUEST
                )));
            }
            Text::Single(_) => panic!("not a batch"),
        }
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{deep}}}"#);
        assert!(matches!(single(&text), Incoming::Request(_)));
    }

    /// Messages in the usual form, and what differs from it by one piece, which may be nothing.
    fn nearly_usual() -> impl Strategy<Value = String> {
        let value = prop::sample::select(vec![
            "{}",
            "[]",
            "[1]",
            r#"{"a":"}"}"#,
            "null",
            "1",
            "\"x\"",
            "{}}",
            "{",
            "{},\"id\":2",
            " {} ",
            "{}\n",
            "",
            "01",
        ]);
        let id = prop::sample::select(vec![
            "",
            r#""id":7,"#,
            r#""id":0,"#,
            r#""id":07,"#,
            r#""id":"a","#,
            r#""id":null,"#,
            r#""id":18446744073709551616,"#,
            r#""id":1.5,"#,
            r#""id":-1,"#,
            r#""id": 7,"#,
            r#""id":,"#,
        ]);
        let name = prop::sample::select(vec!["m", "", "a\\nb", "\u{1}", "ä", "\\", "a\"b"]);
        let seq = prop::sample::select(vec![
            "",
            r#""seq":5,"#,
            r#""seq":05,"#,
            r#""seq":-5,"#,
            r#""seq":"a","#,
            r#""seq":18446744073709551616,"#,
        ]);
        let rest = prop_oneof![
            (name, value.clone())
                .prop_map(|(name, value)| format!(r#""method":"{name}","params":{value}"#)),
            (seq, value.clone()).prop_map(|(seq, value)| format!(r#"{seq}"result":{value}"#)),
            value.prop_map(|value| format!(r#""error":{value}"#)),
        ];
        (id, rest, 0..2_usize).prop_map(|(id, rest, extra)| {
            format!(r#"{{"jsonrpc":"2.0",{id}{rest}}}{}"#, "}".repeat(extra))
        })
    }

    proptest! {
        #[test]
        fn the_quick_path_reads_what_the_general_one_reads(text in nearly_usual()) {
            if let Some(quick) = usual::read(&text) {
                let quick = format!("{:?}", Ok::<_, RpcError>(Text::Single(quick)));
                prop_assert_eq!(quick, format!("{:?}", parse_any(&text)));
            }
        }
    }

    #[test]
    fn what_this_library_writes_is_usual() {
        let (mut request, mut notification, mut response, mut done) = Default::default();
        let id = Id::number(17);
        crate::rpc::write_request(&mut request, 17, "m", &crate::methods::Empty {}).unwrap();
        crate::rpc::write_notification(&mut notification, "m", &crate::methods::Empty {}).unwrap();
        crate::rpc::write_response(&mut response, &id, "null");
        crate::rpc::write_done(&mut done, &id, u64::MAX, "null");
        for text in [request, notification, response, done] {
            assert!(usual::read(std::str::from_utf8(&text).unwrap()).is_some());
        }
    }
}
