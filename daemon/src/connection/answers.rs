//! Outgoing responses: encoding, size limits and batches.

use std::convert::Infallible;

use bowline_protocol::{
    RpcReason,
    error::RpcError,
    rpc::{
        CARRIED_OVERHEAD, Id, append_batch_item, begin_batch, end_batch, write_carried, write_done,
        write_error, write_response,
    },
};

use crate::rpc::{Done, Reply};

/// Bytes of a response around its result and id, with the longest `seq`.
const FRAMING: usize = 76;

/// Encoded texts, in order. All connections of a thread share one buffer.
#[derive(Debug, Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Answers {
    /// Adds the text that `write` appends to the buffer; an empty one is ignored.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        if self.bytes.len() > start {
            self.ends.push(self.bytes.len());
        }
    }

    /// The texts.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().filter_map(move |end| {
            let text = self.bytes.get(start..*end);
            start = *end;
            text
        })
    }

    /// Size of all texts in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Removes all texts and frees memory beyond `keep` bytes.
    pub(super) fn clear(&mut self, keep: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep);
        self.ends.clear();
        self.ends.shrink_to(keep / 16);
    }
}

/// Appends the response to one request. A result over the limit fails that request alone (LS-1).
pub(super) fn encode(out: &mut Vec<u8>, id: &Id<'_>, reply: &Reply, max: usize) {
    match reply {
        Ok(done) if size(done) + id.as_json().len() + FRAMING <= max => match &done.bytes {
            Some(bytes) => {
                let written = write_carried::<Infallible>(out, bytes, |out| {
                    write_response(out, id, &done.result);
                    Ok(())
                });
                written.unwrap_or_else(|never| match never {});
            }
            None => match done.seq {
                Some(seq) => write_done(out, id, seq, &done.result),
                None => write_response(out, id, &done.result),
            },
        },
        Ok(done) => write_error(out, id, &too_large(size(done), max)),
        Err(error) => write_error(out, id, error),
    }
}

/// The result, if its text fits `max` bytes; else the error that replaces it (LS-1).
pub(super) fn bounded(reply: Reply, max: usize) -> Reply {
    match reply {
        Ok(done) if size(&done) + FRAMING > max => Err(too_large(size(&done), max)),
        fits => fits,
    }
}

/// Bytes of a result, with those that it carries.
fn size(done: &Done) -> usize {
    let carried = done.bytes.as_ref();
    done.result.len() + carried.map_or(0, |bytes| bytes.len() + CARRIED_OVERHEAD)
}

fn too_large(bytes: usize, max: usize) -> RpcError {
    RpcError::new(
        RpcReason::ResponseTooLarge,
        format!(
            "the result has {bytes} bytes, and a message of this daemon at most {max} (`limits.max_message_bytes`): ask with a smaller \
             `limit` where the method has one, and not in a batch"
        ),
    )
}

/// A batch with unanswered requests.
#[derive(Debug)]
pub(super) struct Batch {
    waiting: usize,
    text: Vec<u8>,
    overflowed: bool,
}

impl Batch {
    /// A batch; the parser's reference counts as one pending response.
    pub(super) fn new() -> Self {
        let mut text = Vec::new();
        begin_batch(&mut text);
        Self {
            waiting: 1,
            text,
            overflowed: false,
        }
    }

    /// Adds a pending response.
    pub(super) const fn expect(&mut self) {
        self.waiting += 1;
    }

    /// Adds one response. One that carries bytes is refused: a batch is JSON.
    pub(super) fn add(&mut self, id: &Id<'_>, reply: &Reply, max: usize) {
        let mut item = Vec::new();
        match reply {
            Ok(done) if done.bytes.is_some() => {
                let text = "a batch carries no bytes: send this request alone";
                write_error(&mut item, id, &RpcError::invalid_request(text));
            }
            reply => encode(&mut item, id, reply, max),
        }
        // The whole batch is one text under one size limit.
        if self.text.len() + item.len() + 2 > max {
            let error = too_large(self.text.len() + item.len(), max);
            item.clear();
            write_error(&mut item, id, &error);
        }
        if self.text.len() + item.len() + 2 > max {
            self.overflowed = true;
        } else {
            append_batch_item(&mut self.text, &item);
        }
    }

    /// Completes one pending response. Returns whether it was the last.
    pub(super) const fn release(&mut self) -> bool {
        self.waiting = self.waiting.saturating_sub(1);
        self.waiting == 0
    }

    /// Appends the finished text; a batch of notifications has none.
    pub(super) fn finish(mut self, out: &mut Vec<u8>, max: usize) {
        if self.overflowed {
            // Not even the errors fit, so a single error replaces them.
            write_error(out, &Id::NULL, &too_large(self.text.len(), max));
        } else if self.text.len() > 1 {
            end_batch(&mut self.text);
            out.append(&mut self.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::answer;

    fn reply(bytes: usize) -> Reply {
        answer(&"x".repeat(bytes)).map(Done::from)
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn ls_1_an_oversize_result_is_an_error_of_that_request() {
        let mut out = Vec::new();
        encode(&mut out, &Id::number(7), &reply(5_000), 4_096);
        let out = text(&out);
        assert!(
            out.contains("response_too_large") && out.contains("\"id\":7"),
            "{out}"
        );
        assert!(out.len() < 4_096);
    }

    #[test]
    fn a_batch_is_answered_as_one_text_within_the_limit() {
        let mut batch = Batch::new();
        for id in 0..3 {
            batch.expect();
            batch.add(&Id::number(id), &reply(1_800), 4_096);
            assert!(!batch.release());
        }
        assert!(batch.release());
        let mut out = Vec::new();
        batch.finish(&mut out, 4_096);
        assert!(out.len() <= 4_096);
        let items: Vec<serde_json::Value> = serde_json::from_slice(&out).unwrap();
        assert_eq!(items.len(), 3);
        assert!(items[1].get("result").is_some());
        assert_eq!(items[2]["error"]["data"]["reason"], "response_too_large");
    }

    #[test]
    fn a_batch_of_notifications_has_no_answer() {
        let mut batch = Batch::new();
        assert!(batch.release());
        let mut answers = Answers::default();
        answers.add(|out| batch.finish(out, 4_096));
        assert!(answers.is_empty());
    }

    #[test]
    fn texts_come_out_as_they_went_in() {
        let mut answers = Answers::default();
        answers.add(|out| out.extend_from_slice(b"one"));
        answers.add(|_| {});
        answers.add(|out| out.extend_from_slice(b"two"));
        assert_eq!(answers.texts().collect::<Vec<_>>(), [b"one", b"two"]);
        answers.clear(1_024);
        assert_eq!(answers.texts().count(), 0);
    }
}
