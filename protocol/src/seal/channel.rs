//! Transport messages after the handshake: one flag byte and its content, sealed.
//!
//! ```text
//! 0  the last or only chunk of a text
//! 1  a chunk of a text; more follow
//! 2  several whole texts, each after its length (u16, big-endian)
//! ```

use snow::TransportState;

use super::SealError;
use crate::limits::{MAX_CHUNK, NOISE_TAG};

/// Flag of the last chunk of a text.
const LAST: u8 = 0;
/// Flag of a chunk that more chunks follow.
const MORE: u8 = 1;
/// Flag of several texts.
const SEVERAL: u8 = 2;
/// Bytes of the length before each of several texts.
const PREFIX: usize = 2;

/// An established channel. Counters in both directions ensure that each message is accepted once
/// and in order.
pub struct Channel {
    transport: TransportState,
    max_message: usize,
    /// Chunks of an incomplete text.
    partial: Vec<u8>,
    /// Received texts that [`Channel::next`] has not returned, after their lengths.
    received: Vec<u8>,
    /// Bytes of `received` that were returned.
    returned: usize,
    /// Texts to seal together: the flag, then each text after its length.
    gathered: Vec<u8>,
    /// Number of texts in `gathered`.
    texts: usize,
    /// Bytes of the texts sealed together last: the next ones probably take as many.
    usual: usize,
    /// The message sealed last.
    sealed: Vec<u8>,
    /// Bytes that each buffer keeps between messages.
    keep: usize,
}

impl Channel {
    pub(super) const fn new(transport: TransportState, max_message: usize) -> Self {
        Self {
            transport,
            max_message,
            partial: Vec::new(),
            received: Vec::new(),
            returned: 0,
            gathered: Vec::new(),
            texts: 0,
            usual: 0,
            sealed: Vec::new(),
            keep: 0,
        }
    }

    /// Sets the largest text that [`Channel::open`] accepts, in bytes.
    pub const fn set_max_message(&mut self, bytes: usize) {
        self.max_message = bytes;
    }

    /// Sets how many bytes each of the three working buffers keeps between messages: none at first,
    /// for a side with many channels. For one with few, memory costs less than asking for it.
    pub const fn keep_buffers(&mut self, bytes: usize) {
        self.keep = bytes;
    }

    /// Takes one text to be sealed together with those before it, and emits the Noise messages that
    /// are full. The rest waits for [`Channel::finish`]. Returns the bytes that the text adds on
    /// the wire.
    ///
    /// # Errors
    /// [`SealError::Crypto`] when the channel is exhausted.
    pub fn gather(&mut self, text: &[u8], mut emit: impl FnMut(&[u8])) -> Result<usize, SealError> {
        if text.is_empty() || self.gathered.len() + PREFIX + text.len() > MAX_CHUNK {
            self.finish(&mut emit)?;
        }
        match u16::try_from(text.len()) {
            Ok(length) if length > 0 && 1 + PREFIX + text.len() <= MAX_CHUNK => {
                let overhead = match self.texts {
                    0 => 1 + NOISE_TAG,
                    // The first text gets a length as well.
                    1 => 2 * PREFIX,
                    _ => PREFIX,
                };
                if self.texts == 0 {
                    let several = 1 + PREFIX + text.len();
                    self.gathered.reserve(several.max(self.usual));
                    self.gathered.push(SEVERAL);
                }
                self.gathered.extend_from_slice(&length.to_be_bytes());
                self.gathered.extend_from_slice(text);
                self.texts += 1;
                Ok(text.len() + overhead)
            }
            _ => self.chunks(text, emit),
        }
    }

    /// Seals the gathered texts as one Noise message, if there are any.
    ///
    /// # Errors
    /// [`SealError::Crypto`] when the channel is exhausted.
    pub fn finish(&mut self, mut emit: impl FnMut(&[u8])) -> Result<(), SealError> {
        if self.texts == 0 {
            return Ok(());
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        self.usual = gathered.len();
        let plain = match std::mem::take(&mut self.texts) {
            // A single text goes out without its length: the flag takes the place of the length's
            // last byte.
            1 => {
                if let Some(flag) = gathered.get_mut(PREFIX) {
                    *flag = LAST;
                }
                gathered.get(PREFIX..).unwrap_or_default()
            }
            _ => gathered.as_slice(),
        };
        emit(self.seal(plain)?);
        gathered.clear();
        gathered.shrink_to(self.keep);
        self.gathered = gathered;
        self.sealed.clear();
        self.sealed.shrink_to(self.keep);
        Ok(())
    }

    /// Seals a text by itself, in several Noise messages if it is too large for one. Returns the
    /// bytes on the wire.
    fn chunks(&mut self, text: &[u8], mut emit: impl FnMut(&[u8])) -> Result<usize, SealError> {
        let mut wire = 0;
        let mut plain = Vec::with_capacity(1 + MAX_CHUNK.min(text.len()));
        let mut rest = text;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(MAX_CHUNK));
            plain.clear();
            plain.push(if after.is_empty() { LAST } else { MORE });
            plain.extend_from_slice(chunk);
            let message = self.seal(&plain)?;
            wire += message.len();
            emit(message);
            if after.is_empty() {
                self.sealed.clear();
                self.sealed.shrink_to(self.keep);
                return Ok(wire);
            }
            rest = after;
        }
    }

    fn seal(&mut self, plain: &[u8]) -> Result<&[u8], SealError> {
        self.sealed.resize(plain.len() + NOISE_TAG, 0);
        let length = self.transport.write_message(plain, &mut self.sealed)?;
        self.sealed.truncate(length);
        Ok(&self.sealed)
    }

    /// Opens one Noise message. Returns its text, or the first of several: call [`Channel::next`]
    /// until it returns `None` before the next message. `buffer` is working space and holds the
    /// text. `None` when more chunks follow.
    ///
    /// # Errors
    /// [`SealError::Crypto`] for anything forged, repeated or out of order;
    /// [`SealError::TooLarge`]; [`SealError::Malformed`] for an unknown flag, an empty message or
    /// texts of other lengths than stated. Each ends the connection.
    pub fn open<'b>(
        &mut self,
        message: &[u8],
        buffer: &'b mut Vec<u8>,
    ) -> Result<Option<&'b [u8]>, SealError> {
        buffer.resize(message.len(), 0);
        let length = self.transport.read_message(message, buffer)?;
        buffer.truncate(length);
        let (flag, chunk) = buffer
            .split_first()
            .ok_or(SealError::Malformed("a message without a flag byte"))?;
        let too_large = SealError::TooLarge {
            limit: self.max_message,
        };
        match *flag {
            LAST | MORE if self.partial.len() + chunk.len() > self.max_message => Err(too_large),
            LAST if self.partial.is_empty() => Ok(buffer.get(1..)),
            LAST => {
                self.partial.extend_from_slice(chunk);
                *buffer = std::mem::take(&mut self.partial);
                Ok(Some(buffer))
            }
            MORE => {
                self.partial.extend_from_slice(chunk);
                Ok(None)
            }
            SEVERAL if self.partial.is_empty() => {
                check_lengths(chunk, self.max_message)?;
                self.received.clear();
                self.received.extend_from_slice(chunk);
                self.returned = 0;
                Ok(self.next(buffer))
            }
            _ => Err(SealError::Malformed("an unknown flag")),
        }
    }

    /// Whether [`Channel::next`] returns a text.
    pub const fn has_next(&self) -> bool {
        !self.received.is_empty()
    }

    /// The next text of the message opened last, if it holds more.
    pub fn next<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        let (text, rest) = split_text(self.received.get(self.returned..)?)?;
        buffer.clear();
        buffer.extend_from_slice(text);
        self.returned += PREFIX + text.len();
        if rest.is_empty() {
            self.received.clear();
            self.received.shrink_to(self.keep);
        }
        Some(buffer)
    }
}

/// The first of several texts, and what follows it.
fn split_text(several: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = several.split_first_chunk::<PREFIX>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Checks that the texts fill their message, that there is one, and that none is over the limit.
fn check_lengths(mut several: &[u8], limit: usize) -> Result<(), SealError> {
    let malformed = SealError::Malformed("texts of other lengths than stated");
    if several.is_empty() {
        return Err(malformed);
    }
    while !several.is_empty() {
        let (text, rest) = split_text(several).ok_or_else(|| malformed.clone())?;
        if text.is_empty() {
            return Err(malformed);
        }
        if text.len() > limit {
            return Err(SealError::TooLarge { limit });
        }
        several = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
