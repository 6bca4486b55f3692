//! Several requests and notifications in one text.

use bowline_protocol::rpc::{
    append_batch_item, begin_batch, end_batch, write_notification, write_request,
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::CallError;

/// Calls and notifications sent as one text. The daemon accepts at most 1,024 of them and runs them
/// concurrently.
#[derive(Debug, Default)]
pub struct Batch {
    items: Vec<Item>,
    calls: u64,
}

#[derive(Debug)]
struct Item {
    method: String,
    params: Box<RawValue>,
    wants_answer: bool,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a call.
    ///
    /// # Errors
    /// [`CallError::Params`].
    pub fn call(
        &mut self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<&mut Self, CallError> {
        self.add(method, params, true)?;
        self.calls += 1;
        Ok(self)
    }

    /// Adds a notification.
    ///
    /// # Errors
    /// [`CallError::Params`].
    pub fn notify(
        &mut self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<&mut Self, CallError> {
        self.add(method, params, false)
    }

    fn add(
        &mut self,
        method: &str,
        params: &(impl Serialize + ?Sized),
        wants_answer: bool,
    ) -> Result<&mut Self, CallError> {
        self.items.push(Item {
            method: method.to_owned(),
            params: to_raw_value(params).map_err(CallError::Params)?,
            wants_answer,
        });
        Ok(self)
    }

    /// Whether the batch is empty.
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Number of calls and notifications.
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// Number of expected answers.
    pub(super) const fn calls(&self) -> u64 {
        self.calls
    }

    /// The JSON text; ids count up from `id`.
    pub(super) fn text(&self, mut id: u64) -> Result<Vec<u8>, CallError> {
        let (mut text, mut message) = (Vec::new(), Vec::new());
        begin_batch(&mut text);
        for item in &self.items {
            message.clear();
            let written = if item.wants_answer {
                id += 1;
                write_request(&mut message, id - 1, &item.method, &item.params)
            } else {
                write_notification(&mut message, &item.method, &item.params)
            };
            written.map_err(CallError::Params)?;
            append_batch_item(&mut text, &message);
        }
        end_batch(&mut text);
        Ok(text)
    }
}
