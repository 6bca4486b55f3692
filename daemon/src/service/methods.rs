//! The list of a service's methods: converts typed functions to uniform handlers.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use bowline_protocol::{Role, error::RpcError, live::Scope};
use futures_util::FutureExt;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    Cancellation, Context, Request, Service,
    describe::{Kind, MethodEntry, Types},
    hooks::Hook,
    live::{self, Followable},
    params,
    request::Told,
};
use crate::{
    ledger::{LiveSource, Log, Reader, Table, Topic, Tx, guarded, panicked},
    rpc::{Done, MethodStats, Reply, ReplyFuture, answer, no_session, reply},
};

/// One call with unparsed parameters.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) params: Option<&'a RawValue>,
    pub(crate) context: &'a Context,
    /// The bytes that the request carries; only for methods that take them.
    pub(crate) bytes: Option<&'a [u8]>,
}

/// The state of a call after its handler returned.
pub(crate) enum Started {
    /// Done.
    Answered(Reply),
    /// A future to wait for.
    Running(ReplyFuture),
}

type Handler = Box<dyn Fn(Call<'_>) -> Started + Send + Sync>;

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Sessions, the local socket and probes (INV-8: only `system.ping`).
    Probes,
    /// Sessions and the local socket: the default.
    Sessions,
    /// The local socket: programs of the daemon's user.
    Local,
    /// The local socket, but no program that a service has started, such as an agent's (TR-7).
    Owner,
}

/// One method of a service.
pub struct Method {
    name: &'static str,
    access: Access,
    role: Role,
    takes_bytes: bool,
    types: Types,
    handler: Handler,
    stats: Arc<MethodStats>,
}

impl Method {
    /// Its name on the wire.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Who may call it.
    pub const fn access(&self) -> Access {
        self.access
    }

    /// The least role of a device that may call it (TR-4).
    pub const fn least_role(&self) -> Role {
        self.role
    }

    /// Lets every device call it whose role is at least this one. Without it, methods that read
    /// ([`Methods::now`], [`Methods::read`]) are for [`Role::Viewer`], and all others for
    /// [`Role::Owner`].
    pub const fn role(&mut self, least: Role) -> &mut Self {
        self.role = least;
        self
    }

    /// Counts of its requests.
    pub const fn stats(&self) -> &Arc<MethodStats> {
        &self.stats
    }

    /// Restricts it to the local socket: remote clients get `forbidden`.
    pub const fn local_only(&mut self) {
        self.access = Access::Local;
    }

    /// Restricts it to the daemon's owner: remote clients, and programs that a service has started
    /// ([`Service::has_started`]; those of agents), get `forbidden`. The latter are recognised as
    /// far as the system allows (`docs/commands.md`).
    pub const fn owner_only(&mut self) {
        self.access = Access::Owner;
    }

    /// Lets requests carry bytes (LD-8).
    pub(crate) const fn taking_bytes(&mut self) -> &mut Self {
        self.takes_bytes = true;
        self
    }

    /// Whether requests may carry bytes.
    pub(crate) const fn takes_bytes(&self) -> bool {
        self.takes_bytes
    }

    pub(crate) const fn for_probes(&mut self) {
        self.access = Access::Probes;
    }

    /// How it is described.
    pub(super) const fn entry(&self) -> MethodEntry {
        MethodEntry {
            name: self.name,
            access: self.access,
            role: self.role,
            types: self.types,
        }
    }

    pub(crate) fn start(&self, call: Call<'_>) -> Started {
        (self.handler)(call)
    }
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Method({}, {:?}, {})", self.name, self.access, self.role)
    }
}

/// Takes the methods of a service. Each kind of method is a function with typed parameters `P` (any
/// `Deserialize`; [`bowline_protocol::methods::Empty`] for none) and a typed result `R` (any
/// `Serialize`). Both have a JSON Schema, so that the daemon describes them (LD-7).
///
/// | kind | runs | for |
/// |---|---|---|
/// | [`now`](Self::now) | at once, on the connection's task | what is in memory |
/// | [`read`](Self::read) | on the ledger's thread, on a consistent snapshot | what is stored |
/// | [`intent`](Self::intent) | there, exactly once per `intentId` | every change a client requests |
/// | [`write`](Self::write) | there, every time | changes that may safely repeat |
/// | [`method`](Self::method) | as a concurrent future | waiting: programs, files, networks |
///
/// Devices have roles (TR-4). `now` and `read` are for every device; the others change things and
/// are for devices with the role `owner` unless [`Method::role`] says otherwise.
pub struct Methods<S> {
    /// None while a program only describes what the service would offer: nothing is called then.
    service: Option<Arc<S>>,
    list: Vec<Method>,
    live: Vec<Followable>,
}

/// What a service offers.
pub(crate) struct Offered {
    pub(crate) methods: Vec<Method>,
    pub(crate) live: Vec<Followable>,
    /// None while it is only described.
    pub(crate) hook: Option<Arc<dyn Hook>>,
}

impl<S: Service> Methods<S> {
    /// What a service lists.
    pub(crate) fn of(service: S) -> Offered {
        Self::listed(Some(Arc::new(service)))
    }

    /// What a service would list, to be described: nothing of it can be called.
    pub(crate) fn described() -> Offered {
        Self::listed(None)
    }

    fn listed(service: Option<Arc<S>>) -> Offered {
        let mut methods = Self {
            service,
            list: Vec::new(),
            live: Vec::new(),
        };
        S::methods(&mut methods);
        Offered {
            methods: methods.list,
            live: methods.live,
            hook: methods.service.map(|service| service as Arc<dyn Hook>),
        }
    }

    /// A table whose rows clients may follow (LD-2), under its name. `scope` says which keys the
    /// parameters of a client stand for; every device may see those rows, unless
    /// [`Followable::role`] says otherwise.
    pub fn table<V, P>(
        &mut self,
        table: &Table<V>,
        scope: impl Fn(P) -> Result<Scope, RpcError> + Send + Sync + 'static,
    ) -> &mut Followable
    where
        V: Serialize + DeserializeOwned + JsonSchema,
        P: DeserializeOwned + JsonSchema + Send + 'static,
    {
        self.table_for(table, move |_, _, params| scope(params))
    }

    /// As [`Methods::table`], for a `scope` that depends on who asks ([`Reader::session`],
    /// [`Reader::grant`]) or on what is stored. It may refuse, with any error. It runs when a
    /// client opens or loads rows, and must be short: see [`Methods::read`].
    pub fn table_for<V, P>(
        &mut self,
        table: &Table<V>,
        scope: impl Fn(&S, &Reader<'_>, P) -> Result<Scope, RpcError> + Send + Sync + 'static,
    ) -> &mut Followable
    where
        V: Serialize + DeserializeOwned + JsonSchema,
        P: DeserializeOwned + JsonSchema + Send + 'static,
    {
        self.follow::<V, P>(LiveSource::Table(table.rows()), scope)
    }

    /// A log whose items clients may follow (LD-2), under its name. `scope` says which log the
    /// parameters of a client stand for, by its key ([`Scope::row`]); a scope of many keys is a
    /// defect of the service (−32603). Every device may see that log, unless
    /// [`Followable::role`] says otherwise.
    pub fn log<T, P>(
        &mut self,
        log: &Log<T>,
        scope: impl Fn(P) -> Result<Scope, RpcError> + Send + Sync + 'static,
    ) -> &mut Followable
    where
        T: Serialize + DeserializeOwned + JsonSchema,
        P: DeserializeOwned + JsonSchema + Send + 'static,
    {
        self.log_for(log, move |_, _, params| scope(params))
    }

    /// As [`Methods::log`], for a `scope` as in [`Methods::table_for`].
    pub fn log_for<T, P>(
        &mut self,
        log: &Log<T>,
        scope: impl Fn(&S, &Reader<'_>, P) -> Result<Scope, RpcError> + Send + Sync + 'static,
    ) -> &mut Followable
    where
        T: Serialize + DeserializeOwned + JsonSchema,
        P: DeserializeOwned + JsonSchema + Send + 'static,
    {
        self.follow::<T, P>(LiveSource::Log(log.source()), scope)
    }

    /// A topic whose events clients may follow (LD-2), under its name. `scope` says which keys the
    /// parameters of a client stand for, as for [`Methods::table`].
    pub fn topic<B, P>(
        &mut self,
        topic: &Topic<B>,
        scope: impl Fn(P) -> Result<Scope, RpcError> + Send + Sync + 'static,
    ) -> &mut Followable
    where
        B: JsonSchema,
        P: DeserializeOwned + JsonSchema + Send + 'static,
    {
        self.topic_for(topic, move |_, _, params| scope(params))
    }

    /// As [`Methods::topic`], for a `scope` as in [`Methods::table_for`].
    pub fn topic_for<B, P>(
        &mut self,
        topic: &Topic<B>,
        scope: impl Fn(&S, &Reader<'_>, P) -> Result<Scope, RpcError> + Send + Sync + 'static,
    ) -> &mut Followable
    where
        B: JsonSchema,
        P: DeserializeOwned + JsonSchema + Send + 'static,
    {
        self.follow::<B, P>(LiveSource::Topic(topic.name()), scope)
    }

    fn follow<V, P>(
        &mut self,
        source: LiveSource,
        scope: impl Fn(&S, &Reader<'_>, P) -> Result<Scope, RpcError> + Send + Sync + 'static,
    ) -> &mut Followable
    where
        V: JsonSchema,
        P: DeserializeOwned + JsonSchema + Send + 'static,
    {
        let followable = match &self.service {
            Some(service) => Followable::new::<S, V, P>(Arc::clone(service), source, scope),
            None => Followable::described::<V, P>(source),
        };
        self.live.push(followable);
        let last = self.live.len() - 1;
        #[allow(clippy::indexing_slicing, reason = "pushed just above")]
        &mut self.live[last]
    }

    /// A method that is answered immediately, without a task or a queue. It must be quick: it
    /// blocks its connection.
    pub fn now<P, R>(
        &mut self,
        name: &'static str,
        handler: impl Fn(&S, P) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> &mut Method
    where
        P: DeserializeOwned + JsonSchema,
        R: Serialize + JsonSchema,
    {
        let types = Types::of::<P, R>(Kind::Query);
        self.add(name, Role::Viewer, false, types, move |service, call| {
            Started::Answered(params::plain(call.params).and_then(|params| {
                let result = guarded(|| handler(service, params))?;
                reply(&result)
            }))
        })
    }

    /// A method that reads stored data. It must be short: it blocks the ledger.
    pub fn read<P, R>(
        &mut self,
        name: &'static str,
        handler: impl Fn(&S, &Reader<'_>, P) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> &mut Method
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        R: Serialize + JsonSchema + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.waiting(
            name,
            Role::Viewer,
            Types::of::<P, R>(Kind::Query),
            params::plain,
            move |service, call, params| {
                let (handler, context) = (Arc::clone(&handler), call.context.clone());
                async move {
                    let job = move |reader: &Reader<'_>| handler(&service, reader, params);
                    reply(&context.ledger.read_as(context.session, job).await?)
                }
            },
        )
    }

    /// A method that changes something, exactly once for each `intentId` (BX-1): its effect, its
    /// events and its outcome are one transaction. The parameters must be an object with
    /// `intentId`; `P` need not have that field. It must be short: see [`Methods::read`].
    pub fn intent<P, R>(
        &mut self,
        name: &'static str,
        handler: impl Fn(&S, &mut Tx<'_>, P) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> &mut Method
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        R: Serialize + JsonSchema,
    {
        let handler = Arc::new(handler);
        self.waiting(
            name,
            Role::Owner,
            Types::of::<P, R>(Kind::Intent),
            params::intent,
            move |service, call, (id, params)| {
                let (handler, context) = (Arc::clone(&handler), call.context.clone());
                let text: Box<str> = params::text(call.params).into();
                async move {
                    let session = context.session.ok_or_else(no_session)?;
                    let effect = move |tx: &mut Tx<'_>| answer(&handler(&service, tx, params)?);
                    let ledger = context.ledger;
                    ledger.intent(&session, id, name, &text, effect).await
                }
            },
        )
    }

    /// A method with a repeatable change, such as a subscription. It must be short: see
    /// [`Methods::read`].
    pub fn write<P, R>(
        &mut self,
        name: &'static str,
        handler: impl Fn(&S, &mut Tx<'_>, P) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> &mut Method
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        R: Serialize + JsonSchema + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.waiting(
            name,
            Role::Owner,
            Types::of::<P, R>(Kind::Call),
            params::plain,
            move |service, call, params| {
                let (handler, context) = (Arc::clone(&handler), call.context.clone());
                async move {
                    let job = move |tx: &mut Tx<'_>| handler(&service, tx, params);
                    reply(&context.ledger.write_as(context.session, job).await?)
                }
            },
        )
    }

    /// A method that waits. Its future is dropped at the request's deadline and when its connection
    /// ends; see [`Request`].
    pub fn method<P, R, F>(
        &mut self,
        name: &'static str,
        handler: impl Fn(Arc<S>, Request, P) -> F + Send + Sync + 'static,
    ) -> &mut Method
    where
        P: DeserializeOwned + JsonSchema + 'static,
        R: Serialize + JsonSchema,
        F: Future<Output = Result<R, RpcError>> + Send + 'static,
    {
        self.waiting(
            name,
            Role::Owner,
            Types::of::<P, R>(Kind::Call),
            params::plain,
            move |service, call, params| {
                let (guard, cancellation) = Cancellation::new();
                let told = Arc::new(Told::default());
                let request = Request {
                    method: name,
                    params: call.params.map(RawValue::to_owned),
                    context: call.context.clone(),
                    cancellation,
                    told: Arc::clone(&told),
                };
                let handled = handler(service, request, params);
                // A panic in a service's code fails that request, not its connection.
                let caught = AssertUnwindSafe(async move { reply(&handled.await?) }).catch_unwind();
                async move {
                    let _tells_at_the_end = guard;
                    let done = caught.await.unwrap_or_else(|_| Err(panicked()))?;
                    Ok(Done {
                        seq: told.seq(),
                        ..done
                    })
                }
            },
        )
    }

    /// A method whose calls, once their parameters are parsed, are futures. `start` runs in the
    /// order in which the requests of a connection came.
    pub(crate) fn waiting<P, F>(
        &mut self,
        name: &'static str,
        role: Role,
        types: Types,
        parse: fn(Option<&RawValue>) -> Result<P, RpcError>,
        start: impl Fn(Arc<S>, Call<'_>, P) -> F + Send + Sync + 'static,
    ) -> &mut Method
    where
        P: 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        self.add(name, role, true, types, move |service, call| {
            match parse(call.params) {
                Ok(params) => Started::Running(Box::pin(start(Arc::clone(service), call, params))),
                Err(error) => Started::Answered(Err(error)),
            }
        })
    }

    /// Restricts all methods listed so far to the local socket, if not to the owner.
    pub(crate) fn local_only(&mut self) {
        let others = self.list.iter_mut();
        others
            .filter(|method| method.access != Access::Owner)
            .for_each(Method::local_only);
    }

    fn add(
        &mut self,
        name: &'static str,
        role: Role,
        waits: bool,
        types: Types,
        handler: impl Fn(&Arc<S>, Call<'_>) -> Started + Send + Sync + 'static,
    ) -> &mut Method {
        let handler: Handler = match self.service.clone() {
            Some(service) => Box::new(move |call| handler(&service, call)),
            None => Box::new(|_| Started::Answered(Err(live::only_described()))),
        };
        self.list.push(Method {
            name,
            access: Access::Sessions,
            role,
            takes_bytes: false,
            types,
            handler,
            stats: Arc::new(MethodStats::new(waits)),
        });
        let last = self.list.len() - 1;
        #[allow(clippy::indexing_slicing, reason = "pushed just above")]
        &mut self.list[last]
    }
}

impl<S> std::fmt::Debug for Methods<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut list = f.debug_list();
        list.entries(&self.list).entries(&self.live).finish()
    }
}
