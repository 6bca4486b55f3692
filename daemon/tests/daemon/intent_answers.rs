//! The answer to an intent says with which event of the session its effects are told.

use bowline_daemon::setup::Services;
use serde_json::{Value, json};

use crate::support::{
    TestDaemon,
    client::{Attempt, Client, paired},
    grants::intent,
    live::Board,
    local::Local,
};

async fn board() -> TestDaemon {
    TestDaemon::of(Services::none().with(Board), |_| {}).await
}

async fn follow(client: &mut Client, params: Value) {
    let open = json!({"kind": "table", "name": "board.rows", "params": params});
    let opened = client.call("live.open", open).await;
    assert!(opened["result"]["seq"].is_u64(), "{opened}");
}

#[tokio::test]
async fn ld_2_the_answer_to_an_intent_says_with_which_event_its_effects_are_told() {
    let daemon = board().await;
    let (_, mut writer) = paired(&daemon).await;
    let (_, mut client) = paired(&daemon).await;
    follow(&mut client, json!({"under": "a"})).await;
    for (n, method) in ["board.put", "board.later", "board.put"].iter().enumerate() {
        let theirs = intent(&mut writer, "board.put", json!({"rows": {"a/0": n}})).await;
        assert_eq!(theirs["error"], Value::Null, "{theirs}");
        let rows = json!({"a/1": n, "a/2": n, "b/1": n});
        let done = intent(&mut client, method, json!({"rows": rows})).await;
        assert_eq!(client.event().await["event"]["upserts"][0]["key"], "a/0");
        let event = client.event().await;
        assert_eq!(event["event"]["upserts"][1]["key"], "a/2");
        assert_eq!(done["seq"], event["seq"], "{method}: {done}");
    }
    // What the session is not told of is visible at once.
    let done = intent(&mut client, "board.put", json!({"rows": {"b/1": 7}})).await;
    assert_eq!(done["seq"], 6, "{done}");
    assert_eq!(client.next_kept_event(), None);
    let done = intent(&mut writer, "board.put", json!({"rows": {"b/1": 8}})).await;
    assert_eq!(
        done["seq"], 1,
        "the other session was told of a pairing: {done}"
    );
}

#[tokio::test]
async fn ld_2_what_changed_nothing_has_no_event_in_its_answer() {
    let daemon = board().await;
    let (_, mut client) = paired(&daemon).await;
    let rows = json!({"rows": {"x".repeat(513): 1}});
    for method in ["board.put", "board.later"] {
        let refused = intent(&mut client, method, rows.clone()).await;
        assert!(refused["error"].is_object(), "{refused}");
        assert_eq!(refused.get("seq"), None, "{refused}");
    }
    let rows = json!({"kind": "table", "name": "board.rows", "params": {}});
    let opened = client.call("live.open", rows).await;
    assert!(opened["result"]["seq"].is_u64() && opened.get("seq").is_none());
    let mut local = Local::connect(&daemon).await;
    let id = "018f3a1e-7c55-7d3a-9f10-5b7c2f9e4a11";
    let put = json!({"intentId": id, "rows": {"a": 1}});
    let done = local.call("board.put", put).await;
    assert_eq!((&done["seq"], &done["result"]), (&json!(0), &json!({})));
}

#[tokio::test]
async fn ld_2_a_stored_outcome_comes_with_the_last_event_also_after_a_reset() {
    let daemon = board().await;
    let (install, mut client) = paired(&daemon).await;
    follow(&mut client, json!({})).await;
    let id = "018f3a1e-7c55-7d3a-9f10-5b7c2f9e4a11";
    let put = json!({"intentId": id, "rows": {"a": 1}});
    assert_eq!(client.call("board.put", put.clone()).await["seq"], 1);
    for n in 2..6 {
        let done = intent(&mut client, "board.put", json!({"rows": {"b": n}})).await;
        assert_eq!(done["seq"], n);
    }
    let again = client.call("board.put", put.clone()).await;
    assert_eq!((&again["seq"], &again["result"]), (&json!(5), &json!({})));

    drop(client);
    let mut client = Attempt::new(&daemon, &install).connect().await;
    let seq = client.welcome.session.clone().unwrap().next_seq - 1;
    let again = client.call("board.put", put).await;
    assert_eq!(again["seq"], json!(seq), "a number of the new epoch");
}
