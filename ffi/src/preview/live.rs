//! Artificial tables and logs of services: by name, whatever the parameters.

use std::{collections::HashMap, sync::Arc};

use bowline_runtime::{
    self as core, LogRow, LogView, RowFailure, RowList, TableRow, TableView,
    protocol::{IntentId, error::RpcError, live::Json},
};
use tokio::sync::watch;

use super::PreviewData;
use crate::{
    error::{BowlineError, error},
    listeners::{ItemsListener, TableListener},
    records::TableState,
    sinks::{Changes, follow_values},
    slot::Slot,
    subscription::Subscription,
};

/// A row of a table that a preview shows.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PreviewRow {
    /// Its key.
    pub key: String,
    /// Its value as JSON.
    pub json: String,
    /// Whether the value is what an intent of this app is expected to make of it (LD-3).
    #[uniffi(default = false)]
    pub pending: bool,
    /// Why the daemon refused the newest intent that concerned it, if it did.
    #[uniffi(default = None)]
    pub refused: Option<String>,
}

/// The tables or logs of a preview, by name; each is made when it is first shown or followed.
pub(super) type Shown<V> = HashMap<String, watch::Sender<Arc<V>>>;

/// The newest value of that name.
fn newest<'a, V: Default>(shown: &'a mut Shown<V>, name: &str) -> &'a watch::Sender<Arc<V>> {
    shown
        .entry(name.to_owned())
        .or_insert_with(|| watch::channel(Arc::default()).0)
}

#[uniffi::export]
impl PreviewData {
    /// Changes the row of that key in a table, or adds it; all others stay. A table that had none
    /// is then `Ready`. Fails with `InvalidQuery` if the value is no JSON.
    pub fn change_row(&self, name: String, row: PreviewRow) -> Result<(), BowlineError> {
        let row = Arc::new(made_up_row(row)?);
        self.change(|lists| {
            newest(&mut lists.tables, &name).send_modify(|table| {
                let table = Arc::make_mut(table);
                table.rev += 1;
                if table.rows.is_empty() {
                    table.state = core::TableState::Ready;
                }
                table.rows.insert(row);
            });
        });
        Ok(())
    }

    /// Shows these rows of a table in place of those before, in order of key. Without a `state`, it
    /// is `Ready`, or `Empty` if there are none. Fails with `InvalidQuery` if a value is no JSON.
    #[uniffi::method(default(state = None))]
    pub fn show_table(
        &self,
        name: String,
        rows: Vec<PreviewRow>,
        state: Option<TableState>,
    ) -> Result<(), BowlineError> {
        let state = state_of(state, rows.is_empty());
        let mut list = RowList::default();
        for row in rows {
            list.insert(Arc::new(made_up_row(row)?));
        }
        self.change(|lists| {
            newest(&mut lists.tables, &name).send_modify(|table| {
                *table = Arc::new(TableView {
                    rev: table.rev + 1,
                    rows: list,
                    state,
                    ..TableView::default()
                });
            });
        });
        Ok(())
    }

    /// Shows these items of a log, as JSON, in place of those before, oldest first. Otherwise as
    /// `show_table`.
    #[uniffi::method(default(state = None))]
    pub fn show_log(
        &self,
        name: String,
        items: Vec<String>,
        state: Option<TableState>,
    ) -> Result<(), BowlineError> {
        let state = state_of(state, items.is_empty());
        let rows = (0..)
            .zip(&items)
            .map(|(index, json)| made_up_entry(index, json));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        self.change(|lists| {
            newest(&mut lists.logs, &name).send_modify(|log| {
                *log = Arc::new(LogView::of_items(log.rev + 1, rows, state));
            });
        });
        Ok(())
    }

    /// Same contract as the method of the runtime. A table that was not shown is `Loading`.
    pub fn subscribe_table(
        &self,
        name: String,
        listener: Box<dyn TableListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let slot = Slot::new(Changes::new(move |base, new| {
            listener.on_table((base, new).into())
        }))?;
        let table = self.change(|lists| newest(&mut lists.tables, &name).subscribe());
        follow_values(slot, table)
    }

    /// Same contract as the method of the runtime. A log that was not shown is `Loading`.
    pub fn subscribe_log(
        &self,
        name: String,
        listener: Box<dyn ItemsListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let slot = Slot::new(Changes::new(move |base, new| {
            listener.on_items((base, new).into())
        }))?;
        let log = self.change(|lists| newest(&mut lists.logs, &name).subscribe());
        follow_values(slot, log)
    }
}

fn state_of(state: Option<TableState>, is_empty: bool) -> core::TableState {
    match state {
        Some(TableState::Loading) => core::TableState::Loading,
        Some(TableState::Ready) => core::TableState::Ready,
        Some(TableState::Empty) => core::TableState::Empty,
        Some(TableState::Revalidating) => core::TableState::Revalidating,
        Some(TableState::Stale) => core::TableState::Stale,
        Some(TableState::Failed) => core::TableState::Failed,
        Some(TableState::Refused) => core::TableState::Refused,
        None if is_empty => core::TableState::Empty,
        None => core::TableState::Ready,
    }
}

fn made_up_row(row: PreviewRow) -> Result<TableRow, BowlineError> {
    let failure = row.refused.map(|why| {
        Arc::new(RowFailure {
            intent_id: IntentId::from_uuid(uuid::Uuid::nil()),
            error: core::IntentFailure::Refused(RpcError::invalid_params(why)),
        })
    });
    Ok(TableRow {
        value: value(&row.key, &row.json)?,
        key: row.key.into(),
        omitted_bytes: None,
        unreadable: false,
        pending: row.pending,
        failure,
    })
}

fn made_up_entry(index: u64, json: &str) -> Result<LogRow, BowlineError> {
    Ok(LogRow {
        index,
        value: Arc::new(value(&index, json)?),
        grown: None,
        omitted_bytes: None,
        unreadable: false,
        expected: None,
    })
}

fn value(of: &impl std::fmt::Display, json: &str) -> Result<Json, BowlineError> {
    serde_json::from_str(json).map_err(|problem| {
        let detail = format!("the value of {of} in a preview: {problem}");
        error!(InvalidQuery, Report, detail)
    })
}
