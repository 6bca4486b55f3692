//! Restores the sessions from the store at start (INV-2, BX-4).

use std::{collections::HashMap, sync::Arc, time::Duration};

use bowline_machines::daemon::session::{Session, SessionConfig};
use bowline_protocol::DeviceId;
use rusqlite::{Connection, Result};

use super::{
    follow::Follows,
    live::{Durable, Live, LiveSession},
    lived::Lived,
    owner::Account,
    replay::{Body, ReplayLog},
    starts::Starts,
    subject::Subject,
    types::{LedgerOptions, SessionRef},
    usage::Accounts,
};
use crate::{
    rpc::content_bytes,
    store::{self, sessions::SessionRow},
};

/// The state that a ledger starts with.
pub(super) struct Restored {
    pub(super) live: Live,
    pub(super) lived: Lived,
    pub(super) starts: Starts,
}

/// Records the owner and this start in the store, and reads every session with its log and
/// subscriptions.
pub(super) fn restore(conn: &mut Connection, options: &LedgerOptions) -> Result<Restored> {
    let tx = conn.transaction()?;
    store::facts::put(&tx, store::facts::SERVER_ID, options.server_id.as_str())?;
    let lived = Lived::open(&tx, &options.clock)?;
    store::events::delete_orphans(&tx)?;
    let next_event = store::events::next_id(&tx)?;
    // Event ids used by an earlier start are not reused, even if their events are gone.
    let next_event = next_event.max(Starts::next_event(&tx)?);
    let starts = Starts::begin(&tx, next_event)?;
    tx.commit()?;
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
) -> Result<Live> {
    let accounts = Accounts::count(conn)?;
    let max_message = options.max_message_bytes as usize;
    let server_id = options.server_id.clone();
    let mut live = Live::new(
        session_config(options),
        server_id,
        max_message,
        next_event,
        accounts,
        options.quotas,
    );
    live.follows_per_session = options.follows_per_session;
    live.next_session = store::sessions::next_id(conn)?;
    let mut logs = logs(conn, content_bytes(max_message))?;
    let mut subscriptions: HashMap<i64, Vec<String>> = HashMap::new();
    for (session, topic) in store::sessions::subscriptions(conn)? {
        subscriptions.entry(session).or_default().push(topic);
    }
    let names: HashMap<DeviceId, String> = store::devices::list(conn)?
        .into_iter()
        .map(|device| (device.device_id, device.name))
        .collect();
    for row in store::sessions::all(conn)? {
        let name = names.get(&DeviceId::of_public_key(&row.device));
        let account = Account::of(&row.device, name.map_or("a device", String::as_str));
        let reference = SessionRef::new(row.id, row.key.as_str(), account);
        let log = logs.remove(&row.id);
        let topics = subscriptions.remove(&row.id).unwrap_or_default();
        let dead = &mut live.dead_events;
        let session = session(row, reference, log, topics, options, lived, dead);
        live.insert(session);
    }
    Ok(live)
}

fn session_config(options: &LedgerOptions) -> SessionConfig {
    SessionConfig {
        grace: options.session_grace,
        max_connections: u16::try_from(options.connections_per_session).unwrap_or(u16::MAX),
    }
}

fn session(
    row: SessionRow,
    reference: SessionRef,
    log: Option<ReplayLog>,
    topics: Vec<String>,
    options: &LedgerOptions,
    lived: i64,
    dead: &mut Vec<i64>,
) -> LiveSession {
    let subscriptions = topics
        .iter()
        .map(|topic| Subject::from(topic.as_str()))
        .collect();
    let mut log = log.unwrap_or_else(ReplayLog::new);
    let untrimmed = log.trim_to(options.replay_bytes, options.replay_events, dead);
    let detached_for = row.detached_at.map_or(Duration::ZERO, |at| {
        Duration::from_millis(u64::try_from(lived.saturating_sub(at)).unwrap_or(0))
    });
    LiveSession {
        reference,
        next_seq: log.next_seq(),
        links: Vec::new(),
        subscriptions,
        // Clients open again what they follow.
        follows: Follows::default(),
        durable: Some(Box::new(Durable {
            key: row.key,
            device: row.device,
            epoch: row.epoch,
            machine: Session::restored(session_config(options), options.clock.now(), detached_for),
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
    }
}

/// Reads every stored log; sessions share event bodies again.
fn logs(conn: &Connection, most: usize) -> Result<HashMap<i64, ReplayLog>> {
    let mut logs: HashMap<i64, ReplayLog> = HashMap::new();
    let mut bodies: HashMap<i64, Arc<Body>> = HashMap::new();
    store::events::load(conn, |row| {
        let log = logs
            .entry(row.session)
            // The id of the event before it is unknown; it is only certain to be lower.
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
            // The entry has no body, follows a gap, or exceeds the current message limit: nothing
            // up to here can be replayed, and a client that needs it gets `reset`.
            Some(_) | None => *log = ReplayLog::after(row.seq.saturating_add(1), row.event),
        }
    })?;
    Ok(logs)
}
