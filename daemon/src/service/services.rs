//! The services an app's author links into a daemon, and what one may have at its start.

use std::{error::Error, future::Future, pin::Pin, sync::Arc};

use bowline_protocol::{
    ServerId,
    extension::{is_extension, is_name},
};

use super::{Cancellation, Method, MethodError, Methods, Router, Service};
use crate::{config::Settings, ledger::Ledger};

/// What a service may have when it starts.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The state; a clone lets a service work on its own, without a request.
    pub ledger: Ledger,
    /// What the daemon was told.
    pub settings: Arc<Settings>,
    /// Who the daemon is.
    pub server_id: ServerId,
    /// Tells when the daemon shuts down: work of the service's own ends then.
    pub shutdown: Cancellation,
}

/// A service did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its methods cannot be linked in.
    #[error(transparent)]
    Methods(#[from] MethodError),
    /// It says why itself.
    #[error("a service does not start: {0}")]
    Failed(Box<dyn Error + Send + Sync>),
}

type Started = Result<Vec<Method>, ServiceError>;
type Maker = Box<dyn FnOnce(Setup) -> Pin<Box<dyn Future<Output = Started> + Send>> + Send>;

/// Services to be linked into a daemon beside its own.
#[derive(Default)]
pub struct Services {
    makers: Vec<Maker>,
}

impl Services {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// One more service.
    #[must_use]
    pub fn with<S: Service>(self, service: S) -> Self {
        self.starting(|_| async { Ok::<_, MethodError>(service) })
    }

    /// One more service, made when the daemon starts: its state is open then, and nobody is served yet.
    #[must_use]
    pub fn starting<S, E, F>(mut self, make: impl FnOnce(Setup) -> F + Send + 'static) -> Self
    where
        S: Service,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<S, E>> + Send + 'static,
    {
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

    /// Starts them and adds their methods.
    pub(crate) async fn link(self, setup: &Setup, router: &mut Router) -> Result<(), ServiceError> {
        for make in self.makers {
            let methods = make(setup.clone()).await?;
            // Only names of groups that no later version of the protocol can claim.
            if let Some(method) = methods.iter().find(|method| !is_extension(method.name())) {
                return Err(MethodError::of_name(method.name()).into());
            }
            router.add_methods(methods)?;
        }
        Ok(())
    }
}

impl MethodError {
    fn of_name(name: &'static str) -> Self {
        if is_name(name) {
            Self::Reserved(name)
        } else {
            Self::Malformed(name)
        }
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Services({})", self.makers.len())
    }
}
