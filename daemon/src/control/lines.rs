//! One JSON-RPC text a line, over a byte stream: the wire of the local socket (`docs/protocol.md` §8).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bowline_protocol::{
    Reason,
    error::RpcError,
    methods::name,
    rpc::{Id, write_error, write_notification},
};
use bytes::{Buf, BytesMut};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::connection::{Gone, Heard, Link};

/// Bytes asked for in one read.
const CHUNK: usize = 8 * 1024;
/// Bytes gathered before they must be written out.
const WRITE_BUFFER: usize = 64 * 1024;
/// What a quiet connection keeps of its buffers.
const KEEP: usize = 1024;

/// A byte stream as a link.
#[derive(Debug)]
pub(crate) struct Lines<S> {
    stream: S,
    max_line: usize,
    input: BytesMut,
    /// Bytes of the input known to hold no line end.
    scanned: usize,
    ended: bool,
    output: BytesMut,
}

/// Parameters of `connection.closing`.
#[derive(Serialize)]
struct Closing {
    reason: &'static str,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Lines<S> {
    pub(crate) fn new(stream: S, max_line: usize) -> Self {
        Self {
            stream,
            max_line,
            input: BytesMut::new(),
            scanned: 0,
            ended: false,
            output: BytesMut::new(),
        }
    }

    /// Moves the next line, without its end, into `buffer`.
    fn next_line(&mut self, buffer: &mut Vec<u8>) -> Option<usize> {
        let unseen = self.input.get(self.scanned..).unwrap_or_default();
        let (length, taken) = match unseen.iter().position(|byte| *byte == b'\n') {
            Some(at) => (self.scanned + at, self.scanned + at + 1),
            // What stands before the end of the stream is a line too.
            None if self.ended && !self.input.is_empty() => (self.input.len(), self.input.len()),
            None => {
                self.scanned = self.input.len();
                return None;
            }
        };
        buffer.clear();
        buffer.extend_from_slice(self.input.get(..length).unwrap_or_default());
        self.input.advance(taken);
        self.scanned = 0;
        if self.input.is_empty() && self.input.capacity() > KEEP {
            self.input = BytesMut::new();
        }
        Some(taken)
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        while !self.output.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output)) {
                Ok(written) if written > 0 => self.output.advance(written),
                _ => return Poll::Ready(Err(Gone)),
            }
        }
        if self.output.capacity() > KEEP {
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Link for Lines<S> {
    fn poll_text<'b>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'b mut Vec<u8>,
    ) -> Poll<(Heard<'b>, usize)> {
        loop {
            if let Some(taken) = self.next_line(buffer) {
                if buffer.len() > self.max_line {
                    return Poll::Ready((Heard::Broken(Reason::MessageTooLarge), taken));
                }
                return Poll::Ready((Heard::Text(buffer), taken));
            }
            if self.input.len() > self.max_line {
                return Poll::Ready((Heard::Broken(Reason::MessageTooLarge), self.input.len()));
            }
            if self.ended {
                return Poll::Ready((Heard::HalfClosed, 0));
            }
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)) {
                Ok(()) if read.filled().is_empty() => self.ended = true,
                Ok(()) => self.input.extend_from_slice(read.filled()),
                Err(_) => return Poll::Ready((Heard::Gone, 0)),
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.output.len() < WRITE_BUFFER {
            return Poll::Ready(Ok(()));
        }
        self.poll_write_out(cx)
    }

    fn feed(&mut self, text: &[u8], _scratch: &mut Vec<u8>) -> Result<usize, Gone> {
        self.output.reserve(text.len() + 1);
        self.output.extend_from_slice(text);
        self.output.extend_from_slice(b"\n");
        Ok(text.len() + 1)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx).map_err(|_| Gone)
    }

    async fn close(&mut self, reason: Reason) {
        let mut text = Vec::new();
        if reason == Reason::MessageTooLarge {
            let error = RpcError::invalid_request(format!(
                "a line of more than {} bytes; the connection ends here",
                self.max_line
            ));
            write_error(&mut text, &Id::NULL, &error);
            text.push(b'\n');
        }
        let params = Closing {
            reason: reason.as_str(),
        };
        let _ = write_notification(&mut text, name::CONNECTION_CLOSING, &params);
        text.push(b'\n');
        self.output.extend_from_slice(&text);
        let _ = self.stream.write_all_buf(&mut self.output).await;
        let _ = self.stream.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;

    use super::*;

    async fn heard(lines: &mut Lines<tokio::io::DuplexStream>) -> String {
        let mut buffer = Vec::new();
        poll_fn(|cx| {
            let heard = lines.poll_text(cx, &mut buffer);
            heard.map(|(heard, _)| match heard {
                Heard::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
                other => format!("{other:?}"),
            })
        })
        .await
    }

    #[tokio::test]
    async fn lines_arrive_whole_however_they_were_cut() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut lines = Lines::new(server, 100);
        client.write_all(b"one\ntw").await.unwrap();
        assert_eq!(heard(&mut lines).await, "one");
        client.write_all(b"o\r\n\nlast").await.unwrap();
        assert_eq!(heard(&mut lines).await, "two\r");
        assert_eq!(heard(&mut lines).await, "");
        client.shutdown().await.unwrap();
        assert_eq!(
            heard(&mut lines).await,
            "last",
            "the end of the stream ends a line"
        );
        assert_eq!(heard(&mut lines).await, "HalfClosed");
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_answered_and_ends_it() {
        for text in [vec![b'x'; 101], [vec![b'x'; 101], vec![b'\n']].concat()] {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let mut lines = Lines::new(server, 100);
            client.write_all(&text).await.unwrap();
            assert_eq!(heard(&mut lines).await, "Broken(MessageTooLarge)");
            lines.close(Reason::MessageTooLarge).await;
            let mut said = String::new();
            client.read_to_string(&mut said).await.unwrap();
            assert!(
                said.contains("-32600") && said.contains("more than 100 bytes"),
                "{said}"
            );
            assert!(said.contains("connection.closing"), "{said}");
        }
    }

    #[tokio::test]
    async fn what_was_fed_is_written_and_nothing_is_kept() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut lines = Lines::new(server, 100);
        lines.feed(&[b'x'; 5_000], &mut Vec::new()).unwrap();
        poll_fn(|cx| lines.poll_flush(cx)).await.unwrap();
        let mut got = vec![0; 5_001];
        client.read_exact(&mut got).await.unwrap();
        assert!(lines.output.capacity() <= KEEP);
    }
}
