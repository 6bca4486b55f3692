//! A service with logs, and what a client shows of one that follows the page of the wire protocol
//! alone.

use std::collections::BTreeMap;

use bowline_daemon::{
    ledger::{Log, Reader, Tx},
    service::{Methods, Scope, Service},
};
use bowline_protocol::{Role, RpcReason, error::RpcError, limits, methods::Empty};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Items that everyone may follow.
pub(crate) const ENTRIES: Log<Entry> = Log::new("diary.entries");
/// Few of which are kept.
pub(crate) const SHORT: Log<Value> = Log::new("diary.short").keeping(5, 400).growing("body");
/// One for each device, for operators.
const OWN: Log<Value> = Log::new("diary.own");
/// Wrongly declared: its scope has many keys.
const WIDE: Log<Value> = Log::new("diary.wide");
/// Items whose type has got a large field since they were stored.
const GROWN: Log<Grown> = Log::new("diary.grown");

/// What is noted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Entry {
    pub(crate) n: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) text: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Grown {
    #[serde(default = "Grown::default_text")]
    text: String,
}

impl Grown {
    fn default_text() -> String {
        "x".repeat(300_000)
    }
}

/// `diary.add {log, n, text}` adds an entry, `diary.say {log, index, text}` lets one grow, and
/// `diary.replace` replaces it.
pub(crate) struct Diary;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Of {
    log: String,
}

#[derive(Deserialize, JsonSchema)]
struct Add {
    log: String,
    #[serde(flatten)]
    entry: Entry,
}

#[derive(Deserialize, JsonSchema)]
struct Say {
    log: String,
    index: u64,
    text: String,
}

impl Service for Diary {
    fn methods(methods: &mut Methods<Self>) {
        methods.log(&ENTRIES, |of: Of| Scope::row(&of.log));
        methods.log(&SHORT, |of: Of| Scope::row(&of.log));
        methods.log(&GROWN, |of: Of| Scope::row(&of.log));
        methods.log(&WIDE, |Empty {}| Ok(Scope::all()));
        methods.log_for(&OWN, Self::own).role(Role::Operator);
        methods.intent("diary.add", Self::add);
        methods.intent("diary.say", Self::say);
        methods.intent("diary.replace", Self::replace);
    }
}

impl Diary {
    fn own(&self, reader: &Reader<'_>, of: Of) -> Result<Scope, RpcError> {
        let device = reader.session().and_then(|session| session.device_id());
        if device.is_none_or(|device| device.as_str() != of.log) {
            let text = "only a log of one's own";
            return Err(RpcError::new(RpcReason::Forbidden, text));
        }
        Scope::row(&of.log)
    }

    fn add(&self, tx: &mut Tx<'_>, add: Add) -> Result<Value, RpcError> {
        let index = ENTRIES.append(tx, &add.log, &add.entry)?;
        Ok(json!({ "index": index }))
    }

    fn say(&self, tx: &mut Tx<'_>, say: Say) -> Result<Empty, RpcError> {
        ENTRIES.grow(tx, &say.log, say.index, &say.text)?;
        Ok(Empty {})
    }

    fn replace(&self, tx: &mut Tx<'_>, say: Say) -> Result<Empty, RpcError> {
        let (n, text) = (0, say.text);
        ENTRIES.replace(tx, &say.log, say.index, &Entry { n, text })?;
        Ok(Empty {})
    }
}

/// A log as a client shows it: the newest items, and older ones as far as it loaded them.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    key: String,
    /// Each with the event or page that said it last.
    items: BTreeMap<u64, (u64, Value)>,
    pub(crate) first: u64,
    pub(crate) next: u64,
    /// Items to fetch, of which an event was stale.
    pub(crate) stale: Vec<u64>,
}

impl Pages {
    /// What `live.open` has answered.
    pub(crate) fn opened(answer: &Value) -> Self {
        let mut pages = Self {
            key: answer["scope"].as_str().unwrap().to_owned(),
            ..Self::default()
        };
        pages.page(answer);
        pages
    }

    /// Adds a page.
    pub(crate) fn page(&mut self, answer: &Value) {
        let (seq, number) = (number(&answer["seq"]), number);
        let items = answer["items"].as_array().unwrap();
        let indexes: Vec<u64> = items.iter().map(|item| number(&item["index"])).collect();
        assert!(indexes.is_sorted(), "{indexes:?}");
        for item in items {
            self.set(seq, item);
        }
        self.bounds(answer);
    }

    fn bounds(&mut self, of: &Value) {
        self.first = self.first.max(number(&of["first"]));
        self.next = self.next.max(number(&of["next"]));
        self.items = self.items.split_off(&self.first);
    }

    fn set(&mut self, seq: u64, item: &Value) {
        let index = number(&item["index"]);
        let is_newer = |(known, _): &(u64, Value)| *known <= seq;
        if self.items.get(&index).is_none_or(is_newer) {
            self.items.insert(index, (seq, item["value"].clone()));
        }
    }

    /// Applies an event, in the order of their numbers.
    pub(crate) fn event(&mut self, seq: u64, event: &Value) {
        if event["key"] != self.key.as_str() {
            return;
        }
        assert!(event.to_string().len() <= limits::LIVE_EVENT_BYTES);
        if event["type"] == "log.appended" {
            for item in event["items"].as_array().into_iter().flatten() {
                self.set(seq, item);
            }
            self.bounds(event);
        } else if event["type"] == "log.grown" || event["type"] == "log.replaced" {
            let index = number(&event["index"]);
            let Some((known, value)) = self.items.get_mut(&index) else {
                return;
            };
            if *known >= seq {
                return;
            }
            if event["stale"] == true {
                return self.stale.push(index);
            }
            *known = seq;
            if event["type"] == "log.replaced" {
                *value = event["value"].clone();
                return;
            }
            let field = event["field"].as_str().unwrap();
            let old = value[field].as_str().unwrap_or_default();
            value[field] = json!(format!("{old}{}", event["text"].as_str().unwrap()));
        }
    }

    /// The items shown, by index.
    pub(crate) fn items(&self) -> BTreeMap<u64, Value> {
        let items = self.items.iter();
        items
            .map(|(index, (_, value))| (*index, value.clone()))
            .collect()
    }
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}
