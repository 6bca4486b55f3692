//! Finds a method by its name.

use std::{collections::HashMap, sync::Arc};

use bowline_protocol::{error::RpcError, extension::is_name};
use serde_json::value::RawValue;

use super::{
    Answer, Context, Method, Methods, Service,
    methods::{Call, Started},
};
use crate::metrics::{MethodStats, RequestStats};

/// Why a service cannot be linked in.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// Two services claim one method.
    #[error("two services answer `{0}`: remove one of them")]
    Duplicate(&'static str),
    /// A name that is no method name.
    #[error(
        "`{0}` is no method name: it must be like `group.verb`, in lower case, at most 64 bytes"
    )]
    Malformed(&'static str),
    /// A name in a group of the protocol.
    #[error(
        "`{0}` is in a group that is Bowline's own, so that later versions can add to it: choose another first word (docs/protocol.md §4)"
    )]
    Reserved(&'static str),
}

/// The methods of a daemon.
#[derive(Clone)]
pub struct Router {
    methods: HashMap<&'static str, Arc<Method>>,
    /// Of what was no request of a known method.
    others: Arc<MethodStats>,
    stats: RequestStats,
}

impl Router {
    /// A router that knows no method yet.
    pub fn new() -> Self {
        let (others, stats) = (Arc::new(MethodStats::new(false)), RequestStats::default());
        stats.add("other", Arc::clone(&others));
        Self {
            methods: HashMap::new(),
            others,
            stats,
        }
    }

    /// Adds the methods of a service.
    ///
    /// # Errors
    /// [`MethodError`]; nothing is added then.
    pub fn add<S: Service>(&mut self, service: S) -> Result<(), MethodError> {
        self.add_methods(Methods::of(service))
    }

    pub(super) fn add_methods(&mut self, methods: Vec<Method>) -> Result<(), MethodError> {
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
        for method in methods {
            self.stats.add(method.name(), Arc::clone(method.stats()));
            self.methods.insert(method.name(), Arc::new(method));
        }
        Ok(())
    }

    /// Every method known, in no order.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.values().map(Arc::as_ref)
    }

    /// What became of the requests so far.
    pub const fn stats(&self) -> &RequestStats {
        &self.stats
    }

    /// What became of requests of no known method, and of what was no request at all.
    pub(crate) fn others(&self) -> &MethodStats {
        &self.others
    }

    /// The method of that name.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Method>> {
        self.methods.get(name)
    }

    /// Answers one request as a connection would, without its limits and deadlines: for the tests of a service.
    pub async fn answer(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Answer {
        let Some(found) = self.methods.get(method) else {
            return Err(RpcError::method_not_found(method));
        };
        match found.start(Call { params, context }) {
            Started::Answered(answer) => answer,
            Started::Running(future) => future.await,
        }
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
