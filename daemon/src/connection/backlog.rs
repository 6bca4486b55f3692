//! Output of a connection that waits for room in its socket.

use std::collections::VecDeque;

use crate::outbound::Frame;

/// Frames and responses to be written before all others. One pointer while empty, and no memory
/// stays after a burst.
#[derive(Default)]
pub(super) struct Backlog(Option<Box<Waiting>>);

#[derive(Default)]
struct Waiting {
    /// The replay first, then queued events.
    frames: VecDeque<Frame>,
    /// Written after the frames.
    answers: VecDeque<Vec<u8>>,
    frame_bytes: usize,
    answer_bytes: usize,
}

impl Backlog {
    /// Appends frames.
    pub(super) fn add_frames(&mut self, frames: impl ExactSizeIterator<Item = Frame>) {
        if frames.len() > 0 {
            let waiting = self.0.get_or_insert_default();
            for frame in frames {
                waiting.frame_bytes += frame.len();
                waiting.frames.push_back(frame);
            }
        }
    }

    /// Appends a response.
    pub(super) fn add_answer(&mut self, text: &[u8]) {
        let waiting = self.0.get_or_insert_default();
        waiting.answer_bytes += text.len();
        waiting.answers.push_back(text.to_vec());
    }

    /// The first frame.
    pub(super) fn frame(&self) -> Option<Frame> {
        self.0.as_ref()?.frames.front().cloned()
    }

    /// Removes the first frame.
    pub(super) fn frame_written(&mut self) {
        if let Some(waiting) = &mut self.0
            && let Some(frame) = waiting.frames.pop_front()
        {
            waiting.frame_bytes -= frame.len();
        }
    }

    /// Whether responses wait.
    pub(super) fn has_answers(&self) -> bool {
        let waiting = self.0.as_ref();
        waiting.is_some_and(|waiting| !waiting.answers.is_empty())
    }

    /// Removes and returns the first response.
    pub(super) fn take_answer(&mut self) -> Option<Vec<u8>> {
        let waiting = self.0.as_mut()?;
        let answer = waiting.answers.pop_front()?;
        waiting.answer_bytes -= answer.len();
        Some(answer)
    }

    /// Bytes of the responses.
    pub(super) fn answer_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.answer_bytes)
    }

    /// Bytes of frames and responses.
    pub(super) fn bytes(&self) -> usize {
        let waiting = self.0.as_ref();
        waiting.map_or(0, |waiting| waiting.frame_bytes + waiting.answer_bytes)
    }

    /// Frees the memory. Only when the backlog is empty or the socket has ended.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_out_in_order_and_nothing_is_kept() {
        let mut backlog = Backlog::default();
        backlog.add_frames(Vec::new().into_iter());
        assert!(backlog.0.is_none() && backlog.frame().is_none());
        backlog.add_answer(b"answer");
        backlog.add_frames(
            ["one", "two"]
                .map(|text| Frame::from_static(text.as_bytes()))
                .into_iter(),
        );
        assert_eq!((backlog.bytes(), backlog.answer_bytes()), (12, 6));
        for expected in ["one", "two"] {
            assert_eq!(backlog.frame().unwrap(), expected);
            backlog.frame_written();
        }
        assert!(backlog.frame().is_none() && backlog.has_answers());
        assert_eq!(backlog.take_answer().unwrap(), b"answer");
        assert_eq!((backlog.bytes(), backlog.answer_bytes()), (0, 0));
        assert!(!backlog.has_answers());
        backlog.clear();
        assert!(backlog.0.is_none());
        assert_eq!(size_of::<Backlog>(), 8);
    }
}
