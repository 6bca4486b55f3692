//! Finds a method by its name.

use std::{collections::HashMap, sync::Arc};

use bowline_protocol::{
    error::RpcError,
    extension::{OWN_LIVE, is_extension, is_name},
};
use serde_json::value::RawValue;

use super::{
    Context, Method, Methods, Service,
    describe::{About, Catalog, Line, lines},
    live::LiveData,
    methods::{Call, Offered, Started},
};
use crate::rpc::{Answer, MethodStats, RequestStats};

/// Why a service cannot be linked.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// Two services have the same method.
    #[error("two services have the method `{0}`: remove one of them")]
    Duplicate(&'static str),
    /// An invalid method name.
    #[error(
        "`{0}` is not a method name: it must be like `group.verb`, in lower case, at most 64 bytes"
    )]
    Malformed(&'static str),
    /// A name in one of the protocol's groups.
    #[error(
        "`{0}` is in a group reserved for Bowline: choose another first word (docs/protocol.md §4)"
    )]
    Reserved(&'static str),
    /// Two tables, logs or topics have the same name.
    #[error("two live tables, logs or topics are named `{0}`: rename one of them")]
    DuplicateLive(&'static str),
    /// An invalid name of a live table, log or topic.
    #[error(
        "a live table, log or topic cannot be named `{0}`: it must be like `service.rows`, in lower case, at most 64 bytes, and its \
         first word not reserved (docs/protocol.md §4)"
    )]
    Live(&'static str),
}

/// The methods of a daemon.
#[derive(Clone)]
pub struct Router {
    methods: HashMap<&'static str, Arc<Method>>,
    live: LiveData,
    catalog: Catalog,
    /// Counts of messages without a known method.
    others: Arc<MethodStats>,
    stats: RequestStats,
}

impl Router {
    /// A router with the methods of live data and `rpc.discover`, and without any other.
    pub fn new() -> Self {
        let (others, stats) = (Arc::new(MethodStats::new(false)), RequestStats::default());
        stats.add("other", Arc::clone(&others));
        let live = LiveData::default();
        let catalog = Catalog::new(live.clone());
        let mut router = Self {
            methods: HashMap::new(),
            live: live.clone(),
            catalog: catalog.clone(),
            others,
            stats,
        };
        let own = [Methods::of(live), Methods::of(catalog)];
        for method in own.into_iter().flat_map(|offered| offered.methods) {
            router.insert(method);
        }
        router
    }

    /// Adds the methods of a service.
    ///
    /// # Errors
    /// [`MethodError`]; nothing is added then.
    pub fn add<S: Service>(&mut self, service: S) -> Result<(), MethodError> {
        self.add_all(Methods::of(service))
    }

    pub(crate) fn add_all(&mut self, offered: Offered) -> Result<(), MethodError> {
        let Offered { methods, live, .. } = offered;
        for (n, method) in methods.iter().enumerate() {
            let name = method.name();
            if !is_name(name) {
                return Err(MethodError::Malformed(name));
            }
            let earlier = methods.get(..n).unwrap_or_default();
            if self.methods.contains_key(name) || earlier.iter().any(|other| other.name() == name) {
                return Err(MethodError::Duplicate(name));
            }
        }
        for (n, one) in live.iter().enumerate() {
            let name = one.name();
            if !is_extension(name) && !OWN_LIVE.contains(&name) {
                return Err(MethodError::Live(name));
            }
            let mut earlier = live.iter().take(n);
            if self.live.contains(name) || earlier.any(|other| other.name() == name) {
                return Err(MethodError::DuplicateLive(name));
            }
        }
        methods.into_iter().for_each(|method| self.insert(method));
        live.into_iter().for_each(|one| self.live.add(one));
        Ok(())
    }

    /// Says whose methods these are, in the document of `rpc.discover`.
    pub(crate) fn title(&self, about: About) {
        self.catalog.title(about);
    }

    /// What it offers, as the OpenRPC document that `rpc.discover` answers with (LD-7).
    pub fn document(&self) -> serde_json::Value {
        self.catalog.document()
    }

    /// The types of the services' methods, tables, logs and topics, as one JSON Schema.
    pub fn schema(&self) -> serde_json::Value {
        self.catalog.schema()
    }

    /// What it offers, in lines for people.
    pub(crate) fn lines(&self) -> Vec<Line> {
        lines(&self.document())
    }

    fn insert(&mut self, method: Method) {
        self.catalog.add(method.entry());
        self.stats.add(method.name(), Arc::clone(method.stats()));
        self.methods.insert(method.name(), Arc::new(method));
    }

    /// The tables, logs and topics that clients may follow.
    pub(crate) const fn live(&self) -> &LiveData {
        &self.live
    }

    /// Every method, in no particular order.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.values().map(Arc::as_ref)
    }

    /// Counts of requests so far.
    pub const fn stats(&self) -> &RequestStats {
        &self.stats
    }

    /// Counts of requests without a known method, and of invalid requests.
    pub(crate) fn others(&self) -> &MethodStats {
        &self.others
    }

    /// The method with that name.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Method>> {
        self.methods.get(name)
    }

    /// Answers one request like a connection, without its limits and deadlines: for the tests of a
    /// service.
    pub async fn answer(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Answer {
        let Some(found) = self.methods.get(method) else {
            return Err(RpcError::method_not_found(method));
        };
        let call = Call {
            params,
            context,
            bytes: None,
        };
        let reply = match found.start(call) {
            Started::Answered(reply) => reply,
            Started::Running(future) => future.await,
        };
        reply?.into_answer()
    }
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.methods.keys()).finish()
    }
}
