//! Following the tables and logs of a host's services (LD-2).

use std::sync::Arc;

use bowline_machines::data::{logs::LogView, tables::TableView, target::LiveTarget};
use bowline_protocol::{ServerId, live::LiveKind};
use serde::Serialize;

use super::Runtime;
use crate::{
    host::{Host, HostCommand},
    live::{self, LiveError, Read, ViewPublisher, Views},
    screen::ScreenError,
};

impl Runtime {
    /// Follows a table of a service: its first rows, then every change (LD-2). Returns at once; the
    /// first view comes through the subscription. `params`: what the service asks for, as an
    /// object.
    ///
    /// # Errors
    /// [`LiveError`]; what the daemon answers is part of the views.
    pub fn subscribe_table<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<TableSubscription, LiveError> {
        let (target, open) = (live::target(name, params)?, HostCommand::OpenTable);
        ViewSubscription::open(
            self.screened_host(server_id)?,
            LiveKind::Table,
            target,
            open,
        )
    }

    /// Follows a log of a service: its newest items, then every new one and every growth (LD-2), as
    /// [`Runtime::subscribe_table`].
    ///
    /// # Errors
    /// As [`Runtime::subscribe_table`].
    pub fn subscribe_log<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<LogSubscription, LiveError> {
        let (target, open) = (live::target(name, params)?, HostCommand::OpenLog);
        ViewSubscription::open(self.screened_host(server_id)?, LiveKind::Log, target, open)
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
    ) -> Result<(), LiveError> {
        self.read_live(LiveKind::Table, server_id, name, params, Read::More)
    }

    /// Fetches the rows of a subscribed table again, as [`ViewSubscription::refresh`].
    ///
    /// # Errors
    /// As [`Runtime::subscribe_table`]; nothing was done then.
    pub fn refresh_table<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<(), LiveError> {
        self.read_live(LiveKind::Table, server_id, name, params, Read::Refresh)
    }

    /// Loads the page before the oldest item of a subscribed log, as
    /// [`LogSubscription::load_older`].
    ///
    /// # Errors
    /// As [`Runtime::subscribe_table`]; nothing was done then.
    pub fn load_older_items<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<(), LiveError> {
        self.read_live(LiveKind::Log, server_id, name, params, Read::More)
    }

    /// Fetches the items of a subscribed log again, as [`ViewSubscription::refresh`].
    ///
    /// # Errors
    /// As [`Runtime::subscribe_table`]; nothing was done then.
    pub fn refresh_log<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<(), LiveError> {
        self.read_live(LiveKind::Log, server_id, name, params, Read::Refresh)
    }

    fn read_live<P: Serialize + ?Sized>(
        &self,
        kind: LiveKind,
        server_id: &ServerId,
        name: &str,
        params: &P,
        read: Read,
    ) -> Result<(), LiveError> {
        let target = live::target(name, params)?;
        let host = self.screened_host(server_id)?;
        Ok(host.command(HostCommand::ReadLive(kind, target, read))?)
    }
}

/// Views of one table or log, latest only: a slow reader receives fewer, and its `diff` has what
/// changed since the view that it has. All subscriptions of one host with the same name and
/// parameters share what they follow, which ends a few seconds after the last of them is dropped.
pub struct ViewSubscription<V> {
    views: Views<V>,
    host: Host,
    kind: LiveKind,
    target: LiveTarget,
}

/// Views of one table.
pub type TableSubscription = ViewSubscription<TableView>;

/// Views of one log.
pub type LogSubscription = ViewSubscription<LogView>;

impl<V> ViewSubscription<V> {
    fn open(
        host: Host,
        kind: LiveKind,
        target: LiveTarget,
        open: impl FnOnce(LiveTarget, ViewPublisher<V>) -> HostCommand,
    ) -> Result<Self, LiveError> {
        let (views, publisher) = Views::new(LiveError::Host(ScreenError::Gone));
        host.command(open(target.clone(), publisher))?;
        Ok(Self {
            views,
            host,
            kind,
            target,
        })
    }

    /// The newest view; `None` until the first, which follows at once.
    pub fn current(&self) -> Option<Arc<V>> {
        self.views.current()
    }

    /// Waits for a view not returned yet and returns the newest. Cancel-safe.
    ///
    /// # Errors
    /// [`LiveError`] after the last view.
    pub async fn next(&mut self) -> Result<Arc<V>, LiveError> {
        self.views.next().await
    }

    /// Fetches everything again, also after a refusal.
    ///
    /// # Errors
    /// [`ScreenError::Busy`] or [`ScreenError::Gone`]; nothing was done then.
    pub fn refresh(&self) -> Result<(), LiveError> {
        self.read(Read::Refresh)
    }

    fn read(&self, read: Read) -> Result<(), LiveError> {
        let target = self.target.clone();
        let command = HostCommand::ReadLive(self.kind, target, read);
        Ok(self.host.command(command)?)
    }
}

impl TableSubscription {
    /// Loads the page after the last row; [`TableView::beyond`] shows the progress. Does nothing
    /// while one is loading, or if there is none.
    ///
    /// # Errors
    /// As [`ViewSubscription::refresh`].
    pub fn load_more(&self) -> Result<(), LiveError> {
        self.read(Read::More)
    }
}

impl LogSubscription {
    /// Loads the page before the oldest item; [`LogView::older`] shows the progress. Does nothing
    /// while one is loading, or if there is none.
    ///
    /// # Errors
    /// As [`ViewSubscription::refresh`].
    pub fn load_older(&self) -> Result<(), LiveError> {
        self.read(Read::More)
    }
}
