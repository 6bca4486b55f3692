//! Live tables: which tables of services clients may follow, and the methods with which they do
//! (LD-2).

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use bowline_protocol::{
    Role, RpcReason,
    error::RpcError,
    limits,
    live::{CloseLive, Json, LiveKind, OpenLive, PageLive, Scope, TablePage},
    methods::{Empty, name},
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Methods, Origin, Request, Service};
use crate::{
    ledger::{Asked, FindScope, Reader, Rows, SessionRef, Table, Wanted},
    rpc::not_granted,
};

type Prepare = Arc<dyn Fn(&str) -> Result<FindScope, RpcError> + Send + Sync>;

/// A table that clients may follow.
#[derive(Clone)]
pub struct LiveTable {
    rows: Rows,
    role: Role,
    /// Reads the parameters of a client.
    prepare: Prepare,
}

impl LiveTable {
    pub(super) fn new<S, V, P>(
        service: Arc<S>,
        table: &Table<V>,
        scope: impl Fn(&S, &Reader<'_>, P) -> Result<Scope, RpcError> + Send + Sync + 'static,
    ) -> Self
    where
        S: Service,
        V: serde::Serialize + DeserializeOwned,
        P: DeserializeOwned + Send + 'static,
    {
        let scope = Arc::new(scope);
        let prepare: Prepare = Arc::new(move |params| {
            let params: P = serde_json::from_str(params)
                .map_err(|error| RpcError::invalid_params(format!("`params`: {error}")))?;
            let (scope, service) = (Arc::clone(&scope), Arc::clone(&service));
            Ok(Box::new(move |reader| scope(&service, reader, params)))
        });
        Self {
            rows: table.rows(),
            role: Role::Viewer,
            prepare,
        }
    }

    /// Its name on the wire: that of the stored table.
    pub const fn name(&self) -> &'static str {
        self.rows.table
    }

    /// The least role of a device that may follow it (TR-4).
    pub const fn least_role(&self) -> Role {
        self.role
    }

    /// Lets only devices follow it whose role is at least this one. Without it, every device may.
    pub const fn role(&mut self, least: Role) -> &mut Self {
        self.role = least;
        self
    }
}

impl std::fmt::Debug for LiveTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LiveTable({}, {})", self.name(), self.role)
    }
}

/// The tables of all services of a daemon. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveTables(Arc<RwLock<HashMap<&'static str, LiveTable>>>);

impl LiveTables {
    pub(super) fn contains(&self, name: &str) -> bool {
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tables.contains_key(name)
    }

    pub(super) fn add(&self, table: LiveTable) {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tables.insert(table.name(), table);
    }

    fn find(&self, kind: LiveKind, name: &str) -> Result<LiveTable, RpcError> {
        let LiveKind::Table = kind;
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(name).cloned().ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            RpcError::new(
                RpcReason::NotFound,
                format!("no table `{shown}` that can be followed"),
            )
        })
    }

    /// A table, and the scope that the parameters of a request stand for.
    fn wanted(
        &self,
        request: &Request,
        kind: LiveKind,
        name: &str,
        params: Option<&Json>,
    ) -> Result<(SessionRef, Rows, FindScope), RpcError> {
        let session = request.session()?.clone();
        let table = self.find(kind, name)?;
        let role = session.grant().role;
        if request.context().origin == Origin::Session && role < table.role {
            return Err(not_granted(table.name(), table.role, role));
        }
        let params = params.map_or("{}", Json::get);
        if params.len() > limits::LIVE_PARAMS_BYTES {
            return Err(RpcError::invalid_params(format!(
                "`params` has {} bytes; at most {}",
                params.len(),
                limits::LIVE_PARAMS_BYTES
            )));
        }
        Ok((session, table.rows, (table.prepare)(params)?))
    }

    async fn open(
        self: Arc<Self>,
        request: Request,
        of: OpenLive,
    ) -> Result<TablePage<Box<RawValue>>, RpcError> {
        let (session, rows, find) = self.wanted(&request, of.kind, &of.name, of.params.as_ref())?;
        let asked = Asked {
            after: of.after,
            limit: of.limit,
            seq: of.seq,
        };
        request.ledger().open_live(session, rows, find, asked).await
    }

    async fn page(
        self: Arc<Self>,
        request: Request,
        of: PageLive,
    ) -> Result<TablePage<Box<RawValue>>, RpcError> {
        let (session, rows, find) = self.wanted(&request, of.kind, &of.name, of.params.as_ref())?;
        let wanted = match (of.keys, of.after) {
            (Some(_), Some(_)) => {
                return Err(RpcError::invalid_params("either `keys` or `after`"));
            }
            (Some(keys), None) => Wanted::Keys(keys),
            (None, after) => Wanted::After(after),
        };
        let ledger = request.ledger();
        ledger
            .page_live(session, rows, find, wanted, of.limit)
            .await
    }

    /// No role is needed: whoever may not follow a table any more, does not.
    async fn close(self: Arc<Self>, request: Request, of: CloseLive) -> Result<Empty, RpcError> {
        let session = request.session()?.clone();
        let table = self.find(of.kind, &of.name)?.name();
        request.ledger().close_live(session, table, of.scope).await
    }
}

impl Service for LiveTables {
    fn methods(methods: &mut Methods<Self>) {
        methods
            .method(name::LIVE_OPEN, Self::open)
            .role(Role::Viewer);
        methods
            .method(name::LIVE_PAGE, Self::page)
            .role(Role::Viewer);
        methods
            .method(name::LIVE_CLOSE, Self::close)
            .role(Role::Viewer);
    }
}
