//! What it takes to follow a table of a service: its name and parameters, and how that fails.

use bowline_machines::data::tables::TableView;
use bowline_machines::data::target::LiveTarget;
use bowline_protocol::{extension::is_name, limits, live::Json};
use serde::Serialize;

use crate::{
    client::to_raw,
    screen::ScreenError,
    subscription::{Publisher, Subscription},
};

/// A table that could not be followed, or has ended. What the daemon answers is part of the
/// [`TableView`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The name is no name of a table, or the parameters are not JSON of at most
    /// [`limits::LIVE_PARAMS_BYTES`].
    #[error("{0}")]
    Invalid(String),
    /// The host cannot be reached through: unknown, busy, gone, or at its limit of open tables.
    #[error(transparent)]
    Host(#[from] ScreenError),
}

/// Reads a table's name and parameters.
pub(crate) fn target<P: Serialize + ?Sized>(
    name: &str,
    params: &P,
) -> Result<LiveTarget, TableError> {
    read_target(name, params, "table or topic").map_err(TableError::Invalid)
}

/// Reads the name and the parameters of what is followed, or says what is wrong with them. `what`:
/// its kind.
pub(crate) fn read_target<P: Serialize + ?Sized>(
    name: &str,
    params: &P,
    what: &str,
) -> Result<LiveTarget, String> {
    if !is_name(name) {
        return Err(format!("{name:?} names no {what}"));
    }
    let params = to_raw(params).map_err(|error| error.to_string())?;
    let most = limits::LIVE_PARAMS_BYTES;
    if params.get().len() > most {
        return Err(format!(
            "the parameters of {name} have more than {most} bytes"
        ));
    }
    Ok(LiveTarget {
        name: name.to_owned(),
        params: Some(Json::from(params)),
    })
}

/// The views of a table.
pub(crate) type TableViews = Subscription<TableView, TableError>;

/// The driver's side of a table.
pub(crate) type TablePublisher = Publisher<TableView, TableError>;
