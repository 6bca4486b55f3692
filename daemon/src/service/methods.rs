//! The list of a service's methods: typed functions in, one uniform kind of handler out.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use bowline_protocol::error::RpcError;
use futures_util::FutureExt;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    Answer, AnswerFuture, Cancellation, Context, Request, Service, answer, params,
    request::no_session,
};
use crate::{
    ledger::{Reader, Tx, guarded, panicked},
    metrics::MethodStats,
};

/// One call, before its parameters are read.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) params: Option<&'a RawValue>,
    pub(crate) context: &'a Context,
}

/// What became of a call on sight.
pub(crate) enum Started {
    /// Done already.
    Answered(Answer),
    /// To be waited for.
    Running(AnswerFuture),
}

type Handler = Box<dyn Fn(Call<'_>) -> Started + Send + Sync>;

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Sessions, the local socket and probes (INV-8: only `system.ping` is such a one).
    Probes,
    /// Sessions and the local socket: the usual.
    Sessions,
    /// The local socket: the daemon's owner.
    Local,
}

/// One method of a service.
pub struct Method {
    name: &'static str,
    access: Access,
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

    /// What became of its requests.
    pub const fn stats(&self) -> &Arc<MethodStats> {
        &self.stats
    }

    /// Makes it a method of the local socket: remote clients get `forbidden`.
    pub const fn local_only(&mut self) {
        self.access = Access::Local;
    }

    pub(crate) const fn for_probes(&mut self) {
        self.access = Access::Probes;
    }

    pub(crate) fn start(&self, call: Call<'_>) -> Started {
        (self.handler)(call)
    }
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Method({}, {:?})", self.name, self.access)
    }
}

/// Takes the methods of a service. Each kind of method is a function with typed parameters `P` (any
/// `Deserialize`; [`bowline_protocol::methods::Empty`] for none) and a typed result `R` (any `Serialize`).
///
/// | kind | runs | for |
/// |---|---|---|
/// | [`now`](Self::now) | at once, on the connection's task | what is in memory |
/// | [`read`](Self::read) | on the ledger's thread, on a consistent snapshot | what is stored |
/// | [`intent`](Self::intent) | there, exactly once for its `intentId` | every change a client asks for |
/// | [`write`](Self::write) | there, every time | changes that are the same however often they happen |
/// | [`method`](Self::method) | as a future, side by side with others | all that waits: programs, files, networks |
pub struct Methods<S> {
    service: Arc<S>,
    list: Vec<Method>,
}

impl<S: Service> Methods<S> {
    /// The methods of a service.
    pub(super) fn of(service: S) -> Vec<Method> {
        let mut methods = Self {
            service: Arc::new(service),
            list: Vec::new(),
        };
        S::methods(&mut methods);
        methods.list
    }

    /// A method that is answered at once, without a task or a queue. It must be quick: nothing else of its
    /// connection happens meanwhile.
    pub fn now<P, R>(
        &mut self,
        name: &'static str,
        handler: impl Fn(&S, P) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> &mut Method
    where
        P: DeserializeOwned,
        R: Serialize,
    {
        let service = Arc::clone(&self.service);
        self.add(name, false, move |call| {
            Started::Answered(params::plain(call.params).and_then(|params| {
                let result = guarded(|| handler(&service, params))?;
                answer(&result)
            }))
        })
    }

    /// A method that reads what is stored. Short: everything that is stored waits for it.
    pub fn read<P, R>(
        &mut self,
        name: &'static str,
        handler: impl Fn(&S, &Reader<'_>, P) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> &mut Method
    where
        P: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
    {
        let bound = Arc::new((Arc::clone(&self.service), handler));
        self.add(name, true, move |call| {
            run(params::plain(call.params), |params| {
                let bound = Arc::clone(&bound);
                let Context {
                    ledger, session, ..
                } = call.context.clone();
                Box::pin(async move {
                    let job = move |reader: &Reader<'_>| (bound.1)(&bound.0, reader, params);
                    answer(&ledger.read_as(session, job).await?)
                })
            })
        })
    }

    /// A method that changes something, exactly once for each `intentId` (BX-1): its effect, its events and its
    /// outcome are one transaction. The parameters must be an object and carry `intentId`; `P` need not have it.
    /// Short: see [`Methods::read`].
    pub fn intent<P, R>(
        &mut self,
        name: &'static str,
        handler: impl Fn(&S, &mut Tx<'_>, P) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> &mut Method
    where
        P: DeserializeOwned + Send + 'static,
        R: Serialize,
    {
        let bound = Arc::new((Arc::clone(&self.service), handler));
        self.add(name, true, move |call| {
            let Some(session) = call.context.session.clone() else {
                return Started::Answered(Err(no_session()));
            };
            run(params::intent(call.params), |(intent_id, params)| {
                let bound = Arc::clone(&bound);
                let ledger = call.context.ledger.clone();
                let text: Box<str> = params::text(call.params).into();
                Box::pin(async move {
                    let effect = move |tx: &mut Tx<'_>| {
                        let result = (bound.1)(&bound.0, tx, params)?;
                        answer(&result)
                    };
                    ledger
                        .intent(&session, intent_id, name, &text, effect)
                        .await
                })
            })
        })
    }

    /// A method that changes something and may well do so again, as a subscription does. Short: see [`Methods::read`].
    pub fn write<P, R>(
        &mut self,
        name: &'static str,
        handler: impl Fn(&S, &mut Tx<'_>, P) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> &mut Method
    where
        P: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
    {
        let bound = Arc::new((Arc::clone(&self.service), handler));
        self.add(name, true, move |call| {
            run(params::plain(call.params), |params| {
                let bound = Arc::clone(&bound);
                let Context {
                    ledger, session, ..
                } = call.context.clone();
                Box::pin(async move {
                    let job = move |tx: &mut Tx<'_>| (bound.1)(&bound.0, tx, params);
                    answer(&ledger.write_as(session, job).await?)
                })
            })
        })
    }

    /// A method that waits for something. Its future is dropped at the request's deadline and when its connection
    /// ends; see [`Request`].
    pub fn method<P, R, F>(
        &mut self,
        name: &'static str,
        handler: impl Fn(Arc<S>, Request, P) -> F + Send + Sync + 'static,
    ) -> &mut Method
    where
        P: DeserializeOwned,
        R: Serialize,
        F: Future<Output = Result<R, RpcError>> + Send + 'static,
    {
        let service = Arc::clone(&self.service);
        self.add(name, true, move |call| {
            run(params::plain(call.params), |params| {
                let (guard, cancellation) = Cancellation::new();
                let request = Request {
                    method: name,
                    params: call.params.map(RawValue::to_owned),
                    context: call.context.clone(),
                    cancellation,
                };
                let handled = handler(Arc::clone(&service), request, params);
                // A panic in a service's code is that request's failure, not its connection's.
                let caught =
                    AssertUnwindSafe(async move { answer(&handled.await?) }).catch_unwind();
                Box::pin(async move {
                    let _tells_at_the_end = guard;
                    caught.await.unwrap_or_else(|_| Err(panicked()))
                })
            })
        })
    }

    fn add(
        &mut self,
        name: &'static str,
        waits: bool,
        handler: impl Fn(Call<'_>) -> Started + Send + Sync + 'static,
    ) -> &mut Method {
        self.list.push(Method {
            name,
            access: Access::Sessions,
            handler: Box::new(handler),
            stats: Arc::new(MethodStats::new(waits)),
        });
        let last = self.list.len() - 1;
        #[allow(clippy::indexing_slicing, reason = "pushed just above")]
        &mut self.list[last]
    }
}

impl<S> std::fmt::Debug for Methods<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.list).finish()
    }
}

/// Runs what has good parameters.
fn run<P>(params: Result<P, RpcError>, start: impl FnOnce(P) -> AnswerFuture) -> Started {
    match params {
        Ok(params) => Started::Running(start(params)),
        Err(error) => Started::Answered(Err(error)),
    }
}
