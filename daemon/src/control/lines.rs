//! One JSON-RPC text per line over a byte stream: the wire of the local socket (`docs/protocol.md`
//! §8).

use std::{
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bowline_local::{LineBuffer, Stream, one_line};
use bowline_protocol::{
    Closing, Reason,
    error::RpcError,
    rpc::{Id, write_error},
    text,
};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::connection::{Gone, TextChannel, TextEvent};

/// Bytes per read.
const CHUNK: usize = 8 * 1024;
/// Bytes buffered before they must be written.
const WRITE_BUFFER: usize = 64 * 1024;

/// A byte stream.
pub(crate) trait Carrier: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Whether the peer is gone, checked after it closed its sending side.
    fn is_peer_gone(&self) -> bool;
}

impl Carrier for Stream {
    fn is_peer_gone(&self) -> bool {
        bowline_local::is_peer_gone(self)
    }
}

/// A byte stream as a text channel. It holds no buffer while quiet.
#[derive(Debug)]
pub(crate) struct Lines<S> {
    stream: S,
    max_line: usize,
    ended: bool,
    /// Bytes the stream has taken.
    taken: u64,
    /// Allocated only while not empty.
    buffers: Option<Box<Buffers>>,
}

#[derive(Debug)]
struct Buffers {
    input: LineBuffer,
    output: BytesMut,
}

impl Buffers {
    fn new(max_line: usize) -> Box<Self> {
        Box::new(Self {
            input: LineBuffer::new(max_line),
            output: BytesMut::new(),
        })
    }
}

/// Appends the line with the reason of an imminent close.
pub(super) fn write_closing(out: &mut Vec<u8>, reason: Reason) {
    Closing::from(reason).write(out);
    out.push(b'\n');
}

impl<S: Carrier> Lines<S> {
    pub(crate) fn new(stream: S, max_line: usize) -> Self {
        Self {
            stream,
            max_line,
            ended: false,
            taken: 0,
            buffers: None,
        }
    }

    fn buffers(&mut self) -> &mut Buffers {
        let max_line = self.max_line;
        self.buffers.get_or_insert_with(|| Buffers::new(max_line))
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let Some(buffers) = &mut self.buffers else {
            return Poll::Ready(Ok(()));
        };
        while !buffers.output.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &buffers.output)) {
                Ok(written) if written > 0 => {
                    buffers.output.advance(written);
                    self.taken += written as u64;
                }
                _ => return Poll::Ready(Err(Gone)),
            }
        }
        // An empty buffer may still hold memory.
        buffers.output = BytesMut::new();
        self.rest();
        Poll::Ready(Ok(()))
    }

    /// Frees empty buffers.
    fn rest(&mut self) {
        let unused = |buffers: &Buffers| buffers.input.buffered() == 0 && buffers.output.is_empty();
        if self.buffers.as_deref().is_some_and(unused) {
            self.buffers = None;
        }
    }
}

impl<S: Carrier> TextChannel for Lines<S> {
    fn poll_text<'b>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'b mut Vec<u8>,
    ) -> Poll<(TextEvent<'b>, usize)> {
        loop {
            if let Some(buffers) = &mut self.buffers {
                match buffers.input.next_line() {
                    Ok(Some(line)) => {
                        buffer.clear();
                        buffer.extend_from_slice(line);
                        // Includes the line end, which only the last line of a stream may omit.
                        let taken = buffer.len() + 1;
                        return Poll::Ready((TextEvent::Text(buffer), taken));
                    }
                    Ok(None) => {}
                    Err(_) => {
                        let taken = buffers.input.buffered();
                        return Poll::Ready((TextEvent::Broken(Reason::MessageTooLarge), taken));
                    }
                }
            }
            if self.ended {
                return Poll::Ready((TextEvent::HalfClosed, 0));
            }
            let mut chunk = [MaybeUninit::uninit(); CHUNK];
            let mut read = ReadBuf::uninit(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    self.ended = true;
                    if let Some(buffers) = &mut self.buffers {
                        buffers.input.end();
                    }
                }
                Poll::Ready(Ok(())) => self.buffers().input.push(read.filled()),
                Poll::Ready(Err(_)) => return Poll::Ready((TextEvent::Gone, 0)),
                Poll::Pending => {
                    self.rest();
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let waiting = self.buffers.as_ref();
        if waiting.is_none_or(|buffers| buffers.output.len() < WRITE_BUFFER) {
            return Poll::Ready(Ok(()));
        }
        self.poll_write_out(cx)
    }

    fn feed(&mut self, message: &[u8]) -> Result<usize, Gone> {
        let output = &mut self.buffers().output;
        output.reserve(message.len() + 1);
        let start = output.len();
        for piece in text::line_pieces(message) {
            output.extend_from_slice(piece);
        }
        one_line(output.get_mut(start..).unwrap_or_default());
        output.extend_from_slice(b"\n");
        Ok(output.len() - start)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx).map_err(|_| Gone)
    }

    fn is_peer_gone(&self) -> bool {
        self.stream.is_peer_gone()
    }

    fn taken(&self) -> u64 {
        self.taken
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
        write_closing(&mut text, reason);
        let mut output = self
            .buffers
            .take()
            .map_or_else(BytesMut::new, |buffers| buffers.output);
        output.extend_from_slice(&text);
        let _ = self.stream.write_all_buf(&mut output).await;
        let _ = self.stream.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    impl super::Carrier for tokio::io::DuplexStream {
        fn is_peer_gone(&self) -> bool {
            false
        }
    }

    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;

    use super::*;

    async fn heard(lines: &mut Lines<tokio::io::DuplexStream>) -> String {
        let mut buffer = Vec::new();
        poll_fn(|cx| {
            let heard = lines.poll_text(cx, &mut buffer);
            heard.map(|(heard, _)| match heard {
                TextEvent::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
                other => format!("{other:?}"),
            })
        })
        .await
    }

    #[tokio::test]
    async fn the_end_of_the_stream_ends_a_line_and_is_told() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut lines = Lines::new(server, 100);
        client.write_all(b"one\nlast").await.unwrap();
        client.shutdown().await.unwrap();
        for expected in ["one", "last", "HalfClosed", "HalfClosed"] {
            assert_eq!(heard(&mut lines).await, expected);
        }
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
        lines.feed(&[b'x'; 5_000]).unwrap();
        poll_fn(|cx| lines.poll_flush(cx)).await.unwrap();
        let mut got = vec![0; 5_001];
        client.read_exact(&mut got).await.unwrap();
        assert!(lines.buffers.is_none());
    }
}
