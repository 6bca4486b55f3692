//! Live data: which tables, logs and topics of services clients may follow, and the methods with
//! which they do (LD-2).

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use bowline_protocol::{
    Role, RpcReason,
    error::RpcError,
    limits,
    live::{CloseLive, Json, LiveKind, OpenLive, PageLive, Scope},
    methods::{Empty, name},
};
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::{
    Context, Methods, Origin, Request, Service, asked,
    describe::{LiveEntry, SchemaOf},
};
use crate::{
    ledger::{Answered, FindScope, Held, LiveSource, Reader, SessionRef},
    rpc::{no_session, not_granted},
};

type Prepare = Arc<dyn Fn(&str) -> Result<FindScope, RpcError> + Send + Sync>;

/// A table, log or topic that clients may follow.
#[derive(Clone)]
pub struct Followable {
    source: LiveSource,
    role: Role,
    /// Reads the parameters of a client.
    prepare: Prepare,
    /// The types of the parameters and of what is followed.
    params: SchemaOf,
    value: SchemaOf,
}

impl Followable {
    pub(super) fn new<S, V, P>(
        service: Arc<S>,
        source: LiveSource,
        scope: impl Fn(&S, &Reader<'_>, P) -> Result<Scope, RpcError> + Send + Sync + 'static,
    ) -> Self
    where
        S: Service,
        V: JsonSchema,
        P: DeserializeOwned + JsonSchema + Send + 'static,
    {
        let scope = Arc::new(scope);
        let prepare: Prepare = Arc::new(move |params| {
            let params: P = serde_json::from_str(params)
                .map_err(|error| RpcError::invalid_params(format!("`params`: {error}")))?;
            let (scope, service) = (Arc::clone(&scope), Arc::clone(&service));
            Ok(Box::new(move |reader| scope(&service, reader, params)))
        });
        Self {
            prepare,
            ..Self::described::<V, P>(source)
        }
    }

    /// One to be described, which nobody can follow.
    pub(super) fn described<V: JsonSchema, P: JsonSchema>(source: LiveSource) -> Self {
        Self {
            source,
            role: Role::Viewer,
            prepare: Arc::new(|_| Err(only_described())),
            params: SchemaGenerator::subschema_for::<P>,
            value: SchemaGenerator::subschema_for::<V>,
        }
    }

    const fn entry(&self) -> LiveEntry {
        let (kind, name) = self.source.name();
        LiveEntry {
            kind,
            name,
            role: self.role,
            params: self.params,
            value: self.value,
        }
    }

    /// Its name on the wire.
    pub const fn name(&self) -> &'static str {
        self.source.name().1
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

impl std::fmt::Debug for Followable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Followable({}, {})", self.name(), self.role)
    }
}

/// A call of what a program only describes, which is a defect.
pub(super) fn only_described() -> RpcError {
    RpcError::internal("the service was listed to be described, and does not run")
}

/// The tables, logs and topics of all services of a daemon. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveData(Arc<RwLock<HashMap<&'static str, Followable>>>);

impl LiveData {
    pub(super) fn contains(&self, name: &str) -> bool {
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tables.contains_key(name)
    }

    pub(super) fn add(&self, table: Followable) {
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tables.insert(table.name(), table);
    }

    /// How each is described, in no particular order.
    pub(super) fn entries(&self) -> Vec<LiveEntry> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.values().map(Followable::entry).collect()
    }

    fn find(&self, kind: LiveKind, name: &str) -> Result<Followable, RpcError> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = all.get(name).filter(|one| one.source.name().0 == kind);
        found.cloned().ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            let what = match kind {
                LiveKind::Table => "table",
                LiveKind::Log => "log",
                LiveKind::Topic => "topic",
            };
            RpcError::new(
                RpcReason::NotFound,
                format!("no {what} `{shown}` that can be followed"),
            )
        })
    }

    /// A table, log or topic, and the scope that the parameters of a request stand for.
    pub(crate) fn wanted(
        &self,
        context: &Context,
        kind: LiveKind,
        name: &str,
        params: Option<&Json>,
    ) -> Result<(SessionRef, LiveSource, FindScope), RpcError> {
        let session = context.session.clone().ok_or_else(no_session)?;
        let table = self.find(kind, name)?;
        let role = session.grant().role;
        if context.origin == Origin::Session && role < table.role {
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
        Ok((session, table.source, (table.prepare)(params)?))
    }

    async fn open(self: Arc<Self>, request: Request, of: OpenLive) -> Result<Answered, RpcError> {
        let (session, source, find) =
            self.wanted(request.context(), of.kind, &of.name, of.params.as_ref())?;
        let asked = asked::open(source, &of)?;
        let follow = of.follow;
        let at = of.seq.map(|seq| Held { seq, follow });
        request.ledger().open_live(session, find, asked, at).await
    }

    async fn page(self: Arc<Self>, request: Request, of: PageLive) -> Result<Answered, RpcError> {
        let (session, source, find) =
            self.wanted(request.context(), of.kind, &of.name, of.params.as_ref())?;
        let asked = asked::page(source, of)?;
        request.ledger().page_live(session, find, asked).await
    }

    /// No role is needed: whoever may not follow a table any more, does not.
    async fn close(self: Arc<Self>, request: Request, of: CloseLive) -> Result<Empty, RpcError> {
        let session = request.session()?.clone();
        let source = self.find(of.kind, &of.name)?.source.name();
        let ledger = request.ledger();
        ledger
            .close_live(session, source, of.scope, of.follow)
            .await
    }
}

impl Service for LiveData {
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
