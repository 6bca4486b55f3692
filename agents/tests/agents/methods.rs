//! The agents service as a client sees it: parameters, pages, events, errors.
use bowline_agents::{Agents, AgentsError, AgentsOptions, PromptVia, ProviderKind};
use bowline_protocol::{RpcReason, error::code};
use serde_json::json;

use crate::{
    bench::{Bench, ends, options, provider},
    rig::{Rig, intent_id},
};

/// A prompt that waits for the file `go`.
const HOLD: &str = "while [ ! -e go ]; do sleep 0.01; done";

#[tokio::test]
async fn providers_are_listed_in_their_order() {
    let bench = Bench::new().await;
    let listed = bench.call("providers.list", json!({})).await.unwrap();
    assert_eq!(
        listed["providers"][0],
        json!({"name": "shell", "kind": "command", "title": "shell"})
    );
    assert_eq!(listed["providers"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn wrongly_configured_providers_are_explicit_errors() {
    let one = || provider("x", &["true"], PromptVia::Argument);
    let mut acp = one();
    acp.kind = ProviderKind::Acp;
    let empty = provider("e", &[], PromptVia::Argument);
    for (providers, says) in [
        (vec![one(), one()], "two providers are named `x`"),
        (vec![acp], "`acp`"),
        (vec![empty], "empty `command`"),
    ] {
        let rig = Rig::new();
        let error: AgentsError = Agents::start(rig.ledger.clone(), AgentsOptions::new(providers))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn creating_says_what_is_wrong() {
    let bench = Bench::new().await;
    let cwd = bench.rig.dir.path();
    for (params, expected, says) in [
        (
            json!({"provider": "none", "cwd": cwd}),
            RpcReason::NotFound.code(),
            "no provider `none`",
        ),
        (
            json!({"provider": "shell", "cwd": "relative"}),
            code::INVALID_PARAMS,
            "absolute",
        ),
        (
            json!({"provider": "shell", "cwd": cwd.join("none")}),
            code::INVALID_PARAMS,
            "cannot be used",
        ),
        (
            json!({"provider": "shell", "cwd": cwd, "prompt": "  "}),
            code::INVALID_PARAMS,
            "`prompt` is empty",
        ),
        (
            json!({"provider": "shell", "cwd": cwd, "prompt": "x".repeat(70_000)}),
            code::INVALID_PARAMS,
            "at most",
        ),
        (
            json!({"provider": "shell", "cwd": cwd, "more": 1}),
            code::INVALID_PARAMS,
            "unknown field `more`",
        ),
        (
            json!({"provider": "shell"}),
            code::INVALID_PARAMS,
            "missing field `cwd`",
        ),
    ] {
        let mut params = params;
        params["intentId"] = json!(intent_id());
        let error = bench.call("agents.create", params).await.unwrap_err();
        assert_eq!(error.code, expected, "{error}");
        assert!(error.message.contains(says), "{error}");
    }
    let page = bench.call("agents.list", json!({})).await.unwrap();
    assert_eq!(page["agents"], json!([]));
}

#[tokio::test]
async fn bx_1_an_intent_takes_its_parameters_by_name_only() {
    let bench = Bench::new().await;
    let (create, cancel) = (intent_id(), intent_id());
    for (method, params) in [
        (
            "agents.create",
            json!([create, "shell", bench.rig.dir.path()]),
        ),
        ("agents.cancel", json!([cancel, "agt_none"])),
    ] {
        let error = bench.call(method, params).await.unwrap_err();
        assert_eq!(error.code, code::INVALID_PARAMS, "{method}: {error}");
    }
    let page = bench.call("agents.list", json!({})).await.unwrap();
    assert_eq!(page["agents"], json!([]));
}

#[tokio::test]
async fn bx_1_a_created_agent_stays_created_when_its_directory_is_gone() {
    let bench = Bench::new().await;
    let cwd = bench.rig.dir.path().join("work");
    std::fs::create_dir(&cwd).unwrap();
    let params = json!({"intentId": intent_id(), "provider": "shell", "cwd": cwd});
    let first = bench.call("agents.create", params.clone()).await.unwrap();
    std::fs::remove_dir(&cwd).unwrap();
    let again = bench.call("agents.create", params).await.unwrap();
    assert_eq!(first, again);
}

#[tokio::test]
async fn every_session_hears_of_a_new_agent_and_only_subscribers_of_its_timeline() {
    let mut bench = Bench::new().await;
    let other = bench.rig.paired().await;
    let mut other = bench.rig.attach(&other).await.unwrap();
    let agent = bench.create("shell", None).await;
    bench.subscribe(&agent).await;
    bench.send(&agent, "echo hi").await.unwrap();
    bench.turns(&agent, 1).await;
    let types = |link: &mut crate::rig::Link| -> Vec<String> {
        let mut types: Vec<_> = link
            .apply()
            .iter()
            .map(|(_, event)| event["type"].as_str().unwrap().to_owned())
            .collect();
        types.dedup();
        types
    };
    assert_eq!(types(&mut other), ["agent.updated"]);
    assert!(types(&mut bench.link).contains(&"timeline.appended".to_owned()));
    bench
        .call("agents.unsubscribe", json!({"agentId": agent}))
        .await
        .unwrap();
    bench.send(&agent, "echo more").await.unwrap();
    bench.turns(&agent, 2).await;
    assert_eq!(types(&mut bench.link), ["agent.updated"]);
}

#[tokio::test]
async fn the_directory_comes_in_pages_as_of_a_number() {
    let bench = Bench::new().await;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(bench.create("shell", None).await);
    }
    let mut seen = Vec::new();
    let mut params = json!({"limit": 3});
    let mut pages = 0;
    loop {
        let page = bench.call("agents.list", params.clone()).await.unwrap();
        pages += 1;
        assert_eq!(page["seq"], 7, "as of the seventh event");
        for row in page["agents"].as_array().unwrap() {
            seen.push(row["id"].as_str().unwrap().to_owned());
        }
        match page.get("nextCursor") {
            Some(cursor) => params["cursor"] = cursor.clone(),
            None => break,
        }
    }
    assert_eq!((seen, pages), (made, 3));
    let error = bench
        .call("agents.list", json!({"cursor": "nonsense"}))
        .await
        .unwrap_err();
    assert_eq!(error.code, code::INVALID_PARAMS);
}

#[tokio::test]
async fn history_is_paged_in_both_directions() {
    let bench = Bench::new().await;
    let agent = bench.create("shell", None).await;
    for n in 1..=4 {
        bench.send(&agent, &format!("echo {n}")).await.unwrap();
        bench.turns(&agent, n).await;
    }
    let all = bench.timeline(&agent).await;
    assert_eq!(all.len(), 12);
    let page = async |params: serde_json::Value| {
        let mut params = params;
        params["agentId"] = json!(agent);
        let page = bench.call("agents.history", params).await.unwrap();
        let indices: Vec<u64> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["index"].as_u64().unwrap())
            .collect();
        (indices, page["hasMore"].as_bool().unwrap())
    };
    assert_eq!(page(json!({"limit": 3})).await, (vec![9, 10, 11], true));
    assert_eq!(page(json!({"limit": 99})).await, ((0..12).collect(), false));
    assert_eq!(
        page(json!({"before": 3, "limit": 2})).await,
        (vec![1, 2], true)
    );
    assert_eq!(page(json!({"before": 2})).await, (vec![0, 1], false));
    assert_eq!(page(json!({"before": 0})).await, (vec![], false));
    assert_eq!(
        page(json!({"after": 2, "limit": 2})).await,
        (vec![3, 4], true)
    );
    assert_eq!(page(json!({"after": 9})).await, (vec![10, 11], false));
    assert_eq!(page(json!({"after": 11})).await, (vec![], false));
    assert_eq!(
        page(json!({"after": 2, "before": 5})).await,
        (vec![3, 4], false)
    );
}

#[tokio::test]
async fn ls_1_a_page_of_history_is_bounded_in_bytes() {
    let bench = Bench::new().await;
    // Every quote and backslash doubles in JSON.
    let script = r#"i=0; while [ $i -lt 4000 ]; do
        printf '\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\\"\n';
        i=$((i+1)); done"#;
    let agent = bench.create("shell", Some(script)).await;
    bench.turns(&agent, 1).await;
    let page = bench
        .call("agents.history", json!({"agentId": agent, "limit": 1000}))
        .await
        .unwrap();
    assert_eq!(page["hasMore"], true);
    assert!(page.to_string().len() < 300 * 1024);
    let items = bench.timeline(&agent).await;
    assert_eq!(
        crate::bench::printed(&items, "stdout").lines().count(),
        4_000
    );
}

#[tokio::test]
async fn a_missing_agent_is_not_found_by_every_method() {
    let bench = Bench::new().await;
    for method in [
        "agents.send",
        "agents.cancel",
        "agents.archive",
        "agents.history",
        "agents.subscribe",
        "agents.respond",
    ] {
        let mut params = json!({"agentId": "agt_none"});
        if !matches!(method, "agents.history" | "agents.subscribe") {
            params["intentId"] = json!(intent_id());
        }
        match method {
            "agents.send" => params["text"] = json!("x"),
            "agents.respond" => {
                params["permissionId"] = json!("prm_1");
                params["optionId"] = json!("yes");
            }
            _ => {}
        }
        let error = bench.call(method, params).await.unwrap_err();
        assert_eq!(
            error.reason(),
            Some(RpcReason::NotFound),
            "{method}: {error}"
        );
    }
}

#[tokio::test]
async fn a_command_never_asks_so_there_is_nothing_to_respond_to() {
    let bench = Bench::new().await;
    let agent = bench.create("shell", None).await;
    let params = json!({
        "intentId": intent_id(), "agentId": agent, "permissionId": "prm_1", "optionId": "yes",
    });
    let error = bench.call("agents.respond", params).await.unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::NotFound));
}

#[tokio::test]
async fn an_archived_agent_takes_no_more_and_its_queue_ends() {
    let bench = Bench::new().await;
    let agent = bench.create("shell", Some("sleep 1000")).await;
    bench.send(&agent, "echo never").await.unwrap();
    bench.until(&agent, |items| items.len() >= 2).await;
    bench.intent("agents.archive", &agent).await.unwrap();
    let items = bench.turns(&agent, 2).await;
    assert!(ends(&items).iter().all(|(status, _)| status == "cancelled"));
    assert_eq!(bench.row(&agent).await["status"], "archived");
    let error = bench.send(&agent, "echo no").await.unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::Unsupported));
    bench.intent("agents.archive", &agent).await.unwrap();
}

#[tokio::test]
async fn cancelling_an_idle_agent_changes_nothing() {
    let bench = Bench::new().await;
    let agent = bench.create("shell", None).await;
    bench.intent("agents.cancel", &agent).await.unwrap();
    assert!(bench.timeline(&agent).await.is_empty());
    assert_eq!(bench.row(&agent).await["status"], "idle");
}

#[tokio::test]
async fn an_agents_queue_is_bounded_and_goes_on_when_there_is_room() {
    let bench = Bench::new().await;
    let agent = bench.create("shell", Some(HOLD)).await;
    for _ in 1..64 {
        bench.send(&agent, "true").await.unwrap();
    }
    let over = json!({"intentId": intent_id(), "agentId": agent, "text": "echo last"});
    let error = bench.call("agents.send", over.clone()).await.unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::Overloaded));
    std::fs::write(bench.rig.dir.path().join("go"), "").unwrap();
    bench.turns(&agent, 1).await;
    bench.call("agents.send", over).await.unwrap();
    let items = bench.turns(&agent, 65).await;
    assert_eq!(crate::bench::printed(&items, "stdout"), "last\n");
}

#[tokio::test]
async fn agents_are_bounded() {
    let bench = Bench::with(AgentsOptions {
        max_agents: 2,
        ..options()
    })
    .await;
    bench.create("shell", None).await;
    bench.create("shell", None).await;
    let params = json!({
        "intentId": intent_id(), "provider": "shell", "cwd": bench.rig.dir.path(),
    });
    let error = bench.call("agents.create", params).await.unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::Overloaded));
}
