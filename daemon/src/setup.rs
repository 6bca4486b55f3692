//! Links an app author's services into a daemon, and defines what each gets at start.

use std::{error::Error, future::Future, pin::Pin, sync::Arc};

use bowline_protocol::{
    ServerId,
    extension::{OWN_METHODS, is_extension, is_name},
};

use crate::{
    blobs::BlobStore,
    config::Settings,
    ledger::Ledger,
    service::{About, Cancellation, Hooks, MethodError, Methods, Offered, Router, Service},
};

/// The resources of a service at its start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The ledger; a clone lets a service run jobs without a request.
    pub ledger: Ledger,
    /// The daemon's blobs, for bytes that a service makes or reads itself.
    pub blobs: BlobStore,
    /// The daemon's configuration.
    pub settings: Arc<Settings>,
    /// The daemon's identity.
    pub server_id: ServerId,
    /// Signals the daemon's shutdown; the service's background work must end then.
    pub shutdown: Cancellation,
}

/// A service did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its methods cannot be linked.
    #[error(transparent)]
    Methods(#[from] MethodError),
    /// The service's own error.
    #[error("a service failed to start: {0}")]
    Failed(Box<dyn Error + Send + Sync>),
}

type Started = Result<Offered, ServiceError>;
type Maker = Box<dyn FnOnce(Setup) -> Pin<Box<dyn Future<Output = Started> + Send>> + Send>;

/// The services linked into a daemon besides the built-in ones.
pub struct Services {
    about: About,
    makers: Vec<Maker>,
    /// What each would offer, for programs that only describe it.
    described: Vec<fn() -> Offered>,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            about: About::BOWLINE,
            makers: Vec::new(),
            described: Vec::new(),
        }
    }
}

impl Services {
    /// No services.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a service.
    #[must_use]
    pub fn with<S: Service>(self, service: S) -> Self {
        self.starting(|_| async { Ok::<_, MethodError>(service) })
    }

    /// Adds a service that is created when the daemon starts: the ledger is open then, and no
    /// client is served yet.
    #[must_use]
    pub fn starting<S, E, F>(mut self, make: impl FnOnce(Setup) -> F + Send + 'static) -> Self
    where
        S: Service,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<S, E>> + Send + 'static,
    {
        self.described.push(Methods::<S>::described);
        self.makers.push(Box::new(|setup| {
            let made = make(setup);
            Box::pin(async move {
                match made.await {
                    Ok(service) => Ok(Methods::of(service)),
                    Err(error) => Err(ServiceError::Failed(error.into())),
                }
            })
        }));
        self
    }

    /// Says whose they are, in what `rpc.discover` answers.
    pub(crate) fn about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    /// Starts the services and adds their methods. If one cannot be, those before it end again.
    pub(crate) async fn link(
        self,
        setup: &Setup,
        router: &mut Router,
    ) -> Result<Hooks, ServiceError> {
        router.title(self.about);
        let mut hooks = Vec::with_capacity(self.makers.len());
        for make in self.makers {
            let linked = match make(setup.clone()).await {
                Ok(mut offered) => {
                    hooks.extend(offered.hook.take());
                    add(router, offered).map_err(ServiceError::from)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = linked {
                Hooks::new(hooks).give_up().await;
                return Err(error);
            }
        }
        Ok(Hooks::new(hooks))
    }

    /// Adds what the services would offer, without starting them: it can be described, not called.
    pub(crate) fn describe(self, router: &mut Router) -> Result<(), MethodError> {
        router.title(self.about);
        let mut all = self.described.into_iter();
        all.try_for_each(|described| add(router, described()))
    }
}

/// Adds the methods of a service. Only group names that no later version of the protocol can use,
/// or those of the protocol that any service may answer.
fn add(router: &mut Router, offered: Offered) -> Result<(), MethodError> {
    let is_reserved = |name| is_name(name) && !is_extension(name) && !OWN_METHODS.contains(&name);
    let mut methods = offered.methods.iter();
    match methods.find(|method| is_reserved(method.name())) {
        Some(method) => Err(MethodError::Reserved(method.name())),
        None => router.add_all(offered),
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Services({})", self.makers.len())
    }
}
