//! A client of the `notes` daemon: pairs from a link, shows snapshots, sends an intent, asks a
//! question.
//!
//! It opens and closes no connection. The runtime keeps the host attached and keeps what was sent
//! on disk until its outcome is known, so `add` works while the daemon is away, and happens once.
//!
//! `cargo run -p bowline-examples --bin notes-client -- FOLDER pair 'bowline://pair?…'`, then
//! `add TEXT`, `list`, `watch`.

use std::{
    env,
    error::Error,
    io::{self, Write},
};

use bowline_runtime::{
    Intent, Outcome, Runtime, RuntimeConfig,
    protocol::{Offer, ServerId},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const USAGE: &str = "usage: notes-client FOLDER pair LINK | add TEXT | list | watch";

/// What `notes.list` answers.
#[derive(Deserialize)]
struct Page {
    notes: Vec<Note>,
}

#[derive(Deserialize)]
struct Note {
    id: String,
    text: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(&arguments).await
}

async fn run(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let [folder, command @ ..] = arguments else {
        return Err(USAGE.into());
    };
    // The identity of this install, its hosts and its outbox are in the folder. Known hosts begin
    // to connect at once.
    let config = RuntimeConfig::in_folder(*folder, "notes-client", env!("CARGO_PKG_VERSION"));
    let runtime = Runtime::create(&config)?;
    let done = match command {
        ["pair", link] => pair(&runtime, link).await,
        ["add", text] => add(&runtime, text).await,
        ["list"] => list(&runtime).await,
        ["watch"] => watch(&runtime).await,
        _ => Err(USAGE.into()),
    };
    runtime.close().await;
    done
}

/// Pairing returns once the daemon has proved that it is the one of the link and has taken this
/// device.
async fn pair(runtime: &Runtime, link: &str) -> Result<(), Box<dyn Error>> {
    let offer: Offer = link.parse()?;
    let host = runtime.pair(&offer).await?;
    writeln!(io::stdout(), "paired with {}", host.name)?;
    Ok(())
}

/// The intent is on disk when `send` returns. Its outcome may take a reconnect, or a restart of
/// this program, to arrive.
async fn add(runtime: &Runtime, text: &str) -> Result<(), Box<dyn Error>> {
    let params = Map::from_iter([("text".to_owned(), json!(text))]);
    let intent = Intent::Custom {
        method: "notes.add".to_owned(),
        params,
    };
    let receipt = runtime.send(&host(runtime)?, intent)?;
    writeln!(io::stdout(), "kept {}", receipt.id)?;
    match receipt.outcome().await {
        Some(Outcome::Done { result }) => {
            let added: Note = serde_json::from_str(&result)?;
            writeln!(io::stdout(), "added {}", added.id)?;
            Ok(())
        }
        Some(Outcome::Refused { error }) => Err(error.message.into()),
        other => Err(format!("not added: {other:?}").into()),
    }
}

/// A query waits a moment for a connection and is never repeated by itself: it changes nothing, so
/// the app may ask again.
async fn list(runtime: &Runtime) -> Result<(), Box<dyn Error>> {
    let host = host(runtime)?;
    let mut after = String::new();
    loop {
        let params = json!({"after": after});
        let page: Page = runtime.query(&host, "notes.list", &params).await?;
        let Some(last) = page.notes.last() else {
            return Ok(());
        };
        after.clone_from(&last.id);
        for note in &page.notes {
            writeln!(io::stdout(), "{}", note.text)?;
        }
    }
}

/// Snapshots are whole values, newest wins: a slow reader gets fewer of them and never an old one.
async fn watch(runtime: &Runtime) -> Result<(), Box<dyn Error>> {
    let mut snapshots = runtime.subscribe();
    let mut shown = Value::Null;
    loop {
        let hosts = snapshots.borrow_and_update().hosts.clone();
        let states: Value = hosts
            .iter()
            .map(|host| json!({"name": host.name, "state": host.state, "path": host.path}))
            .collect();
        if states != shown {
            writeln!(io::stdout(), "{states}")?;
            shown = states;
        }
        snapshots.changed().await?;
    }
}

/// The daemon that this client is paired with.
fn host(runtime: &Runtime) -> Result<ServerId, Box<dyn Error>> {
    let hosts = runtime.known_hosts()?;
    let first = hosts.into_iter().next();
    Ok(first.ok_or("not paired yet")?.server_id)
}
