//! Bringing the sessions back from the store at the start (INV-2, BX-4).

use std::{collections::HashMap, fmt::Display, path::Path, sync::Arc, time::Duration};

use bowline_machines::session::{Session, SessionConfig};
use bowline_protocol::{Epoch, ExternalSessionKey};
use rusqlite::Connection;

use super::{
    live::{Durable, Live, LiveSession},
    lived::Lived,
    replay::{Body, ReplayLog},
    starts::Starts,
    topic::Topic,
    types::{LedgerOptions, SessionRef},
};
use crate::{
    service::content_bytes,
    store::{self, StoreError, sessions::SessionRow},
};

/// What a ledger goes on with.
pub(super) struct Restored {
    pub(super) live: Live,
    pub(super) lived: Lived,
    pub(super) starts: Starts,
}

/// Takes the store for this daemon's, notes the start, and reads every session with its log and subscriptions.
pub(super) fn restore(
    conn: &mut Connection,
    options: &LedgerOptions,
) -> Result<Restored, StoreError> {
    let failed = |error: rusqlite::Error| store::classify(&options.path, &error);
    let tx = conn.transaction().map_err(failed)?;
    store::facts::put(&tx, store::facts::SERVER_ID, options.server_id.as_str()).map_err(failed)?;
    let lived = Lived::open(&tx, &options.clock).map_err(failed)?;
    store::events::delete_orphans(&tx).map_err(failed)?;
    let next_event = store::events::next_id(&tx).map_err(failed)?;
    // Ids that an earlier start gave to events which are gone are not given again.
    let next_event = next_event.max(Starts::next_event(&tx).map_err(failed)?);
    let starts = Starts::begin(&tx, next_event).map_err(failed)?;
    tx.commit().map_err(failed)?;
    let live = sessions(conn, options, lived.now(), next_event)?;
    Ok(Restored {
        live,
        lived,
        starts,
    })
}

fn sessions(
    conn: &Connection,
    options: &LedgerOptions,
    lived: i64,
    next_event: i64,
) -> Result<Live, StoreError> {
    let failed = |error: rusqlite::Error| store::classify(&options.path, &error);
    let intents = store::intents::count(conn).map_err(failed)?;
    let config = SessionConfig {
        grace: options.session_grace,
        max_connections: u16::try_from(options.connections_per_session).unwrap_or(u16::MAX),
    };
    let max_message = options.max_message_bytes as usize;
    let server_id = options.server_id.clone();
    let mut live = Live::new(config, server_id, max_message, next_event, intents);
    live.next_session = store::sessions::next_id(conn).map_err(failed)?;
    let mut logs = logs(conn, content_bytes(max_message)).map_err(failed)?;
    let mut subscriptions: HashMap<i64, Vec<String>> = HashMap::new();
    for (session, topic) in store::sessions::subscriptions(conn).map_err(failed)? {
        subscriptions.entry(session).or_default().push(topic);
    }
    for row in store::sessions::all(conn).map_err(failed)? {
        let log = logs.remove(&row.id);
        let topics = subscriptions.remove(&row.id).unwrap_or_default();
        let dead = &mut live.dead_events;
        let session = session(row, log, topics, &config, options, lived, dead)?;
        live.insert(session);
    }
    Ok(live)
}

fn session(
    row: SessionRow,
    log: Option<ReplayLog>,
    topics: Vec<String>,
    config: &SessionConfig,
    options: &LedgerOptions,
    lived: i64,
    dead: &mut Vec<i64>,
) -> Result<LiveSession, StoreError> {
    let key: ExternalSessionKey = row.key.parse().map_err(|e| damaged(&options.path, &e))?;
    let epoch: Epoch = row.epoch.parse().map_err(|e| damaged(&options.path, &e))?;
    let subscriptions = topics.iter().map(|topic| Topic::stored(topic)).collect();
    let mut log = log.unwrap_or_else(ReplayLog::new);
    let untrimmed = log.trim_to(options.replay_bytes, options.replay_events, dead);
    let detached_for = row.detached_at.map_or(Duration::ZERO, |at| {
        Duration::from_millis(u64::try_from(lived.saturating_sub(at)).unwrap_or(0))
    });
    Ok(LiveSession {
        reference: SessionRef::new(row.id, key.as_str()),
        next_seq: log.next_seq(),
        links: Vec::new(),
        subscriptions,
        durable: Some(Box::new(Durable {
            key,
            device: row.device,
            epoch,
            machine: Session::restored(*config, options.clock.now(), detached_for),
            log,
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            detached_at: Some(row.detached_at.unwrap_or(lived)),
            attached_at: None,
            unsaved: row.detached_at.is_none(),
            untrimmed,
            pending: None,
            unsaved_topics: false,
        })),
    })
}

/// Every stored log; bodies are shared again.
fn logs(conn: &Connection, most: usize) -> rusqlite::Result<HashMap<i64, ReplayLog>> {
    let mut logs: HashMap<i64, ReplayLog> = HashMap::new();
    let mut bodies: HashMap<i64, Arc<Body>> = HashMap::new();
    store::events::load(conn, |row| {
        let log = logs
            .entry(row.session)
            // Of the event before it nothing is known but that it is older.
            .or_insert_with(|| ReplayLog::after(row.seq, row.event.saturating_sub(1)));
        match row.body {
            Some(json) if log.next_seq() == row.seq && json.len() <= most => {
                let body = bodies.entry(row.event).or_insert_with(|| {
                    Arc::new(Body {
                        event: row.event,
                        json: json.into(),
                    })
                });
                log.push(Arc::clone(body));
            }
            // Only the numbering was kept, or there is a gap, or the event is from when messages could be larger: nothing up to
            // here can be replayed, and who needs it hears `reset`.
            Some(_) | None => *log = ReplayLog::after(row.seq.saturating_add(1), row.event),
        }
    })?;
    Ok(logs)
}

fn damaged(path: &Path, error: &dyn Display) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        detail: error.to_string(),
    }
}
