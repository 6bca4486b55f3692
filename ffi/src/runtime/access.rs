//! Access of exported calls to the runtime: refused after shutdown, after a defect, and for unknown
//! hosts.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bowline_runtime::{
    self as core, Runtime, RuntimeSettings, ScreenError, ScreenSnapshot,
    protocol::{AgentId, IdentityError, Offer, ServerId, offer::OfferError},
    storage::Storage,
};

use serde_json::value::RawValue;

use super::BowlineRuntime;
use crate::{
    engine::{Engine, engine, running},
    error::{BowlineError, error},
    records::{RuntimeConfig, ScreenTarget},
    slot::{Slot, follow},
    subscription::EndReason,
};

impl BowlineRuntime {
    /// The runtime, for a call that is invalid after shutdown.
    pub(super) fn open_core(&self) -> Result<&Runtime, BowlineError> {
        engine()?;
        if self.closed.load(Ordering::SeqCst) {
            return Err(BowlineError::closed());
        }
        Ok(&self.core)
    }

    /// The runtime, for a call about one of its hosts.
    pub(super) fn core_with(&self, server_id: &ServerId) -> Result<&Runtime, BowlineError> {
        let core = self.open_core()?;
        let hosts = core.subscribe();
        let is_known = hosts
            .borrow()
            .hosts
            .iter()
            .any(|host| host.server_id == *server_id);
        is_known
            .then_some(core)
            .ok_or_else(|| BowlineError::unknown_host(server_id.as_str()))
    }

    /// A call about an agent of a host.
    pub(super) fn with_agent(
        &self,
        server_id: &str,
        agent_id: &str,
        call: impl FnOnce(&Runtime, &ServerId, &AgentId) -> Result<(), ScreenError>,
    ) -> Result<(), BowlineError> {
        let (host, agent) = (server(server_id)?, agent_id.parse()?);
        call(self.open_core()?, &host, &agent).map_err(|error| screen_error(server_id, &error))
    }

    pub(super) fn open(
        config: &RuntimeConfig,
        storage: Arc<dyn Storage>,
    ) -> Result<Arc<Self>, BowlineError> {
        let _context = engine()?.tokio.enter();
        let settings = RuntimeSettings::from(config);
        let connector = settings
            .connector()
            .map_err(|failure| error!(Internal, Report, failure.message))?;
        let core = Runtime::with(storage, Arc::new(connector), settings)?;
        let closed = Arc::default();
        Ok(Arc::new(Self { core, closed }))
    }

    pub(super) fn follow_screen<T: Send + 'static>(
        &self,
        server_id: &str,
        target: ScreenTarget,
        slot: &Arc<Slot<T>>,
        mut take: impl FnMut(Arc<ScreenSnapshot>) -> Option<T> + Send + 'static,
    ) -> Result<(), BowlineError> {
        let target = core::ScreenTarget::try_from(target)?;
        let core = self.open_core()?;
        let screen = core.agent_screen(&server(server_id)?, target);
        let mut screen = screen.map_err(|error| screen_error(server_id, &error))?;
        let closed = Arc::clone(&self.closed);
        let newest = Arc::clone(slot);
        follow(slot, async move {
            loop {
                match screen.next().await {
                    Ok(snapshot) => {
                        if let Some(value) = take(snapshot) {
                            newest.put(value);
                        }
                    }
                    Err(error) => break end_reason(&error, &closed),
                }
            }
        })
    }
}

/// Why the subscription of a screen, table, log or topic ended.
pub(super) fn end_reason(error: &ScreenError, closed: &AtomicBool) -> EndReason {
    match error {
        ScreenError::UnknownHost | ScreenError::Gone if closed.load(Ordering::SeqCst) => {
            EndReason::RuntimeClosed
        }
        ScreenError::UnknownHost | ScreenError::Gone => EndReason::HostGone,
        ScreenError::Closed => EndReason::RuntimeClosed,
        ScreenError::UnknownCreation => EndReason::UnknownCreation,
        ScreenError::TooMany(_) => EndReason::TooMany,
        ScreenError::Busy => EndReason::Busy,
    }
}

pub(super) fn screen_error(server_id: &str, error: &ScreenError) -> BowlineError {
    match error {
        ScreenError::UnknownHost | ScreenError::Gone => BowlineError::unknown_host(server_id),
        ScreenError::TooMany(_) | ScreenError::Busy => error!(TooMany, TryAgain, error),
        ScreenError::UnknownCreation => error!(InvalidIntent, Report, error),
        ScreenError::Closed => BowlineError::closed(),
    }
}

/// Parses a pairing offer.
pub(super) fn parsed(offer: &str) -> Result<Offer, BowlineError> {
    offer
        .parse()
        .map_err(|problem: OfferError| error!(InvalidOffer, AskUser, problem))
}

/// Parses the id of a host.
pub(super) fn server(server_id: &str) -> Result<ServerId, IdentityError> {
    server_id.parse()
}

/// The engine, for calls that must work after a defect too.
pub(super) fn cleaning() -> Result<&'static Engine, BowlineError> {
    running().ok_or_else(|| BowlineError::internal("no threads"))
}

/// The parameters of a query, or of what is followed.
pub(super) fn json_params(json: String) -> Result<Box<RawValue>, BowlineError> {
    RawValue::from_string(json)
        .map_err(|problem| problem.to_string())
        .and_then(|params| match params.get().as_bytes().first() {
            Some(b'{' | b'[') => Ok(params),
            _ => Err("neither a JSON object nor an array".to_owned()),
        })
        .map_err(|problem| error!(InvalidQuery, Report, format!("the parameters: {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_query_are_an_object_or_an_array() {
        for good in ["{}", r#" {"limit":1} "#, "[1]"] {
            let params = json_params(good.to_owned()).unwrap();
            assert_eq!(params.get(), good.trim());
        }
        for bad in ["", "{", "1", "\"{}\"", "null", "{} {}"] {
            let error = json_params(bad.to_owned()).unwrap_err();
            assert!(matches!(error, BowlineError::InvalidQuery { .. }), "{bad}");
        }
    }
}
