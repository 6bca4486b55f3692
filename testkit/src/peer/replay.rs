//! The numbered events of one session.

use std::collections::VecDeque;

use bowline_protocol::{
    Epoch, Resume, SessionEvent, SessionState, handshake::SessionWelcome, methods::name, rpc,
    session_event::Sequenced,
};

/// One epoch of a session and its newest events, ready to send.
pub struct Replay {
    epoch: Epoch,
    next_seq: u64,
    kept: VecDeque<Vec<u8>>,
    most: usize,
}

impl Replay {
    /// An epoch without events, which will keep the newest `most` of them.
    pub const fn new(epoch: Epoch, most: usize) -> Self {
        Self {
            epoch,
            next_seq: 1,
            kept: VecDeque::new(),
            most,
        }
    }

    /// The number of the newest event; 0 if there is none.
    pub const fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Numbers and keeps an event; returns its text.
    ///
    /// # Panics
    /// The event has no text.
    pub fn append(&mut self, event: SessionEvent) -> Vec<u8> {
        let seq = self.next_seq;
        self.next_seq += 1;
        let mut text = Vec::new();
        rpc::write_notification(&mut text, name::SESSION_EVENT, &Sequenced { seq, event })
            .expect("an event has a text");
        self.kept.push_back(text.clone());
        if self.kept.len() > self.most {
            self.kept.pop_front();
        }
        text
    }

    /// Whether everything after `resume` can still be sent.
    pub fn covers(&self, resume: &Resume) -> bool {
        let first = self.next_seq - self.kept.len() as u64;
        resume.epoch == self.epoch
            && resume.last_seq < self.next_seq
            && resume.last_seq + 1 >= first
    }

    /// The texts of the kept events after that number.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &Vec<u8>> {
        let missed = usize::try_from(self.last_seq() - seq).unwrap_or(usize::MAX);
        self.kept
            .iter()
            .skip(self.kept.len().saturating_sub(missed))
    }

    /// The session's part of a welcome.
    pub fn welcome(&self, state: SessionState) -> SessionWelcome {
        SessionWelcome {
            state,
            epoch: self.epoch.clone(),
            next_seq: self.next_seq,
            stamp: None,
        }
    }
}
