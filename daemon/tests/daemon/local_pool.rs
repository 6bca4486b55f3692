//! `runtime::local::Pool` against a real daemon: limits, waits, health checks, typed errors.

use std::{sync::Arc, time::Duration};

use bowline_protocol::{
    Reason,
    methods::{Empty, Pong, name},
};
use bowline_runtime::local::{CallError, ConnectError, Endpoint, Pool, PoolError, PoolOptions};
use bowline_testkit::eventually;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{TestDaemon, within};

fn pool(daemon: &TestDaemon, options: PoolOptions) -> Pool {
    Pool::new(Endpoint::new(daemon.daemon.socket()).unwrap(), options).unwrap()
}

fn few(max_connections: usize) -> PoolOptions {
    PoolOptions {
        max_connections,
        ..PoolOptions::default()
    }
}

/// A place for a socket that nobody else uses.
fn place(dir: &tempfile::TempDir) -> Endpoint {
    let path = dir.path().join("other.sock");
    let name = dir.path().file_name().unwrap().to_string_lossy();
    Endpoint::new(if cfg!(windows) {
        format!(r"\\.\pipe\{name}").into()
    } else {
        path
    })
    .unwrap()
}

#[tokio::test]
async fn a_crowd_shares_few_connections() {
    let daemon = TestDaemon::start().await;
    let pool = pool(&daemon, few(3));
    let mut crowd = JoinSet::new();
    for n in 0..300 {
        let pool = pool.clone();
        crowd.spawn(async move {
            let client = pool.get().await.unwrap();
            let echoed: Value = client.call("test.echo", &json!({"n": n})).await.unwrap();
            assert_eq!(echoed["n"], n);
        });
    }
    within("the crowd", crowd.join_all()).await;
    let rows = daemon.connections();
    assert!(rows.len() <= 3, "{} connections", rows.len());
    assert_eq!(rows.iter().map(|row| row.served).sum::<u64>(), 300);
    let status = pool.status();
    assert_eq!((status.free, status.waiting), (status.connections, 0));
}

#[tokio::test]
async fn over_the_limit_one_waits_and_is_told_when_none_comes_back() {
    let daemon = TestDaemon::start().await;
    let options = PoolOptions {
        wait_timeout: Duration::from_millis(50),
        ..few(1)
    };
    let impatient = pool(&daemon, options);
    let held = impatient.get().await.unwrap();
    assert!(matches!(
        impatient.get().await,
        Err(PoolError::Exhausted { max: 1, .. })
    ));
    drop(held);
    impatient.get().await.expect("it came back");

    let patient = pool(&daemon, few(1));
    let held = patient.get().await.unwrap();
    let waiting = tokio::spawn({
        let patient = patient.clone();
        async move { patient.get().await.map(drop) }
    });
    eventually("somebody waits", async || patient.status().waiting == 1).await;
    drop(held);
    within("its turn", waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_has_ended_is_replaced() {
    let daemon = TestDaemon::start().await;
    let pool = pool(&daemon, few(2));
    let client = pool.get().await.unwrap();
    let _: Pong = client.call(name::SYSTEM_PING, &Empty {}).await.unwrap();
    let observer = (*client).clone();
    drop(client);
    daemon.daemon.registry().close_all(Reason::IdleTimeout);
    let closed = within("its end", observer.ended()).await;
    assert_eq!(closed.reason, Reason::IdleTimeout);
    assert_eq!(pool.status().connections, 0, "the dead one is let go of");
    let client = pool.get().await.unwrap();
    let _: Pong = client.call(name::SYSTEM_PING, &Empty {}).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_gives_no_sign_of_life_is_replaced() {
    // Somebody who accepts and never answers.
    let dir = tempfile::tempdir().unwrap();
    let endpoint = place(&dir);
    let mut listener = endpoint.listen().unwrap();
    let mute = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok(stream) = listener.accept().await {
            kept.push(stream);
        }
    });
    let options = PoolOptions {
        check_after: Duration::ZERO,
        check_timeout: Duration::from_millis(50),
        ..few(1)
    };
    let pool = Pool::new(endpoint, options).unwrap();
    let first = (*pool.get().await.unwrap()).clone();
    let second = within("another", pool.get()).await.unwrap();
    // The first one is still at its sign of life; the second has asked nothing.
    assert_eq!((first.pending(), second.pending()), (1, 0));
    mute.abort();
}

#[tokio::test]
async fn what_cannot_be_is_typed() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = place(&dir);
    assert!(matches!(
        Pool::new(nowhere.clone(), few(0)),
        Err(PoolError::NoRoom)
    ));
    let pool = Pool::new(nowhere, few(1)).unwrap();
    match pool.get().await {
        Err(PoolError::Connect(ConnectError::NotReachable { .. })) => {}
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(pool.get().await, Err(PoolError::Connect(_)),),
        "a failure gives its place back"
    );
    pool.close();
    assert!(matches!(pool.get().await, Err(PoolError::Closed)));
}

#[tokio::test]
async fn requests_on_loan_survive_nothing_but_say_so() {
    let daemon = TestDaemon::start().await;
    let pool = Arc::new(pool(&daemon, few(1)));
    let client = pool.get().await.unwrap();
    let call = client.call::<Value>("test.never", &Empty {});
    let cut = async {
        eventually("it is pending", async || {
            daemon.connections().iter().any(|row| row.pending == 1)
        })
        .await;
        daemon.daemon.registry().close_all(Reason::ServerRestarting);
    };
    let (outcome, ()) = within("the end", async { tokio::join!(call, cut) }).await;
    match outcome {
        Err(CallError::Closed(closed)) => assert_eq!(closed.reason, Reason::ServerRestarting),
        other => panic!("{other:?}"),
    }
}
