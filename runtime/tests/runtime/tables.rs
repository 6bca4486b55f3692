//! Following a service's table: rows, states, and what is shared (LD-2).

use std::sync::Arc;

use bowline_protocol::{Reason, RpcReason, error::RpcError, methods::name};
use bowline_runtime::{
    Beyond, HostState, LiveError, ScreenError, TableState, TableSubscription, TableView,
    machines::data::load::LoadError,
};
use bowline_testkit::eventually;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    rig::{LONG, Rig, direct, is_ready, server_id},
    table::{NAME, changed},
};

fn follow(rig: &Rig) -> TableSubscription {
    let params = json!({});
    let subscribed = rig.runtime.subscribe_table(&server_id(), NAME, &params);
    subscribed.unwrap()
}

/// Waits for a view that matches.
pub(crate) async fn until(
    table: &mut TableSubscription,
    what: &str,
    is: impl Fn(&TableView) -> bool,
) -> Arc<TableView> {
    let found = async {
        loop {
            let view = table.next().await.expect("the table goes on");
            if is(&view) {
                return view;
            }
        }
    };
    match timeout(LONG, found).await {
        Ok(view) => view,
        Err(_) => panic!("{what}: {:#?}", table.current()),
    }
}

fn rows(view: &TableView) -> Vec<String> {
    let rows = view.rows.iter();
    rows.map(|row| format!("{}={}", row.key, row.value.get()))
        .collect()
}

/// Waits until these rows are current.
async fn shows(table: &mut TableSubscription, expected: &[&str]) -> Arc<TableView> {
    until(table, &format!("{expected:?}"), |view| {
        matches!(view.state, TableState::Ready | TableState::Empty) && rows(view) == expected
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn ld_2_rows_stand_over_a_cut_and_only_what_was_missed_is_sent() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.happens(changed(&[("a", 1), ("b", 1)], &[]));
    let mut table = follow(&rig);
    shows(&mut table, &["a=1", "b=1"]).await;
    rig.daemon.happens(changed(&[("c", 2)], &["a"]));
    shows(&mut table, &["b=1", "c=2"]).await;

    rig.daemon.cut("a:1", Reason::ConnectionLost);
    rig.daemon.happens(changed(&[("a", 3)], &["b"]));
    let stale = until(&mut table, "stale", |view| view.state == TableState::Stale).await;
    assert_eq!(rows(&stale), ["b=1", "c=2"], "rows stay (UX-4)");
    let view = shows(&mut table, &["a=3", "c=2"]).await;
    assert_eq!(view.diff(Some(&stale)).base_rev, Some(stale.rev));
    assert_eq!(
        rig.daemon.requests(name::LIVE_OPEN),
        2,
        "opened at each attach"
    );
    assert_eq!(rig.counters().reset, 1, "the session resumed");
}

#[tokio::test(start_paused = true)]
async fn ld_2_a_switch_of_path_costs_no_rows_and_repeats_none() {
    let rig = Rig::online(&["a:1", "b:2"]).await;
    let active = rig.until("online", is_ready).await.address.clone().unwrap();
    let other = if active == "a:1" { "b:2" } else { "a:1" };
    rig.daemon.happens(changed(&[("a", 1)], &[]));
    let mut table = follow(&rig);
    let before = shows(&mut table, &["a=1"]).await;
    rig.runtime.select_path(&server_id(), Some(direct(other)));
    rig.until("switched", |host| {
        host.state == HostState::Online && host.address.as_deref() == Some(other)
    })
    .await;
    for n in 2..=20 {
        rig.daemon.happens(changed(&[("a", n)], &[]));
    }
    let after = shows(&mut table, &["a=20"]).await;
    assert_eq!(after.diff(Some(&before)).changes.len(), 1);
    assert_eq!(rig.counters().reset, 1);
}

#[tokio::test(start_paused = true)]
async fn ld_2_after_a_reset_the_rows_are_fetched_and_the_new_numbering_counts() {
    let rig = Rig::online(&["a:1"]).await;
    let mut table = follow(&rig);
    shows(&mut table, &[]).await;
    rig.daemon.happens(changed(&[("a", 1), ("b", 1)], &[]));
    shows(&mut table, &["a=1", "b=1"]).await;
    {
        let mut state = rig.daemon.state();
        state.forget_session();
        state.table.rows.remove("a");
    }
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    shows(&mut table, &["b=1"]).await;
    rig.daemon.happens(changed(&[("c", 2)], &[]));
    shows(&mut table, &["b=1", "c=2"]).await;
}

#[tokio::test(start_paused = true)]
async fn ld_2_a_refusal_is_typed_and_a_refresh_asks_again() {
    let rig = Rig::online(&["a:1"]).await;
    let error = RpcError::new(RpcReason::NotGranted, "for owners");
    rig.daemon.state().errors.insert(name::LIVE_OPEN, error);
    let mut table = follow(&rig);
    let view = until(&mut table, "refused", |view| {
        view.state == TableState::Refused
    })
    .await;
    let refused = LoadError::Rejected(RpcReason::NotGranted);
    assert_eq!(view.error, Some(refused));
    rig.daemon.state().errors.clear();
    table.refresh().unwrap();
    until(&mut table, "empty", |view| view.state == TableState::Empty).await;
}

#[tokio::test(start_paused = true)]
async fn ld_2_more_rows_are_loaded_on_request() {
    let rig = Rig::online(&["a:1"]).await;
    let all: Vec<String> = (0..450).map(|n| format!("{n:03}")).collect();
    for key in &all {
        rig.daemon.happens(changed(&[(key, 1)], &[]));
    }
    let mut table = follow(&rig);
    for count in [200, 400, 450] {
        let view = until(&mut table, "more rows", |view| view.rows.len() == count).await;
        assert_eq!(view.state, TableState::Ready);
        let has_more = count < 450;
        assert_eq!(view.beyond == Beyond::More, has_more, "{count}");
        table.load_more().unwrap();
    }
    // A row after the window would leave a gap; one inside is shown.
    rig.daemon.happens(changed(&[("100a", 1)], &["000"]));
    let view = until(&mut table, "changed", |view| {
        &*view.rows.first().unwrap().key == "001"
    })
    .await;
    assert_eq!(view.rows.len(), 450);
}

#[tokio::test(start_paused = true)]
async fn ld_2_subscribers_share_a_follow_that_ends_after_the_last_of_them() {
    let rig = Rig::online(&["a:1"]).await;
    let (mut one, mut other) = (follow(&rig), follow(&rig));
    shows(&mut one, &[]).await;
    shows(&mut other, &[]).await;
    assert_eq!(rig.daemon.requests(name::LIVE_OPEN), 1);
    drop(one);
    rig.daemon.happens(changed(&[("a", 1)], &[]));
    shows(&mut other, &["a=1"]).await;
    assert_eq!(rig.daemon.requests(name::LIVE_CLOSE), 0);
    drop(other);
    eventually("closed", async || {
        rig.daemon.requests(name::LIVE_CLOSE) == 1
    })
    .await;
    let mut again = follow(&rig);
    shows(&mut again, &["a=1"]).await;
    assert_eq!(rig.daemon.requests(name::LIVE_OPEN), 2);
}

#[tokio::test(start_paused = true)]
async fn ld_2_what_cannot_be_followed_is_refused_before_anything_is_sent() {
    let rig = Rig::online(&["a:1"]).await;
    let subscribe = |name: &str, params: serde_json::Value| {
        rig.runtime
            .subscribe_table(&server_id(), name, &params)
            .map(drop)
    };
    let invalid = subscribe("No Name", json!({}));
    assert!(matches!(invalid, Err(LiveError::Invalid(_))));
    let invalid = subscribe(NAME, json!({"of": "x".repeat(5_000)}));
    assert!(matches!(invalid, Err(LiveError::Invalid(_))));
    let tables: Vec<_> = (0..64)
        .map(|n| {
            let params = json!({"of": n});
            rig.runtime.subscribe_table(&server_id(), NAME, &params)
        })
        .collect();
    let mut over = follow(&rig);
    let ended = timeout(LONG, over.next()).await.unwrap();
    assert_eq!(ended, Err(LiveError::Host(ScreenError::TooMany(64))));
    drop(tables);
    rig.runtime.close().await;
    let closed = subscribe(NAME, json!({}));
    assert_eq!(closed, Err(LiveError::Host(ScreenError::Closed)));
}
