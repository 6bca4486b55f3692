//! Assembles messages from a socket's bytes, however they are split.
//!
//! Bytes are read into memory that all sockets of a thread share. Whole frames are returned from
//! there; only an unfinished frame is copied to its socket, so that a quiet socket holds no memory.

use super::{
    frame::{Header, Masked, Opcode, Parsed, Violation, parse},
    may_be_sent,
};

/// One event of a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Incoming<'a> {
    /// A whole message, binary or text; text is not validated as UTF-8.
    Message(Opcode, Masked<'a>),
    /// Requires a pong with the same payload.
    Ping(Masked<'a>),
    /// A sign of liveness.
    Pong,
    /// The peer closes; the code is absent if it sent none.
    Close(Option<u16>),
}

/// The reading half of one socket.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Largest message in bytes.
    max: usize,
    /// The beginning of a frame, or the last returned one.
    frame: Vec<u8>,
    /// `frame` was handed out and is no longer needed.
    handed_out: bool,
    /// A fragmented message. Rare, hence allocated separately.
    fragments: Option<Box<Fragments>>,
}

#[derive(Debug)]
struct Fragments {
    opcode: Opcode,
    clear: Vec<u8>,
    /// The last fragment has arrived; the message was returned and is no longer needed.
    whole: bool,
}

/// Location of the next message.
enum Step<'i> {
    /// None yet: the input is consumed.
    Nothing,
    /// None yet: a fragment was stored.
    Again,
    /// In the input.
    Input(Header, &'i [u8]),
    /// In the assembled frame.
    Gathered(Header),
    /// In the fragments.
    Joined,
}

impl Reader {
    /// A reader that refuses messages over `max` bytes.
    pub(crate) const fn new(max: usize) -> Self {
        Self {
            max,
            frame: Vec::new(),
            handed_out: false,
            fragments: None,
        }
    }

    /// Bytes of unfinished messages.
    pub(crate) fn held(&self) -> usize {
        let fragments = self.fragments.as_ref().map_or(0, |f| f.clear.len());
        self.frame.len() + fragments
    }

    /// Frees returned messages; called when a socket has no more input.
    pub(crate) fn rest(&mut self) {
        self.forget();
        if self.frame.is_empty() {
            self.frame = Vec::new();
        }
    }

    fn forget(&mut self) {
        if self.handed_out {
            self.frame.clear();
            self.handed_out = false;
        }
        if self.fragments.as_ref().is_some_and(|f| f.whole) {
            self.fragments = None;
        }
    }

    /// The next event that `input` completes; the used bytes are removed from `input`. `None`: the
    /// input is consumed.
    pub(crate) fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Incoming<'s>>, Violation> {
        self.forget();
        let step = loop {
            match self.step(input)? {
                Step::Again => {}
                step => break step,
            }
        };
        match step {
            Step::Nothing | Step::Again => Ok(None),
            Step::Input(header, payload) => incoming(&header, payload).map(Some),
            Step::Gathered(header) => {
                self.handed_out = true;
                let payload = self.frame.get(header.header_len..).unwrap_or_default();
                incoming(&header, payload).map(Some)
            }
            Step::Joined => Ok(self.fragments.as_ref().map(|fragments| {
                Incoming::Message(fragments.opcode, Masked::new(&fragments.clear, [0; 4]))
            })),
        }
    }

    fn step<'i>(&mut self, input: &mut &'i [u8]) -> Result<Step<'i>, Violation> {
        if self.frame.is_empty()
            && let Parsed::Header(header) = parse(input, self.max)?
            && let Some((frame, rest)) = input.split_at_checked(header.header_len + header.len)
        {
            *input = rest;
            let payload = frame.get(header.header_len..).unwrap_or_default();
            return Ok(match self.absorb(&header, payload)? {
                Some(step) => step,
                None => Step::Input(header, payload),
            });
        }
        let Some(header) = self.gather(input)? else {
            return Ok(Step::Nothing);
        };
        // Taken out temporarily, because a fragment moves between two buffers of `self`.
        let frame = std::mem::take(&mut self.frame);
        let payload = frame.get(header.header_len..).unwrap_or_default();
        let absorbed = self.absorb(&header, payload)?;
        self.frame = frame;
        Ok(match absorbed {
            Some(step) => {
                self.frame.clear();
                step
            }
            None => Step::Gathered(header),
        })
    }

    /// Completes the pending frame, or begins one. `None`: the input is consumed.
    fn gather(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Violation> {
        loop {
            let (need, header) = match parse(&self.frame, self.max)? {
                Parsed::Need(need) => (need, None),
                Parsed::Header(header) => (header.header_len + header.len, Some(header)),
            };
            let missing = need.saturating_sub(self.frame.len());
            if missing == 0 && header.is_some() {
                return Ok(header);
            }
            if input.is_empty() {
                return Ok(None);
            }
            let (now, later) = input.split_at(missing.min(input.len()));
            self.frame.extend_from_slice(now);
            *input = later;
        }
    }

    /// Stores a fragment. `None`: the frame is not a fragment.
    fn absorb<'i>(
        &mut self,
        header: &Header,
        payload: &[u8],
    ) -> Result<Option<Step<'i>>, Violation> {
        match (header.opcode, &mut self.fragments) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => Ok(None),
            (Opcode::Text | Opcode::Binary, None) if header.fin => Ok(None),
            (Opcode::Text | Opcode::Binary, none @ None) => {
                *none = Some(Box::new(Fragments {
                    opcode: header.opcode,
                    clear: Masked::new(payload, header.mask).to_vec(),
                    whole: false,
                }));
                Ok(Some(Step::Again))
            }
            (Opcode::Continuation, Some(fragments)) => {
                if fragments.clear.len() + payload.len() > self.max {
                    return Err(Violation::TooLarge);
                }
                Masked::new(payload, header.mask).append_to(&mut fragments.clear);
                fragments.whole = header.fin;
                Ok(Some(if header.fin {
                    Step::Joined
                } else {
                    Step::Again
                }))
            }
            (Opcode::Text | Opcode::Binary, Some(_)) | (Opcode::Continuation, None) => {
                Err(Violation::Fragments)
            }
        }
    }
}

/// A frame that is a message of its own.
fn incoming<'a>(header: &Header, payload: &'a [u8]) -> Result<Incoming<'a>, Violation> {
    let payload = Masked::new(payload, header.mask);
    Ok(match header.opcode {
        // `absorb` leaves no continuation.
        kind @ (Opcode::Text | Opcode::Binary | Opcode::Continuation) => {
            Incoming::Message(kind, payload)
        }
        Opcode::Ping => Incoming::Ping(payload),
        Opcode::Pong => Incoming::Pong,
        Opcode::Close if payload.len() == 0 => Incoming::Close(None),
        Opcode::Close => {
            let (code, _reason) = payload.split_first::<2>().ok_or(Violation::Control)?;
            let code = u16::from_be_bytes(code);
            if !may_be_sent(code) {
                return Err(Violation::Control);
            }
            Incoming::Close(Some(code))
        }
    })
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
