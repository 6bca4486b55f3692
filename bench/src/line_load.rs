//! The load on a local socket and on the bare echo: the same code and requests for both.
//!
//! It uses blocking reads and writes without an async runtime, which would add the same cost to
//! both.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use super::{Outcome, process::DEADLINE, stats::timed};

/// Bytes of one read.
const CHUNK: usize = 16 * 1024;
/// Start of every message, up to its id.
const HEAD: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":";

/// The answering peer, which determines the form of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Answers with results.
    Daemon,
    /// Answers with the requests themselves.
    Echo,
}

impl Peer {
    /// The bytes that follow the id.
    const fn behind_id(self) -> &'static [u8] {
        match self {
            Self::Daemon => b",\"result\":{",
            Self::Echo => b",\"method\":\"",
        }
    }
}

/// One connection that sends `system.ping` requests.
pub(super) struct Load {
    stream: UnixStream,
    peer: Peer,
    /// Id of the last request written.
    asked: u64,
    /// Id of the last answer read.
    answered: u64,
    out: Vec<u8>,
    /// The start of an incomplete answer.
    rest: Vec<u8>,
    chunk: Vec<u8>,
}

impl Load {
    /// Connects.
    ///
    /// # Errors
    /// Nothing listens there.
    pub(super) fn connect(path: &Path, peer: Peer) -> Outcome<Self> {
        let stream = UnixStream::connect(path)
            .map_err(|error| format!("no socket at {}: {error}", path.display()))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self {
            stream,
            peer,
            asked: 0,
            answered: 0,
            out: Vec::new(),
            rest: Vec::new(),
            chunk: vec![0; CHUNK],
        })
    }

    /// Sequential round trips. Returns the time of each in microseconds.
    ///
    /// # Errors
    /// The peer closes the connection or sends an unexpected answer.
    pub(super) fn round_trips(&mut self, count: usize) -> Outcome<Vec<f64>> {
        Ok(timed!(count, self.exchange(1, 1)?))
    }

    /// Sends `count` requests with at most `window` unanswered.
    ///
    /// # Errors
    /// As [`Load::round_trips`].
    pub(super) fn exchange(&mut self, count: u64, window: u64) -> Outcome<()> {
        let last = self.asked + count;
        while self.answered < last {
            while self.asked < last && self.asked - self.answered < window {
                self.asked += 1;
                self.out.extend_from_slice(HEAD);
                write!(self.out, "{}", self.asked)?;
                self.out
                    .extend_from_slice(b",\"method\":\"system.ping\"}\n");
            }
            if !self.out.is_empty() {
                self.stream.write_all(&self.out)?;
                self.out.clear();
            }
            self.read()?;
        }
        Ok(())
    }

    /// Reads pending data; blocks if there is none.
    fn read(&mut self) -> Outcome<()> {
        let read = self.stream.read(&mut self.chunk)?;
        if read == 0 {
            return Err("the peer closed the connection".into());
        }
        self.rest
            .extend_from_slice(self.chunk.get(..read).unwrap_or_default());
        let mut lines = self.rest.as_slice();
        let mut used = 0;
        while let Some(at) = lines.iter().position(|byte| *byte == b'\n') {
            let (line, others) = lines.split_at(at);
            self.answered += 1;
            if !is_answer(line, self.answered, self.peer) {
                let line = String::from_utf8_lossy(line);
                return Err(format!("not the answer to {}: {line}", self.answered).into());
            }
            used += at + 1;
            lines = others.get(1..).unwrap_or_default();
        }
        self.rest.drain(..used);
        Ok(())
    }
}

/// Whether a line answers the request with this id; pings are answered in order.
fn is_answer(line: &[u8], id: u64, peer: Peer) -> bool {
    let Some(line) = line.strip_prefix(HEAD) else {
        return false;
    };
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, behind) = line.split_at(digits);
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    number == id && behind.starts_with(peer.behind_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_that_request_is_one() {
        let answer = b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"serverTime\":1}}";
        assert!(is_answer(answer, 7, Peer::Daemon));
        assert!(!is_answer(answer, 8, Peer::Daemon));
        assert!(!is_answer(answer, 7, Peer::Echo));
        let error = b"{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-32000}}";
        assert!(!is_answer(error, 7, Peer::Daemon));
    }
}
