//! What it takes to follow a table, log or topic of a service: its name and parameters, and how
//! that fails.

use bowline_machines::data::target::LiveTarget;
use bowline_protocol::{extension::is_live_name, limits, live::Json};
use serde::Serialize;

use crate::{
    client::to_raw,
    screen::ScreenError,
    subscription::{Publisher, Subscription},
};

/// A table, log or topic that could not be followed, or has ended. What the daemon answers is part
/// of what is received, such as the [`TableView`](crate::TableView).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// It is no name of such, or the parameters are not JSON of at most
    /// [`limits::LIVE_PARAMS_BYTES`].
    #[error("{0}")]
    Invalid(String),
    /// The host cannot be reached through: unknown, busy, gone, or at its limit of open ones.
    #[error(transparent)]
    Host(#[from] ScreenError),
}

/// Reads the name and the parameters of what is followed, or says what is wrong with them.
pub(crate) fn target<P: Serialize + ?Sized>(
    name: &str,
    params: &P,
) -> Result<LiveTarget, LiveError> {
    if !is_live_name(name) {
        let detail = format!("{name:?} names no table, log or topic");
        return Err(LiveError::Invalid(detail));
    }
    let params = to_raw(params).map_err(|error| LiveError::Invalid(error.to_string()))?;
    let most = limits::LIVE_PARAMS_BYTES;
    if params.get().len() > most {
        let detail = format!("the parameters of {name} have more than {most} bytes");
        return Err(LiveError::Invalid(detail));
    }
    Ok(LiveTarget {
        name: name.to_owned(),
        params: Some(Json::from(params)),
    })
}

/// The views of a table or log.
pub(crate) type Views<V> = Subscription<V, LiveError>;

/// The driver's side of them.
pub(crate) type ViewPublisher<V> = Publisher<V, LiveError>;

/// A request of a subscriber of a table or log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Load the next page.
    More,
    /// Fetch everything again.
    Refresh,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ld_2_apps_name_what_services_and_the_daemon_itself_let_them_follow() {
        for name in ["agents", "agents.timeline", "voxel.layers"] {
            assert_eq!(target(name, &()).unwrap().name, name);
        }
        for name in ["agent", "Voxel.layers", "voxel", ""] {
            assert!(
                matches!(target(name, &()), Err(LiveError::Invalid(_))),
                "{name}"
            );
        }
    }
}
