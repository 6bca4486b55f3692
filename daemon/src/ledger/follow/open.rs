//! Requests of clients for live data. Following and reading the first page are one turn of the
//! ledger: no job runs between them (LD-2).

use bowline_protocol::{
    error::RpcError,
    live::{LiveKind, Scope, TablePage},
    methods::Empty,
};
use serde_json::value::RawValue;

use super::{Followed, Page, Rows, Wanted};
use crate::ledger::{Ledger, Reader, SessionRef, core::Core};

/// Finds the scope that a client's parameters stand for, and may refuse it. Runs on the ledger's
/// thread.
pub(crate) type FindScope = Box<dyn FnOnce(&Reader<'_>) -> Result<Scope, RpcError> + Send>;

/// A page as it is answered.
type Answered = TablePage<Box<RawValue>>;

/// What clients follow scopes of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Table(Rows),
    /// A topic by its name.
    Topic(&'static str),
}

impl Source {
    pub(crate) const fn name(&self) -> Followed {
        match self {
            Self::Table(rows) => (LiveKind::Table, rows.table),
            Self::Topic(name) => (LiveKind::Topic, name),
        }
    }
}

/// What a client opens, besides its scope.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) after: Option<String>,
    pub(crate) limit: Option<u32>,
    /// The event that the client's rows stand at.
    pub(crate) seq: Option<u64>,
}

impl Core {
    fn open_live(
        &mut self,
        session: &SessionRef,
        source: Source,
        find: FindScope,
        asked: Asked,
    ) -> Result<Answered, RpcError> {
        let reader = self.reader(Some(session));
        let scope = find(&reader)?;
        let seq = reader.seq();
        if let Some(at) = asked.seq {
            if at > seq {
                let text = format!("`seq` is {at}, and the last event of the session is {seq}");
                return Err(RpcError::invalid_params(text));
            }
            if self
                .live
                .resume_follow(session.id, source.name(), &scope, at)
            {
                return Ok(TablePage {
                    scope,
                    rows: Vec::new(),
                    more: false,
                    seq,
                    resumed: true,
                });
            }
        }
        let reader = self.reader(Some(session));
        let page = match source {
            Source::Table(rows) => {
                let wanted = Wanted::After(asked.after);
                rows.page(&reader, &scope, wanted, asked.limit)?
            }
            Source::Topic(_) if asked.after.is_some() || asked.limit.is_some() => {
                let text = "a topic has no rows: `after` and `limit` are for tables";
                return Err(RpcError::invalid_params(text));
            }
            Source::Topic(_) => Page::default(),
        };
        self.live.follow(session.id, source.name(), &scope, seq)?;
        Ok(TablePage {
            scope,
            rows: page.rows,
            more: page.more,
            seq,
            resumed: false,
        })
    }
}

impl Ledger {
    /// Has a session follow a scope, and reads the first page of it.
    ///
    /// # Errors
    /// Those of `find`; `quota_exceeded`; −32602 for a `seq` of the future; as [`Ledger::read`].
    pub(crate) async fn open_live(
        &self,
        session: SessionRef,
        source: Source,
        find: FindScope,
        asked: Asked,
    ) -> Result<Answered, RpcError> {
        let of = session.clone();
        self.now_as(Some(session), move |core| {
            core.open_live(&of, source, find, asked)
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
        rows: Rows,
        find: FindScope,
        wanted: Wanted,
        limit: Option<u32>,
    ) -> Result<Answered, RpcError> {
        self.read_as(Some(session), move |reader| {
            let scope = find(reader)?;
            let Page { rows, more } = rows.page(reader, &scope, wanted, limit)?;
            Ok(TablePage {
                scope,
                rows,
                more,
                seq: reader.seq(),
                resumed: false,
            })
        })
        .await
    }

    /// Ends following a scope; without one nothing changes.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub(crate) async fn close_live(
        &self,
        session: SessionRef,
        of: Followed,
        scope: Scope,
    ) -> Result<Empty, RpcError> {
        let id = session.id;
        self.now_as(Some(session), move |core| {
            core.live.unfollow(id, of, &scope);
            Ok(Empty {})
        })
        .await
    }
}
