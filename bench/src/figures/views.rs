//! Latencies of a UI: first snapshot after the app starts, an intent's call, a timeline's next
//! item.

use std::{hint::black_box, sync::Arc, time::Instant};

use bowline_protocol::{AgentId, ItemId, ItemKind, PublicKey, ServerId, TimelineItem};
use bowline_runtime::{
    HostRecord, Intent, ItemList, Runtime, RuntimeConfig, TimelineView, machines::Path,
    transport::Address,
};

use crate::{
    Bench, Outcome,
    report::{Measured, Target, Unit},
    stats::{Samples, micros_since},
};

/// Hosts stored by the app.
const HOSTS: u8 = 20;
/// Items appended for one sample; enough to cover every position in the list's chunks.
const APPENDED: u64 = 1_024;

pub(crate) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let repetitions = bench.pick(100, 10);
    let folder = tempfile::tempdir()?;
    let config = RuntimeConfig::in_folder(folder.path(), "bench", "0");
    // Creates the identity that the stored hosts refer to.
    Runtime::create(&config)?.close().await;
    let hosts: Vec<HostRecord> = (0..HOSTS).map(host).collect();
    let stored = serde_json::json!({ "version": 1, "hosts": hosts });
    std::fs::write(folder.path().join("hosts.json"), stored.to_string())?;
    let (mut first, mut intent) = (Samples::default(), Samples::default());
    for _ in 0..repetitions {
        let start = Instant::now();
        let runtime = Runtime::create(&config)?;
        let shown = runtime.subscribe().borrow().hosts.len();
        first.one(micros_since(start));
        if shown != usize::from(HOSTS) {
            return Err(format!("the first snapshot has {shown} hosts").into());
        }
        runtime.close().await;
    }
    let runtime = Runtime::create(&config)?;
    let agent_id: AgentId = "agt_bench".parse()?;
    let server_id = ServerId::of_public_key(&[0; 32]);
    for n in 0..=10 * repetitions {
        let agent_id = agent_id.clone();
        let start = Instant::now();
        runtime.send(&server_id, Intent::Cancel { agent_id })?;
        // The first call opens the file.
        if n > 0 {
            intent.one(micros_since(start));
        }
        tokio::task::yield_now().await;
    }
    runtime.close().await;
    let (mut short, mut long) = (Samples::default(), Samples::default());
    for _ in 0..repetitions {
        short.one(appends(100)?);
        long.one(appends(10_000)?);
    }
    Measured::by(format!(
        "{repetitions} times each, intents ten times as often: `Runtime::create` on a folder with {HOSTS} hosts, until a snapshot contains all of them; \
         the call of `Runtime::send`, which writes a line of the outbox; {APPENDED} items appended one by one to a \
         timeline of 100 and of 10,000 items, each with a view and its diff, a sample being the mean. Not pinned"
    ))
    .goal("first snapshot from disk", Unit::Micros, &first, Target::AtMost(10_000.0))?
    .goal("an intent's call", Unit::Micros, &intent, Target::AtMost(20.0))?
    .row("an item after 100", Unit::Micros, &short)?
    .row("an item after 10,000", Unit::Micros, &long)?
    .beside("an item after 10,000", "an item after 100", (&long, &short), Some(Target::AtMost(1.2)))
}

fn host(n: u8) -> HostRecord {
    HostRecord {
        server_id: ServerId::of_public_key(&[n; 32]),
        name: format!("host {n}"),
        transport_key: PublicKey::from_bytes([n; 32]),
        psk: None,
        addresses: vec![Address {
            path: Path::Direct,
            // Nothing listens there.
            address: "127.0.0.1:1".into(),
        }],
    }
}

fn item(index: u64) -> Outcome<Arc<TimelineItem>> {
    let id: ItemId = format!("itm_{index}").parse()?;
    let mut item = TimelineItem::new(id, index, ItemKind::Output, 0);
    item.text = "a line of output, as long as they are".into();
    Ok(Arc::new(item))
}

/// Mean microseconds to append an item to a history of this length.
fn appends(history: u64) -> Outcome<f64> {
    let list: ItemList = (0..history).map(item).collect::<Outcome<_>>()?;
    let new: Vec<_> = (history..history + APPENDED)
        .map(item)
        .collect::<Outcome<_>>()?;
    let mut items = list.clone();
    let mut shown = TimelineView {
        items: items.clone(),
        ..TimelineView::default()
    };
    let start = Instant::now();
    for item in &new {
        items.push(Arc::clone(item));
        let next = TimelineView {
            rev: shown.rev + 1,
            items: items.clone(),
            ..shown.clone()
        };
        black_box(next.diff(Some(&shown)));
        shown = next;
    }
    Ok(micros_since(start) / APPENDED as f64)
}
