//! Providers whose code panics: the turn is over and says so, and nothing else of the daemon
//! suffers.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_agents::{AgentsOptions, Provider, Run, Turn, TurnEnd};
use bowline_protocol::{ItemKind, ProviderInfo, model::TurnStatus};
use rusqlite::Connection;
use serde_json::json;

use crate::bench::{Bench, ends, options};
#[cfg(target_os = "linux")]
use crate::bench::{ended, printed};

/// Does what the prompt says: `verbose` (says too much at its end), `panic`, `lock` (locks the
/// store for others, then panics), or `child` (leaves a process behind, then panics); completes
/// anything else.
struct Clumsy {
    store: PathBuf,
    lock: Arc<Mutex<Option<Connection>>>,
}

impl Provider for Clumsy {
    fn run(&self, turn: Turn, mut run: Run) -> Pin<Box<dyn Future<Output = TurnEnd> + Send>> {
        let (store, lock) = (self.store.clone(), Arc::clone(&self.lock));
        assert_ne!(turn.prompt, "panic", "before there is a future");
        Box::pin(async move {
            match turn.prompt.as_str() {
                "child" => {
                    #[expect(clippy::zombie_processes, reason = "the daemon ends and collects it")]
                    let child = std::process::Command::new("sleep")
                        .arg("1000")
                        .env("BOWLINE_TURN", &turn.name)
                        .spawn()
                        .unwrap();
                    run.append(ItemKind::Message, None, &child.id().to_string())
                        .await
                        .unwrap();
                    panic!("with a child");
                }
                "lock" => {
                    let connection = Connection::open(store).unwrap();
                    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                    *lock.lock().unwrap() = Some(connection);
                    panic!("while the store cannot write");
                }
                "verbose" => TurnEnd {
                    missing: Some("\u{1b}".repeat(1 << 20)),
                    ..TurnEnd::broken("\u{1b}".repeat(1 << 20))
                },
                _ => TurnEnd {
                    status: TurnStatus::Completed,
                    ..TurnEnd::cancelled()
                },
            }
        })
    }
}

async fn bench() -> (Bench, Arc<Mutex<Option<Connection>>>) {
    let lock = Arc::new(Mutex::new(None));
    let taken = Arc::clone(&lock);
    // One place: a turn that keeps it would be seen.
    let options = AgentsOptions {
        max_runs: 1,
        ..options()
    };
    let bench = Bench::with_own(options, |store| {
        let info = ProviderInfo {
            name: "clumsy".to_owned(),
            kind: "own".to_owned(),
            title: "Clumsy".to_owned(),
        };
        let lock = taken;
        vec![(info, Arc::new(Clumsy { store, lock }) as Arc<dyn Provider>)]
    })
    .await;
    (bench, lock)
}

#[tokio::test]
async fn case_x1_what_a_provider_says_at_the_end_is_cut_and_the_turn_ends() {
    let (bench, _) = bench().await;
    let agent = bench.create("clumsy", Some("verbose")).await;
    let items = bench.turns(&agent, 1).await;
    for item in &items[1..] {
        let bytes = item.text.len();
        assert!((1_000..=16 * 1024).contains(&bytes), "{bytes}");
    }
    // Of a prompt each byte may take six.
    bench.send(&agent, &"\u{1}".repeat(65_536)).await.unwrap();
    let items = bench.turns(&agent, 2).await;
    assert_eq!(items.last().unwrap().text, "");
    assert!(items.iter().any(|item| item.text.len() == 65_536));
}

#[tokio::test]
async fn case_x1_a_turn_whose_code_panics_has_failed_and_the_next_prompt_runs() {
    let (bench, _) = bench().await;
    let agent = bench.create("clumsy", Some("panic")).await;
    let items = bench.turns(&agent, 1).await;
    assert_eq!(ends(&items), [("failed".to_owned(), None)]);
    let error = items.iter().find(|item| item.kind == ItemKind::Error);
    let text = &error.unwrap().text;
    assert!(text.contains("defect") && text.contains("log"), "{text}");
    let row = bench.row(&agent).await;
    assert_eq!(
        (&row["status"], &row["attention"]),
        (&json!("failed"), &json!("failed"))
    );
    bench.send(&agent, "well").await.unwrap();
    let items = bench.turns(&agent, 2).await;
    assert_eq!(ends(&items)[1].0, "completed");
    assert_eq!(bench.row(&agent).await["status"], "idle");
    let other = bench.create("clumsy", Some("well")).await;
    bench.turns(&other, 1).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn case_x1_the_processes_of_a_turn_whose_code_panics_are_ended() {
    let (bench, _) = bench().await;
    let agent = bench.create("clumsy", Some("child")).await;
    let items = bench.turns(&agent, 1).await;
    assert_eq!(ends(&items)[0].0, "failed");
    let message = items.iter().find(|item| item.kind == ItemKind::Message);
    let pid = message.unwrap().text.parse().unwrap();
    assert_eq!(printed(&items, "stdout"), "");
    ended(pid).await;
}

#[tokio::test]
async fn case_x1_the_failure_of_a_turn_is_recorded_once_the_store_can_write_again() {
    let (bench, lock) = bench().await;
    let agent = bench.create("clumsy", Some("lock")).await;
    bowline_testkit::eventually("it is locked", async || lock.lock().unwrap().is_some()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(ends(&bench.timeline(&agent).await).is_empty());
    drop(lock.lock().unwrap().take());
    let items = bench.turns(&agent, 1).await;
    assert_eq!(ends(&items), [("failed".to_owned(), None)]);
    bench.send(&agent, "well").await.unwrap();
    let items = bench.turns(&agent, 2).await;
    assert_eq!(ends(&items)[1].0, "completed");
}
