//! Reads what `live.open` and `live.page` ask for. A parameter that a kind does not have is
//! refused.

use bowline_protocol::{
    error::RpcError,
    live::{After, OpenLive, PageLive},
};

use crate::ledger::{Asked, LiveSource, Part, Wanted};

/// What of a source `live.open` asks for.
///
/// # Errors
/// −32602.
pub(super) fn open(source: LiveSource, of: &OpenLive) -> Result<Asked, RpcError> {
    match source {
        LiveSource::Topic(name) => {
            if of.after.is_some() || of.before.is_some() || of.limit.is_some() {
                let text = "a topic has no rows: `after`, `before` and `limit` are for others";
                return Err(RpcError::invalid_params(text));
            }
            Ok(Asked::Events(name))
        }
        LiveSource::Table(rows) => {
            refuse("before", of.before.is_some(), "logs")?;
            let wanted = Wanted::After(key(of.after.as_ref())?);
            Ok(Asked::Rows(rows, wanted, of.limit))
        }
        LiveSource::Log(items) => {
            let part = part(of.after.as_ref(), of.before)?;
            Ok(Asked::Items(items, part, of.limit))
        }
    }
}

/// What of a source `live.page` asks for.
///
/// # Errors
/// −32602.
pub(super) fn page(source: LiveSource, of: PageLive) -> Result<Asked, RpcError> {
    match source {
        LiveSource::Topic(_) => Err(RpcError::invalid_params("a topic has no rows")),
        LiveSource::Table(rows) => {
            refuse("before", of.before.is_some(), "logs")?;
            refuse("indexes", of.indexes.is_some(), "logs")?;
            let wanted = match (of.keys, of.after) {
                (Some(_), Some(_)) => {
                    return Err(RpcError::invalid_params("either `keys` or `after`"));
                }
                (Some(keys), None) => Wanted::Keys(keys),
                (None, after) => Wanted::After(key(after.as_ref())?),
            };
            Ok(Asked::Rows(rows, wanted, of.limit))
        }
        LiveSource::Log(items) => {
            refuse("keys", of.keys.is_some(), "tables")?;
            let part = match (of.indexes, &of.after, of.before) {
                (Some(indexes), None, None) => Part::Indexes(indexes),
                (Some(_), ..) => {
                    let text = "either `indexes`, or `after` and `before`";
                    return Err(RpcError::invalid_params(text));
                }
                (None, after, before) => part(after.as_ref(), before)?,
            };
            Ok(Asked::Items(items, part, of.limit))
        }
    }
}

fn refuse(parameter: &str, is_there: bool, what: &str) -> Result<(), RpcError> {
    if is_there {
        let text = format!("`{parameter}` is for {what}");
        return Err(RpcError::invalid_params(text));
    }
    Ok(())
}

fn key(after: Option<&After>) -> Result<Option<String>, RpcError> {
    match after {
        Some(After::Index(_)) => Err(RpcError::invalid_params("`after` of a table is a key")),
        Some(After::Key(key)) => Ok(Some(key.clone())),
        None => Ok(None),
    }
}

fn part(after: Option<&After>, before: Option<u64>) -> Result<Part, RpcError> {
    match after {
        Some(After::Key(_)) => Err(RpcError::invalid_params("`after` of a log is an index")),
        Some(After::Index(index)) => Ok(Part::After(*index, before)),
        None => Ok(Part::Before(before)),
    }
}
