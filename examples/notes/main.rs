//! A daemon of one's own: a durable list of notes, with one query, one mutation and one topic to
//! follow.
//!
//! It has every command and flag of `bowline-daemon`, in folders of its own:
//! `cargo run -p bowline-examples --bin notes -- run`. docs/services.md explains what it uses.

use std::process::ExitCode;

use bowline_daemon::{
    Program,
    ledger::{Reader, Table, Topic, Tx},
    service::{Methods, Scope, Service},
};
use bowline_protocol::{Role, RpcReason, error::RpcError, methods::Empty};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// Notes by id. The ids grow with time, so the table is in the order of writing.
const NOTES: Table<Note> = Table::new("notes.notes");
/// Notes as they are added.
const ADDED: Topic<Value> = Topic::new("notes.added");
/// What a client can make the daemon remember has a bound.
const MOST: u64 = 10_000;
/// Notes in one answer.
const PAGE: usize = 100;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Note {
    text: String,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Page {
    /// The id of the last note of the page before; empty for the first page.
    after: String,
}

struct Notes;

impl Service for Notes {
    fn methods(methods: &mut Methods<Self>) {
        methods.read("notes.list", Self::list);
        methods.intent("notes.add", Self::add).role(Role::Operator);
        // Whoever follows it gets every note, also those added while it was away for a moment.
        methods.topic(&ADDED, |_: Empty| Ok(Scope::all()));
    }
}

impl Notes {
    /// A query: reads a consistent snapshot of the store.
    fn list(&self, reader: &Reader<'_>, page: Page) -> Result<Value, RpcError> {
        let notes = NOTES.page(reader, &page.after, PAGE)?.into_iter();
        let notes: Vec<_> = notes
            .map(|(id, note)| json!({"id": id, "text": note.text}))
            .collect();
        Ok(json!({ "notes": notes }))
    }

    /// A mutation: runs once for each `intentId`, however often the request arrives. The note, the
    /// outcome and the event are committed together, before anybody hears of them.
    fn add(&self, tx: &mut Tx<'_>, note: Note) -> Result<Value, RpcError> {
        if note.text.trim().is_empty() {
            return Err(RpcError::invalid_params("an empty note"));
        }
        if NOTES.count(tx)? >= MOST {
            return Err(RpcError::new(RpcReason::Overloaded, "too many notes"));
        }
        let id = Uuid::now_v7().to_string();
        NOTES.put(tx, &id, &note)?;
        let added = json!({"id": id, "text": note.text});
        ADDED.emit(tx, &id, &added)?;
        Ok(added)
    }
}

fn main() -> ExitCode {
    let program = Program::new("notes", env!("CARGO_PKG_VERSION"));
    bowline_daemon::run(program.about("Keeps notes").service(Notes))
}
