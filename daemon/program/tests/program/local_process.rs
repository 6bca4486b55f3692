//! The real program under many requests on one local connection: what it weighs, and that it ends
//! cleanly.
//!
//! `cargo xtask memory` runs these with a sanitizer, or under valgrind.

use serde_json::json;

use crate::{running::Running, support::local::Local};

/// Requests of mixed methods, one after the other and many at once; every answer must come.
async fn thousand(local: &mut Local) {
    let methods = [
        "system.ping",
        "system.info",
        "daemon.status",
        "agents.list",
        "connections.list",
        "no.such",
        "sessions.list",
        "providers.list",
    ];
    for n in 0..500 {
        let answer = local.call(methods[n % methods.len()], json!({})).await;
        assert!(
            answer["result"].is_object() || answer["error"]["code"] == -32601,
            "{answer}"
        );
    }
    let mut waiting = std::collections::BTreeSet::new();
    for n in 0..500 {
        waiting.insert(local.ask(methods[n % methods.len()], json!({})).await);
        if waiting.len() == 64 {
            while let Some(answer) = local.line().await {
                assert!(waiting.remove(&answer["id"].as_u64().unwrap()), "{answer}");
                if waiting.is_empty() {
                    break;
                }
            }
        }
    }
    while !waiting.is_empty() {
        let answer = local.line().await.unwrap();
        assert!(waiting.remove(&answer["id"].as_u64().unwrap()), "{answer}");
    }
}

#[tokio::test]
async fn ls_20_a_thousand_requests_of_the_program_and_a_clean_end() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start_wrapped(dir.path());
    let mut local = Local::connect_to(&running.socket()).await;
    thousand(&mut local).await;
    // Malformed ones as well, and one that is cut off.
    for line in ["{\n", "[]\n", "[1,{}]\n", "\u{1}\n"] {
        local.write(line).await;
        assert!(local.line().await.is_some());
    }
    let mut cut = Local::connect_to(&running.socket()).await;
    cut.write("{\"jsonrpc\":").await;
    drop(cut);
    let mut stays = Local::connect_to(&running.socket()).await;
    assert!(stays.is_served().await);
    drop(local);
    // A checker of memory makes the exit status say what it found.
    let status = tokio::task::spawn_blocking(move || running.terminate());
    let status = crate::support::within("its end", status).await.unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(
        stays.line().await.unwrap()["params"]["reason"],
        "server_restarting"
    );
}

/// What 100,000 requests may leave behind, in bytes: pages that the allocator keeps, 0.2 bytes a
/// request. A leak of one allocation a request would be a hundred times as much.
#[cfg(target_os = "linux")]
const LEFT_BEHIND: u64 = 256 * 1024;
/// The same with the address sanitizer, which keeps what was freed for a while. A leak of one
/// allocation a request, of 32 bytes at least there, would still be more.
#[cfg(target_os = "linux")]
const LEFT_BEHIND_INSTRUMENTED: u64 = 5 << 19;

#[cfg(target_os = "linux")]
#[tokio::test]
async fn ls_20_memory_is_flat_after_a_hundred_thousand_requests() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id()));
        let status = status.unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    };
    let mut local = Local::connect_to(&running.socket()).await;
    // Everything that is made once is made in the first tenth.
    for _ in 0..10 {
        thousand(&mut local).await;
    }
    let before = resident();
    for _ in 0..100 {
        thousand(&mut local).await;
    }
    let after = resident();
    println!("resident memory: {before} bytes, after 100,000 requests {after}");
    let most = if crate::running::is_instrumented() {
        LEFT_BEHIND_INSTRUMENTED
    } else {
        LEFT_BEHIND
    };
    assert!(after <= before + most, "from {before} to {after} bytes");
}
