//! Following the tables of a host's services (LD-2).

use std::sync::Arc;

use bowline_machines::data::tables::{Input, TableView};
use bowline_machines::data::target::LiveTarget;
use bowline_protocol::ServerId;
use serde::Serialize;

use super::Runtime;
use crate::{
    host::{Host, HostCommand},
    screen::ScreenError,
    table::{self, TableError, TableViews},
};

impl Runtime {
    /// Follows a table of a service: its first rows, then every change (LD-2). Returns at once; the
    /// first view comes through the subscription. `params`: what the service asks for, as an
    /// object.
    ///
    /// # Errors
    /// [`TableError`]; what the daemon answers is part of the views.
    pub fn subscribe_table<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<TableSubscription, TableError> {
        let target = table::target(name, params)?;
        TableSubscription::open(self.screened_host(server_id)?, target)
    }

    /// Loads the page after the last row of a subscribed table, as
    /// [`TableSubscription::load_more`].
    ///
    /// # Errors
    /// As [`Runtime::subscribe_table`]; nothing was done then.
    pub fn load_more_rows<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<(), TableError> {
        self.read_table(server_id, table::target(name, params)?, Input::LoadMore)
    }

    /// Fetches the rows of a subscribed table again, as [`TableSubscription::refresh`].
    ///
    /// # Errors
    /// As [`Runtime::subscribe_table`]; nothing was done then.
    pub fn refresh_table<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<(), TableError> {
        self.read_table(server_id, table::target(name, params)?, Input::Refresh)
    }

    fn read_table(
        &self,
        server_id: &ServerId,
        target: LiveTarget,
        input: Input,
    ) -> Result<(), TableError> {
        let host = self.screened_host(server_id)?;
        Ok(host.command(HostCommand::ReadTable(target, input))?)
    }
}

/// Views of one table, latest only: a slow reader receives fewer, and
/// [`TableView::diff`] has what changed since the view that it has. All subscriptions of one host
/// with the same name and parameters share what they follow, which ends a few seconds after the
/// last of them is dropped.
pub struct TableSubscription {
    views: TableViews,
    host: Host,
    target: LiveTarget,
}

impl TableSubscription {
    fn open(host: Host, target: LiveTarget) -> Result<Self, TableError> {
        let (views, publisher) = TableViews::new(TableError::Host(ScreenError::Gone));
        host.command(HostCommand::OpenTable {
            target: target.clone(),
            publisher,
        })?;
        Ok(Self {
            views,
            host,
            target,
        })
    }

    /// The newest view; `None` until the first, which follows at once.
    pub fn current(&self) -> Option<Arc<TableView>> {
        self.views.current()
    }

    /// Waits for a view not returned yet and returns the newest. Cancel-safe.
    ///
    /// # Errors
    /// [`TableError`] after the last view.
    pub async fn next(&mut self) -> Result<Arc<TableView>, TableError> {
        self.views.next().await
    }

    /// Loads the page after the last row; [`TableView::beyond`] shows the progress. Does nothing
    /// while one is loading, or if there is none.
    ///
    /// # Errors
    /// [`ScreenError::Busy`] or [`ScreenError::Gone`]; nothing was done then.
    pub fn load_more(&self) -> Result<(), TableError> {
        self.read(Input::LoadMore)
    }

    /// Fetches the rows again, also after a refusal.
    ///
    /// # Errors
    /// As [`TableSubscription::load_more`].
    pub fn refresh(&self) -> Result<(), TableError> {
        self.read(Input::Refresh)
    }

    fn read(&self, input: Input) -> Result<(), TableError> {
        let target = self.target.clone();
        Ok(self.host.command(HostCommand::ReadTable(target, input))?)
    }
}
