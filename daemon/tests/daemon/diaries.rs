//! A ledger with the diary's service, and sessions on it.

use std::collections::BTreeMap;

use bowline_daemon::{
    ledger::Tx,
    service::{Context, Origin, Router},
};
use bowline_protocol::error::RpcError;
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    rig::{App, Link, Rig},
    support::diary::{Diary, ENTRIES, Entry},
};

/// A ledger with the diary's service.
pub(crate) struct Diaries {
    pub(crate) rig: Rig,
    router: Router,
}

impl Diaries {
    pub(crate) fn new() -> Self {
        Self::on(Rig::new())
    }

    pub(crate) fn on(rig: Rig) -> Self {
        let mut router = Router::new();
        router.add(Diary).unwrap();
        Self { rig, router }
    }

    pub(crate) async fn link(&self) -> (App, Link) {
        let app = self.rig.paired().await;
        let link = self.rig.attach(&app).await.unwrap();
        (app, link)
    }

    pub(crate) async fn call(
        &self,
        link: &Link,
        method: &str,
        params: Value,
    ) -> Result<Value, RpcError> {
        let context = Context {
            ledger: self.rig.ledger.clone(),
            session: Some(link.session().clone()),
            origin: Origin::Session,
            connection: 1,
            max_message_bytes: 1 << 20,
        };
        let params = to_raw_value(&params).unwrap();
        let answer = self.router.answer(method, Some(&params), &context).await?;
        Ok(serde_json::from_str(answer.get()).unwrap())
    }

    /// `live.open` of the log `a`, with more parameters.
    pub(crate) async fn open(&self, link: &Link, name: &str, more: Value) -> Value {
        self.call(link, "live.open", of(name, more)).await.unwrap()
    }

    pub(crate) async fn page(&self, link: &Link, name: &str, more: Value) -> Value {
        self.call(link, "live.page", of(name, more)).await.unwrap()
    }

    pub(crate) async fn write<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        self.rig.ledger.write(work).await
    }

    /// Adds entries with these numbers to the log `a`, each in a transaction of its own.
    pub(crate) async fn add(&self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            let index = self.write(move |tx| ENTRIES.append(tx, "a", &entry(n, "")));
            index.await.unwrap();
        }
    }

    pub(crate) async fn grow(&self, index: u64, text: String) -> Result<(), RpcError> {
        self.write(move |tx| ENTRIES.grow(tx, "a", index, &text))
            .await
    }

    /// The items of the log `a` that are kept.
    pub(crate) async fn stored(&self) -> BTreeMap<u64, Value> {
        let read = self.rig.ledger.read(|reader| {
            let mut kept = ENTRIES.bounds(reader, "a")?;
            let mut items = Vec::new();
            while !kept.is_empty() {
                items.extend(ENTRIES.range(reader, "a", kept.clone(), 10_000)?);
                kept.start = items.last().map_or(kept.end, |(index, _)| index + 1);
            }
            Ok(items)
        });
        let items = read.await.unwrap().into_iter();
        items.map(|(index, item)| (index, json!(item))).collect()
    }
}

pub(crate) fn of(name: &str, more: Value) -> Value {
    let mut of = json!({"kind": "log", "name": name, "params": {"log": "a"}});
    let more = more.as_object().unwrap().clone();
    of.as_object_mut().unwrap().extend(more);
    of
}

pub(crate) fn entry(n: u64, text: &str) -> Entry {
    let text = text.to_owned();
    Entry { n, text }
}

/// The events of logs; pairings are told as well.
pub(crate) fn told(link: &mut Link) -> Vec<(u64, Value)> {
    let mut events = link.apply();
    events.retain(|(_, event)| event["type"] != "device.paired");
    events
}

pub(crate) fn indexes(page: &Value) -> Vec<u64> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["index"].as_u64().unwrap()).collect()
}

pub(crate) const NAME: &str = "diary.entries";
