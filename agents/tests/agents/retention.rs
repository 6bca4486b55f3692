//! TR-12: timelines are kept within bounds of size and age. What goes is the oldest output; the
//! item stays and says how much there was.
use std::time::Duration;

use bowline_agents::{AgentsOptions, Retention};
use bowline_daemon::ledger::{LedgerOptions, Log, Table, Tx};
use bowline_protocol::{ItemKind, RpcReason, TimelineItem, methods::name::AGENTS_HISTORY};
use bowline_testkit::eventually;

use crate::{
    bench::{Bench, ends, options},
    rig::Rig,
};

/// Bytes that one turn of these tests prints.
const OUTPUT: usize = 40_000;

fn keeping(adjust: impl FnOnce(&mut Retention)) -> AgentsOptions {
    let mut options = options();
    adjust(&mut options.retention);
    options
}

async fn bench(adjust: impl FnOnce(&mut Retention)) -> Bench {
    Bench::with(keeping(adjust)).await
}

/// Lets the agent print [`OUTPUT`] bytes, and waits for the end of the turn.
async fn print(bench: &Bench, agent: &str) {
    let before = ends(&bench.timeline(agent).await).len();
    let text = format!("head -c {OUTPUT} /dev/zero | tr '\\0' x");
    bench.send(agent, &text).await.unwrap();
    bench.turns(agent, before + 1).await;
}

fn kept(items: &[TimelineItem]) -> usize {
    items.iter().map(|item| item.text.len()).sum()
}

fn dropped(items: &[TimelineItem]) -> u64 {
    items.iter().map(|item| item.dropped_bytes).sum()
}

/// Checks that dropped items are the oldest outputs, whole, and that nothing else is missing.
#[track_caller]
fn only_old_output_is_gone(items: &[TimelineItem]) {
    for (index, item) in (0_u64..).zip(items) {
        assert_eq!(item.index, index, "no gaps");
        if item.dropped_bytes > 0 {
            assert_eq!((item.kind, item.text.as_str()), (ItemKind::Output, ""));
        }
    }
    let outputs = items.iter().filter(|item| item.kind == ItemKind::Output);
    let is_gone: Vec<bool> = outputs.map(|item| item.dropped_bytes > 0).collect();
    assert!(
        is_gone.is_sorted_by(|before, after| before >= after),
        "the oldest first"
    );
    let prompts = items.iter().filter(|item| item.kind == ItemKind::User);
    assert!(prompts.clone().count() > 0 && prompts.clone().all(|item| !item.text.is_empty()));
}

#[tokio::test]
async fn tr_12_a_timeline_over_its_size_loses_its_oldest_output_and_is_marked() {
    let limit = 3 * OUTPUT;
    let mut bench = bench(|kept| kept.timeline_bytes = limit as u64).await;
    let agent = bench.create("shell", None).await;
    bench.subscribe(&agent).await;
    for _ in 0..6 {
        print(&bench, &agent).await;
    }
    eventually("it is shortened", async || {
        kept(&bench.timeline(&agent).await) <= limit
    })
    .await;
    let items = bench.timeline(&agent).await;
    only_old_output_is_gone(&items);
    assert_eq!(kept(&items) + dropped(&items) as usize, {
        let prompts = items.iter().filter(|item| item.kind == ItemKind::User);
        6 * OUTPUT + prompts.map(|item| item.text.len()).sum::<usize>()
    });
    assert!(kept(&items) > limit / 2, "no more than needed is dropped");

    // A client that follows it was told of each.
    let told: Vec<TimelineItem> = bench
        .link
        .apply()
        .into_iter()
        .filter(|(_, event)| event["type"] == "timeline.updated")
        .map(|(_, event)| serde_json::from_value(event["item"].clone()).unwrap())
        .collect();
    let gone: Vec<_> = items.iter().filter(|item| item.dropped_bytes > 0).collect();
    assert_eq!(told.iter().collect::<Vec<_>>(), gone);

    // The next daemon sees the same, and continues.
    let options = keeping(|kept| kept.timeline_bytes = limit as u64);
    let bench = Bench::on(bench.rig.kill(), bench.app.clone(), options).await;
    assert_eq!(bench.timeline(&agent).await, items);
    for _ in 0..2 {
        print(&bench, &agent).await;
    }
    eventually("it is shortened again", async || {
        kept(&bench.timeline(&agent).await) <= limit
    })
    .await;
    only_old_output_is_gone(&bench.timeline(&agent).await);
}

#[tokio::test]
async fn tr_12_old_output_is_dropped_and_prompts_stay() {
    let age = Duration::from_secs(3_600);
    let bench = bench(|kept| kept.output_age = age).await;
    let agents = [
        bench.create("shell", None).await,
        bench.create("shell", None).await,
    ];
    for agent in &agents {
        print(&bench, agent).await;
    }
    bench.rig.clock().advance(age / 2);
    print(&bench, &agents[0]).await;
    bench.rig.clock().advance(age * 3 / 4);
    for agent in &agents {
        eventually("what is old is dropped", async || {
            dropped(&bench.timeline(agent).await) == OUTPUT as u64
        })
        .await;
        only_old_output_is_gone(&bench.timeline(agent).await);
    }
    let items = bench.timeline(&agents[0]).await;
    let held = items.iter().filter(|item| item.kind == ItemKind::Output);
    let held: usize = held.map(|item| item.text.len()).sum();
    assert_eq!(held, OUTPUT, "the newer turn is kept");
}

#[tokio::test]
async fn tr_12_a_device_over_its_share_loses_its_own_oldest_output_only() {
    let limit = 3 * OUTPUT;
    let mut bench = bench(|kept| kept.timeline_bytes_per_device = limit as u64).await;
    // Another device's output is older than all of this one's.
    let quiet = bench.rig.paired().await;
    let noisy = std::mem::replace(&mut bench.link, bench.rig.attach(&quiet).await.unwrap());
    let theirs = bench.create("shell", None).await;
    print(&bench, &theirs).await;
    bench.link = noisy;
    let mut ours = Vec::new();
    for _ in 0..3 {
        let agent = bench.create("shell", None).await;
        print(&bench, &agent).await;
        print(&bench, &agent).await;
        ours.push(agent);
    }
    let total = async || {
        let mut total = 0;
        for agent in &ours {
            total += kept(&bench.timeline(agent).await);
        }
        total
    };
    eventually("its timelines are shortened", async || {
        total().await <= limit
    })
    .await;
    let newest = bench.timeline(&ours[2]).await;
    only_old_output_is_gone(&newest);
    assert!(dropped(&bench.timeline(&ours[0]).await) == 2 * OUTPUT as u64);
    assert!(kept(&newest) > OUTPUT, "the newest stays longest");
    assert_eq!(dropped(&bench.timeline(&theirs).await), 0);
}

#[tokio::test]
async fn tr_12_a_timeline_of_prompts_alone_is_bounded_too() {
    let limit = 200_000;
    let bench = bench(|kept| kept.timeline_bytes = limit as u64).await;
    let agent = bench.create("absent", None).await;
    for n in 0..10 {
        let text = format!("{n} {}", "p".repeat(50_000));
        bench.send(&agent, &text).await.unwrap();
        bench.turns(&agent, n + 1).await;
    }
    eventually("it is shortened", async || {
        kept(&bench.timeline(&agent).await) <= limit
    })
    .await;
    let items = bench.timeline(&agent).await;
    let last = items.iter().rfind(|item| item.kind == ItemKind::User);
    assert!(last.unwrap().text.starts_with("9 "), "the newest stays");
    assert_eq!(ends(&items).len(), 10, "ends of turns stay");
}

#[tokio::test]
async fn tr_12_an_agent_at_work_does_not_keep_the_texts_of_its_devices_others() {
    let limit = 200_000;
    let bench = bench(|kept| kept.timeline_bytes_per_device = limit as u64).await;
    // Nothing of it can be dropped, and it is the first that is looked at.
    let busy = bench.create("shell", Some("echo up; sleep 1000")).await;
    bench.until(&busy, |items| items.len() == 2).await;
    let agent = bench.create("absent", None).await;
    for n in 0..20 {
        let text = format!("{n} {}", "p".repeat(20_000));
        eventually("there is room again", async || {
            bench.send(&agent, &text).await.map(drop)
        })
        .await;
        bench.turns(&agent, n + 1).await;
    }
    let items = bench.timeline(&agent).await;
    assert!(kept(&items) <= limit + limit / 8, "{}", kept(&items));
    assert!(kept(&items) > limit / 2, "no more than needed is dropped");
    bench.intent("agents.cancel", &busy).await.unwrap();
    bench.turns(&busy, 1).await;
}

#[tokio::test]
async fn tr_12_a_store_near_its_limit_makes_room_by_dropping_old_output() {
    let rig = Rig::with(|options: &mut LedgerOptions| options.max_pages = Some(400));
    let app = rig.paired().await;
    let bench = Bench::on(rig, app, options()).await;
    let agent = bench.create("shell", None).await;
    // Several times what fits.
    for _ in 0..80 {
        bench.rig.clock().advance(Duration::from_secs(61));
        print(&bench, &agent).await;
    }
    assert_eq!(bench.rig.ledger.failing_since(), None);
    let items = bench.timeline(&agent).await;
    assert!(dropped(&items) > 20 * OUTPUT as u64, "{}", dropped(&items));
    only_old_output_is_gone(&items);
}

/// What the timeline counts as.
fn counted(items: &[TimelineItem]) -> usize {
    let texts = items.iter().filter(|item| !item.text.is_empty());
    texts.map(|item| 128 + item.text.len()).sum()
}

#[tokio::test]
async fn tr_12_any_number_of_items_fits_a_bound_once_their_texts_are_dropped() {
    let limit = 20_000;
    let bench = bench(|kept| kept.timeline_bytes = limit as u64).await;
    let agent = bench.create("absent", None).await;
    // The items alone take several times the bound.
    for n in 0..200 {
        bench.send(&agent, "a few words").await.unwrap();
        bench.turns(&agent, n + 1).await;
    }
    eventually("it is shortened", async || {
        counted(&bench.timeline(&agent).await) <= limit
    })
    .await;
    let items = bench.timeline(&agent).await;
    assert_eq!(items.len(), 600, "no item is missing");
    assert!(counted(&items) > limit / 2, "{}", counted(&items));
}

#[tokio::test]
async fn tr_12_a_damaged_timeline_is_set_aside_and_the_others_are_shortened() {
    const RAW: Log<serde_json::Value> = Log::new("agents.timeline").keeping_all().apart();
    let limit = 3 * OUTPUT;
    let bench = bench(|kept| kept.timeline_bytes_per_device = limit as u64).await;
    let damaged = bench.create("shell", None).await;
    print(&bench, &damaged).await;
    let key = damaged.clone();
    let damage = bench.rig.ledger.write(move |tx| {
        let output = RAW.get(tx, &key, 1)?.unwrap();
        let damaged = serde_json::json!({"kind": "unheard of", "text": output["text"]});
        RAW.replace(tx, &key, 1, &damaged)
    });
    damage.await.unwrap();
    let healthy = bench.create("shell", None).await;
    for _ in 0..6 {
        print(&bench, &healthy).await;
    }
    eventually("the other one is shortened", async || {
        kept(&bench.timeline(&healthy).await) <= 2 * OUTPUT
    })
    .await;
    only_old_output_is_gone(&bench.timeline(&healthy).await);
    let history = serde_json::json!({"agentId": damaged});
    assert!(bench.call(AGENTS_HISTORY, history).await.is_err());
}

#[tokio::test]
async fn tr_12_turns_that_end_without_having_run_make_room_too() {
    let limit = 60_000;
    let mut options = keeping(|kept| kept.timeline_bytes = limit as u64);
    options.max_runs = 1;
    let bench = Bench::with(options).await;
    let busy = bench.create("shell", Some("echo up; sleep 1000")).await;
    bench.until(&busy, |items| items.len() == 2).await;
    let waits = bench.create("absent", None).await;
    for _ in 0..5 {
        bench.send(&waits, &"p".repeat(20_000)).await.unwrap();
    }
    bench.intent("agents.archive", &waits).await.unwrap();
    eventually("the waiting agent is shortened", async || {
        counted(&bench.timeline(&waits).await) <= limit
    })
    .await;
    bench.intent("agents.cancel", &busy).await.unwrap();
    bench.turns(&busy, 1).await;
}

#[tokio::test]
async fn tr_12_damaged_rows_of_one_agent_keep_no_other_from_retention_or_the_start() {
    const BOOKS: Table<serde_json::Value> = Table::new("agents.books").apart();
    const TURNS: Table<serde_json::Value> = Table::new("agents.turns").apart();
    const ENDED: Table<serde_json::Value> = Table::new("agents.ended").apart();
    let limit = 3 * OUTPUT;
    let per_device = || keeping(|kept| kept.timeline_bytes_per_device = limit as u64);
    let bench = Bench::with(per_device()).await;
    let damaged = bench.create("shell", None).await;
    print(&bench, &damaged).await;
    let key = damaged.clone();
    let damage = bench.rig.ledger.write(move |tx| {
        let wrong = serde_json::json!({"n": "what?"});
        let ended = ENDED.page(tx, "", 1)?;
        ENDED.put(tx, &ended[0].0, &wrong)?;
        TURNS.put(tx, "0000000000000001/0000000000000009", &wrong)?;
        BOOKS.put(tx, &key, &wrong)
    });
    damage.await.unwrap();
    let bench = Bench::on(bench.rig.kill(), bench.app.clone(), per_device()).await;
    let healthy = bench.create("shell", None).await;
    for _ in 0..6 {
        print(&bench, &healthy).await;
    }
    eventually("the other one is shortened", async || {
        kept(&bench.timeline(&healthy).await) <= 2 * OUTPUT
    })
    .await;
}

#[tokio::test]
async fn tr_12_a_job_that_frees_space_does_not_use_up_the_reserve() {
    const ROWS: Table<String> = Table::new("test.rows");
    let rig = Rig::with(|options: &mut LedgerOptions| options.max_pages = Some(256));
    let mut n = 0;
    let put = async |n: u32, bytes: usize| {
        let job = move |tx: &mut Tx<'_>| ROWS.put(tx, &format!("{n:04}"), &"x".repeat(bytes));
        rig.ledger.write(job).await
    };
    while put(n, 8_000).await.is_ok() {
        n += 1;
    }
    let more = |tx: &mut Tx<'_>| ROWS.put(tx, "more", &"x".repeat(100_000));
    let refused = rig.ledger.write_freeing(more).await.unwrap_err();
    assert_eq!(refused.reason(), Some(RpcReason::StorageUnavailable));
    let less = |tx: &mut Tx<'_>| ROWS.put(tx, "0000", &"a note that it is gone".to_owned());
    rig.ledger.write_freeing(less).await.unwrap();
    put(n, 1_000).await.unwrap();
}
