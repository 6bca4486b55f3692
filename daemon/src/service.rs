//! Methods: the [`Service`] trait an app's author implements, requests with their context, the router.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

use bowline_protocol::{IntentId, error::RpcError};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::ledger::{Ledger, SessionRef, Tx};

/// The JSON of a result.
pub type Answer = Result<Box<RawValue>, RpcError>;
/// An answer that takes its time.
pub type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A group of methods. Linked into a daemon by adding it to its [`Router`].
pub trait Service: Send + Sync + 'static {
    /// The names it answers, each `group.verb`.
    fn methods(&self) -> &'static [&'static str];

    /// Answers one request. The future may be dropped at its deadline or when its connection ends, so
    /// effects belong into [`Request::intent`], which completes or does nothing.
    fn call(&self, request: Request) -> AnswerFuture;

    /// Answers at once what needs neither the ledger nor waiting; `None` sends the request to
    /// [`Service::call`]. Saves a task for the methods that are called all the time.
    fn call_now(&self, _method: &str, _params: Option<&RawValue>) -> Option<Answer> {
        None
    }
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A paired device's session.
    Session,
    /// The local socket: the daemon's owner.
    Local,
    /// A probe; it may call `system.ping` and nothing else (INV-8).
    Probe,
}

/// What a request may use.
#[derive(Clone, Debug)]
pub struct Context {
    /// The state.
    pub ledger: Ledger,
    /// Whose request; `None` only for a probe.
    pub session: Option<SessionRef>,
    /// Where it came from.
    pub origin: Origin,
    /// The connection it came by, as in its [`crate::outbound::ConnectionHandle`].
    pub connection: u64,
    /// The most bytes a result may have.
    pub max_message_bytes: u32,
}

/// One request.
#[derive(Debug)]
pub struct Request {
    /// The method, as sent.
    pub method: Box<str>,
    /// The parameters, as sent.
    pub params: Option<Box<RawValue>>,
    /// What it may use.
    pub context: Context,
}

impl Request {
    /// The typed parameters; absent ones count as `{}`.
    ///
    /// # Errors
    /// −32602 with the place and kind of the mistake.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, RpcError> {
        let text = self.params.as_deref().map_or("{}", RawValue::get);
        serde_json::from_str(text).map_err(|error| RpcError::invalid_params(error.to_string()))
    }

    /// Runs `effect` exactly once for this intent (BX-1), in one transaction with its outcome; the same
    /// intent again gets the stored outcome.
    ///
    /// # Errors
    /// What `effect` says; `intent_conflict` if the id came with other parameters; `overloaded` when
    /// the daemon is too busy or cannot write; `forbidden` for a probe.
    pub async fn intent(
        &self,
        intent_id: IntentId,
        effect: impl FnOnce(&mut Tx<'_>) -> Answer + Send + 'static,
    ) -> Answer {
        let Some(session) = &self.context.session else {
            return Err(RpcError::new(
                bowline_protocol::RpcReason::Forbidden,
                "a probe changes nothing",
            ));
        };
        let params = self.params.as_deref().map_or("{}", RawValue::get);
        self.context
            .ledger
            .intent(session, intent_id, &self.method, params, effect)
            .await
    }
}

/// The JSON of a value.
///
/// # Errors
/// −32603 if the value does not serialise, which is a defect of its type.
pub fn answer<T: Serialize + ?Sized>(value: &T) -> Answer {
    serde_json::value::to_raw_value(value).map_err(|error| RpcError::internal(error.to_string()))
}

/// Two services claim one method.
#[derive(Debug, thiserror::Error)]
#[error("two services answer `{0}`: remove one of them")]
pub struct DuplicateMethod(pub &'static str);

/// Finds the service of a method.
#[derive(Clone, Default)]
pub struct Router {
    services: HashMap<&'static str, Arc<dyn Service>>,
}

impl Router {
    /// A router that knows no method yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the methods of a service.
    ///
    /// # Errors
    /// [`DuplicateMethod`] if another service answers one of them; nothing is added then.
    pub fn add(&mut self, service: Arc<dyn Service>) -> Result<(), DuplicateMethod> {
        for (n, name) in service.methods().iter().enumerate() {
            let earlier = service.methods().get(..n).unwrap_or_default();
            if self.services.contains_key(name) || earlier.contains(name) {
                return Err(DuplicateMethod(name));
            }
        }
        for name in service.methods() {
            self.services.insert(name, Arc::clone(&service));
        }
        Ok(())
    }

    /// Every method known.
    pub fn methods(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.services.keys().copied()
    }

    /// Answers at once if the method can be answered so; an unknown method is −32601 here already.
    pub fn call_now(&self, method: &str, params: Option<&RawValue>) -> Option<Answer> {
        match self.services.get(method) {
            Some(service) => service.call_now(method, params),
            None => Some(Err(RpcError::method_not_found(method))),
        }
    }

    /// Answers a request.
    pub fn call(&self, request: Request) -> AnswerFuture {
        match self.services.get(&*request.method) {
            Some(service) => service.call(request),
            None => {
                let error = RpcError::method_not_found(&request.method);
                Box::pin(async move { Err(error) })
            }
        }
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.services.keys()).finish()
    }
}
