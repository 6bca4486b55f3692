//! Requests of clients for live data. Following and reading the first page are one turn of the
//! ledger: no job runs between them (LD-2).

use bowline_protocol::{
    error::RpcError,
    live::{LiveKind, LogPage, Scope, TablePage},
    methods::Empty,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Followed, Items, Part, Rows, Wanted, rows::Page};
use crate::ledger::{Ledger, Reader, SessionRef, core::Core};

/// Finds the scope that a client's parameters stand for, and may refuse it. Runs on the ledger's
/// thread.
pub(crate) type FindScope = Box<dyn FnOnce(&Reader<'_>) -> Result<Scope, RpcError> + Send>;

/// A page as it is answered.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Answered {
    /// Of a table; without rows of a topic.
    Rows(#[schemars(with = "TablePage")] TablePage<Box<RawValue>>),
    /// Of a log.
    Items(#[schemars(with = "LogPage")] LogPage<Box<RawValue>>),
}

/// Where a client's rows, items or events stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// The last event applied to them.
    pub(crate) seq: u64,
    /// The follow that they are of, if the client says so.
    pub(crate) follow: Option<u64>,
}

/// What clients follow scopes of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Table(Rows),
    Log(Items),
    /// A topic by its name.
    Topic(&'static str),
}

impl Source {
    pub(crate) const fn name(&self) -> Followed {
        match self {
            Self::Table(rows) => (LiveKind::Table, rows.table),
            Self::Log(items) => (LiveKind::Log, items.log),
            Self::Topic(name) => (LiveKind::Topic, name),
        }
    }
}

/// What a client wants of a scope.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A page of a table.
    Rows(Rows, Wanted, Option<u32>),
    /// A page of a log.
    Items(Items, Part, Option<u32>),
    /// The events of a topic.
    Events(&'static str),
}

impl Asked {
    const fn name(&self) -> Followed {
        match self {
            Self::Rows(rows, ..) => Source::Table(*rows).name(),
            Self::Items(items, ..) => Source::Log(*items).name(),
            Self::Events(name) => Source::Topic(name).name(),
        }
    }

    /// The answer to a client whose rows or items stand.
    fn resumed(&self, reader: &Reader<'_>, scope: Scope) -> Result<Answered, RpcError> {
        Ok(match self {
            Self::Rows(..) | Self::Events(_) => Answered::Rows(TablePage {
                resumed: true,
                ..answer(reader, scope, Page::default())
            }),
            Self::Items(items, ..) => Answered::Items(LogPage {
                resumed: true,
                ..items.resumed(reader, scope)?
            }),
        })
    }

    fn page(self, reader: &Reader<'_>, scope: Scope) -> Result<Answered, RpcError> {
        Ok(match self {
            Self::Rows(rows, wanted, limit) => {
                let page = rows.page(reader, &scope, wanted, limit)?;
                Answered::Rows(answer(reader, scope, page))
            }
            Self::Items(items, part, limit) => {
                Answered::Items(items.page(reader, scope, part, limit)?)
            }
            Self::Events(_) => Answered::Rows(answer(reader, scope, Page::default())),
        })
    }
}

fn answer(reader: &Reader<'_>, scope: Scope, page: Page) -> TablePage<Box<RawValue>> {
    TablePage {
        scope,
        rows: page.rows,
        more: page.more,
        seq: reader.seq(),
        resumed: false,
        follow: None,
    }
}

impl Answered {
    /// The answer to a client that follows from here on.
    fn of_follow(mut self, number: u64) -> Self {
        match &mut self {
            Self::Rows(page) => page.follow = Some(number),
            Self::Items(page) => page.follow = Some(number),
        }
        self
    }
}

impl Core {
    fn open_live(
        &mut self,
        session: &SessionRef,
        find: FindScope,
        asked: Asked,
        at: Option<Held>,
    ) -> Result<Answered, RpcError> {
        let reader = self.reader(Some(session));
        let scope = find(&reader)?;
        let (of, seq) = (asked.name(), reader.seq());
        if let Some(at) = at {
            if at.seq > seq {
                let at = at.seq;
                let text = format!("`seq` is {at}, and the last event of the session is {seq}");
                return Err(RpcError::invalid_params(text));
            }
            if let Some(number) = self.live.resume_follow(session.id, of, &scope, at) {
                let answered = asked.resumed(&self.reader(Some(session)), scope)?;
                return Ok(answered.of_follow(number));
            }
        }
        let answered = asked.page(&self.reader(Some(session)), scope.clone())?;
        let number = self.live.follow(session.id, of, &scope, seq)?;
        Ok(answered.of_follow(number))
    }
}

impl Ledger {
    /// Has a session follow a scope, and reads the first page of it. `at`: where the client's rows
    /// or items stand.
    ///
    /// # Errors
    /// Those of `find`; `quota_exceeded`; −32602 for an event of the future; as [`Ledger::read`].
    pub(crate) async fn open_live(
        &self,
        session: SessionRef,
        find: FindScope,
        asked: Asked,
        at: Option<Held>,
    ) -> Result<Answered, RpcError> {
        let of = session.clone();
        self.now_as(Some(session), move |core| {
            core.open_live(&of, find, asked, at)
        })
        .await
    }

    /// Reads a page of a scope.
    ///
    /// # Errors
    /// Those of `find`; −32602 for keys outside of the scope; as [`Ledger::read`].
    pub(crate) async fn page_live(
        &self,
        session: SessionRef,
        find: FindScope,
        asked: Asked,
    ) -> Result<Answered, RpcError> {
        self.read_as(Some(session), move |reader| {
            let scope = find(reader)?;
            asked.page(reader, scope)
        })
        .await
    }

    /// Ends following a scope; without one nothing changes. `number`: only if this is the follow's
    /// newest.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub(crate) async fn close_live(
        &self,
        session: SessionRef,
        of: Followed,
        scope: Scope,
        number: Option<u64>,
    ) -> Result<Empty, RpcError> {
        let id = session.id;
        self.now_as(Some(session), move |core| {
            core.live.unfollow(id, of, &scope, number);
            Ok(Empty {})
        })
        .await
    }
}
