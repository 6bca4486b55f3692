//! LD-2: the directory and the timelines are a live table and live logs, as any service's.
use std::collections::BTreeMap;

use bowline_testkit::eventually;
use serde_json::{Value, json};

use crate::{
    bench::{Bench, options},
    prompted::{agent, daemon},
    support::{
        client::paired,
        grants::{intent, paired_with, reason},
        local::Local,
    },
};

fn open(kind: &str, name: &str, params: &Value) -> Value {
    json!({"kind": kind, "name": name, "params": params})
}

/// What a client shows of the table and of one log.
#[derive(Default)]
struct Shown {
    rows: BTreeMap<String, Value>,
    items: BTreeMap<u64, Value>,
}

impl Shown {
    fn apply(&mut self, bench: &mut Bench) {
        let empty = Vec::new();
        for (_, event) in bench.link.apply() {
            let index = event["index"].as_u64();
            match event["type"].as_str().unwrap() {
                "table.changed" if event["name"] == "agents" => {
                    for row in event["upserts"].as_array().unwrap_or(&empty) {
                        let key = row["key"].as_str().unwrap().to_owned();
                        self.rows.insert(key, row["value"].clone());
                    }
                }
                "log.appended" => {
                    for item in event["items"].as_array().unwrap_or(&empty) {
                        let index = item["index"].as_u64().unwrap();
                        self.items.insert(index, item["value"].clone());
                    }
                }
                "log.grown" => {
                    let item = self.items.get_mut(&index.unwrap()).unwrap();
                    let text = item["text"].as_str().unwrap_or_default().to_owned();
                    item["text"] = json!(text + event["text"].as_str().unwrap());
                }
                "log.replaced" => {
                    self.items.insert(index.unwrap(), event["value"].clone());
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn ld_2_a_client_follows_the_directory_and_a_timeline_as_a_table_and_a_log() {
    let mut options = options();
    options.retention.timeline_bytes = 60_000;
    let mut bench = Bench::with(options).await;
    let quiet = bench.create("shell", None).await;
    let page = bench.call("live.open", open("table", "agents", &json!({})));
    let page = page.await.unwrap();
    assert_eq!(page["scope"], "*");
    assert_eq!(page["rows"][0]["key"], *quiet);
    assert_eq!(page["rows"][0]["value"], bench.row(&quiet).await);

    let agent = bench.create("shell", None).await;
    let params = json!({"agentId": agent});
    let page = bench.call("live.open", open("log", "agents.timeline", &params));
    let page = page.await.unwrap();
    assert_eq!((&page["scope"], &page["next"]), (&json!(agent), &json!(0)));

    let mut shown = Shown::default();
    bench
        .send(&agent, "echo one; sleep 0.2; echo two")
        .await
        .unwrap();
    bench.turns(&agent, 1).await;
    eventually("it is idle", async || {
        bench.row(&agent).await["status"] == "idle"
    })
    .await;
    shown.apply(&mut bench);
    let whole = |items: &[bowline_protocol::TimelineItem]| {
        let items = items.iter().map(|item| (item.index, json!(item)));
        items.collect::<BTreeMap<u64, Value>>()
    };
    assert_eq!(shown.items, whole(&bench.timeline(&agent).await));
    assert_eq!(shown.rows[&agent], bench.row(&agent).await);

    // What is dropped is a replaced item, which says how much there was.
    for n in 1..3 {
        let prints = "head -c 40000 /dev/zero | tr '\\0' x";
        bench.send(&agent, prints).await.unwrap();
        bench.turns(&agent, n + 1).await;
    }
    eventually("old output is dropped", async || {
        let items = bench.timeline(&agent).await;
        items.iter().map(|item| item.text.len()).sum::<usize>() <= 60_000
    })
    .await;
    shown.apply(&mut bench);
    assert_eq!(shown.items, whole(&bench.timeline(&agent).await));
    let first = &shown.items[&1];
    assert_eq!(
        (&first["droppedBytes"], first.get("text")),
        (&json!(8), None)
    );

    // The same to a client that comes now.
    let page = bench.call("live.open", open("log", "agents.timeline", &params));
    let page = page.await.unwrap();
    let items = page["items"].as_array().unwrap();
    let items = items
        .iter()
        .map(|item| (item["index"].as_u64().unwrap(), item["value"].clone()));
    assert_eq!(items.collect::<BTreeMap<_, _>>(), shown.items);
    let one = open("table", "agents", &json!({"agentId": agent}));
    let page = bench.call("live.open", one).await.unwrap();
    assert_eq!(page["rows"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn ld_2_every_device_may_follow_what_it_may_list() {
    let daemon = daemon().await;
    let mut local = Local::connect(&daemon).await;
    let dir = tempfile::tempdir().unwrap();
    let (_, mut owner) = paired(&daemon).await;
    let agent = agent(&mut owner, dir.path()).await;
    let sent = json!({"agentId": agent, "text": "true"});
    assert_eq!(
        reason(&intent(&mut owner, "agents.send", sent).await),
        "none"
    );
    for grant in [
        json!({"role": "viewer"}),
        json!({"role": "operator", "providers": ["other"], "roots": ["/nowhere"]}),
    ] {
        let (_, _, mut client) = paired_with(&mut local, json!({"grant": grant})).await;
        let listed = client.call("agents.list", json!({})).await;
        assert_eq!(listed["result"]["agents"][0]["id"], agent);
        let rows = client.call("live.open", open("table", "agents", &json!({})));
        assert_eq!(rows.await["result"]["rows"][0]["key"], agent, "{grant}");
        let params = json!({"agentId": agent});
        let log = client.call("live.open", open("log", "agents.timeline", &params));
        assert_eq!(log.await["result"]["items"][0]["value"]["text"], "true");
        let params = json!({"agentId": "agt_none"});
        let none = client.call("live.open", open("log", "agents.timeline", &params));
        assert_eq!(reason(&none.await), "not_found");
    }
}
