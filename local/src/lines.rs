//! The framing of the local socket: one JSON-RPC text per line, of bounded length.

/// Splits a byte stream into lines.
///
/// Push what was read, then take lines until there is none. The buffer then holds at most one
/// unfinished line within the limit plus the last push, and no memory while it is empty.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Offset of the next line.
    start: usize,
    /// Bytes before this offset contain no line end.
    scanned: usize,
    max: usize,
    ended: bool,
}

/// Makes a JSON text a single line. Raw line ends are only white space in JSON, so each becomes a
/// space; results and events supplied by an app as JSON may contain them.
pub fn one_line(text: &mut [u8]) {
    let mut rest = text;
    while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
        let Some((line_end, behind)) = rest.get_mut(end..).and_then(<[u8]>::split_first_mut) else {
            return;
        };
        *line_end = b' ';
        rest = behind;
    }
}

/// A line exceeds the limit; the rest of the stream is unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of more than {limit} bytes")]
pub struct LineTooLong {
    /// Longest line in bytes.
    pub limit: usize,
}

impl LineBuffer {
    /// A buffer for lines of at most `max` bytes, their ends not counted.
    pub const fn new(max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            scanned: 0,
            max,
            ended: false,
        }
    }

    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            // Finished lines were taken; the unfinished rest moves to the front.
            self.bytes.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Marks the end of the stream: a rest without a line end is a line too.
    pub const fn end(&mut self) {
        self.ended = true;
    }

    /// The next line, without its end. `None` when more bytes are needed, or after
    /// [`LineBuffer::end`] when nothing is left.
    ///
    /// # Errors
    /// [`LineTooLong`], also for a line whose end has not been received yet.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, LineTooLong> {
        let unseen = self.bytes.get(self.scanned..).unwrap_or_default();
        let (end, next) = match memchr::memchr(b'\n', unseen) {
            Some(at) => (self.scanned + at, self.scanned + at + 1),
            None if self.ended && self.start < self.bytes.len() => {
                (self.bytes.len(), self.bytes.len())
            }
            None => {
                self.scanned = self.bytes.len();
                if self.buffered() > self.max {
                    return Err(LineTooLong { limit: self.max });
                }
                if self.start == self.bytes.len() {
                    // An idle connection keeps no memory, not even the capacity of its last burst.
                    self.bytes = Vec::new();
                    (self.start, self.scanned) = (0, 0);
                }
                return Ok(None);
            }
        };
        if end - self.start > self.max {
            return Err(LineTooLong { limit: self.max });
        }
        let begin = self.start;
        (self.start, self.scanned) = (next, next);
        Ok(self.bytes.get(begin..end))
    }

    /// Buffered bytes that are not yet part of a finished line.
    pub const fn buffered(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Allocated bytes.
    pub const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(buffer: &mut LineBuffer) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = buffer.next_line().unwrap() {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
        }
        lines
    }

    #[test]
    fn raw_line_ends_become_spaces_and_nothing_else_changes() {
        for (text, expected) in [
            ("", ""),
            ("{}", "{}"),
            ("\n", " "),
            ("{\r\n \"a\\n\": 1\n}\n", "{   \"a\\n\": 1 } "),
        ] {
            let mut bytes = text.as_bytes().to_vec();
            one_line(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        }
    }

    #[test]
    fn lines_come_out_whole_however_they_were_cut() {
        let mut buffer = LineBuffer::new(100);
        buffer.push(b"one\ntw");
        assert_eq!(taken(&mut buffer), ["one"]);
        buffer.push(b"o\r\n\nlast");
        assert_eq!(taken(&mut buffer), ["two\r", ""]);
        buffer.end();
        assert_eq!(
            taken(&mut buffer),
            ["last"],
            "the end of the stream ends a line"
        );
        assert_eq!((buffer.buffered(), buffer.capacity()), (0, 0));
    }

    #[test]
    fn a_line_over_the_limit_is_an_error_with_and_without_its_end() {
        for text in [vec![b'x'; 101], [vec![b'x'; 101], vec![b'\n']].concat()] {
            let mut buffer = LineBuffer::new(100);
            buffer.push(&text);
            assert_eq!(buffer.next_line(), Err(LineTooLong { limit: 100 }));
        }
        let mut buffer = LineBuffer::new(100);
        buffer.push(&[vec![b'x'; 100], vec![b'\n']].concat());
        assert_eq!(buffer.next_line().unwrap().map(<[u8]>::len), Some(100));
    }

    proptest! {
        /// Agrees with the standard library's lines, and memory stays within the limit and one
        /// push.
        #[test]
        fn any_cut_gives_the_same_lines(
            lines in prop::collection::vec("[a-z]{0,40}", 0..20),
            cuts in prop::collection::vec(1_usize..30, 1..20),
        ) {
            let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let mut buffer = LineBuffer::new(40);
            let (mut rest, mut got) = (text.as_bytes(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                buffer.push(now);
                got.extend(taken(&mut buffer));
                prop_assert!(buffer.buffered() <= 40);
                rest = later;
            }
            buffer.end();
            got.extend(taken(&mut buffer));
            prop_assert_eq!(got, lines);
            prop_assert_eq!(buffer.capacity(), 0);
        }
    }
}
