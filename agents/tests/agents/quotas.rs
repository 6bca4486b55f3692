//! TR-12 of agents: how many a device may have, and how much their timelines may take.

use bowline_agents::AgentsOptions;
use bowline_protocol::RpcReason;
use serde_json::json;

use crate::{
    bench::{Bench, options},
    rig::{intent_id, is_told},
};

#[tokio::test]
async fn tr_12_the_agents_of_a_device_are_bounded() {
    let two = || AgentsOptions {
        agents_per_device: 2,
        ..options()
    };
    let bench = Bench::with(two()).await;
    let params =
        || json!({"intentId": intent_id(), "provider": "cat", "cwd": bench.rig.dir.path()});
    for _ in 0..2 {
        bench.call("agents.create", params()).await.unwrap();
    }
    let refused = bench.call("agents.create", params()).await.unwrap_err();
    let reason = RpcReason::QuotaExceeded;
    is_told(&refused, reason, &bench.app, "agents_per_device", 2);
    let again = Bench::on(bench.rig.kill(), bench.app.clone(), two()).await;
    let refused = again.call("agents.create", params()).await.unwrap_err();
    is_told(&refused, reason, &bench.app, "agents_per_device", 2);
}

#[tokio::test]
async fn tr_12_who_fills_anothers_timeline_is_refused_and_the_other_is_not() {
    let limit = 40_000;
    let mut options = options();
    options.retention.timeline_bytes_per_device = limit;
    let mut bench = Bench::with(options).await;
    let agent = bench.create("shell", None).await;
    let spare = bench.create("absent", None).await;
    // A guest lets the agent print more than its creator's share, in a turn that does not end.
    let guest = bench.rig.paired().await;
    let guest = bench.rig.attach(&guest).await.unwrap();
    let owner = std::mem::replace(&mut bench.link, guest);
    let prints = "head -c 60000 /dev/zero | tr '\\0' x; sleep 1000";
    bench.send(&agent, prints).await.unwrap();
    bench
        .until(&agent, |items| {
            items.iter().map(|it| it.text.len()).sum::<usize>() > 60_000
        })
        .await;
    for agent in [&agent, &spare] {
        let refused = bench.send(agent, "more").await.unwrap_err();
        assert_eq!(refused.reason(), Some(RpcReason::RateLimited), "{refused}");
        let quota = refused.quota().unwrap();
        assert_eq!(
            (quota.name.as_str(), quota.limit),
            ("timeline_bytes_per_device", limit)
        );
        assert_eq!(quota.whose, "the device that created the agent");
        assert_eq!(quota.device_id, None);
        assert!(refused.retry_after().is_some());
    }
    // What it does elsewhere is its own account.
    bench.create("absent", Some("elsewhere")).await;

    // The creator is not refused for that, until it holds a turn there itself.
    let guest = std::mem::replace(&mut bench.link, owner);
    bench.send(&spare, "still served").await.unwrap();
    bench.turns(&spare, 1).await;
    bench.send(&agent, "waits its turn").await.unwrap();
    let refused = bench.send(&spare, "one too many").await.unwrap_err();
    assert_eq!(refused.quota().unwrap().whose, "rig");

    // Once the turn has ended there is room for everyone.
    bench.intent("agents.cancel", &agent).await.unwrap();
    bench.turns(&agent, 2).await;
    for link in [guest, bench.rig.attach(&bench.app).await.unwrap()] {
        bench.link = link;
        bowline_testkit::eventually("there is room", async || {
            bench.send(&spare, "again").await.map(drop)
        })
        .await;
    }
}
