//! JSON-RPC texts over a socket: sealed in Noise messages, or (local socket) one per line. The
//! driver is the same for both.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_protocol::{Closing, Reason, seal::Channel};
use tokio::time::timeout;

use super::{Gone, MessageSocket, Received};

/// Time a peer has to receive the sealed close message. A peer that does not read sees only the
/// close code, which proves nothing; the next welcome repeats the reason, sealed.
const GOODBYE: Duration = Duration::from_secs(1);

/// Input of a channel.
#[derive(Debug)]
pub(crate) enum TextEvent<'b> {
    /// A whole text.
    Text(&'b [u8]),
    /// Part of a text, or a sign of liveness.
    More,
    /// The peer sends no more, but may still read its responses.
    HalfClosed,
    /// The socket ended.
    Gone,
    /// The peer violated the protocol; nothing more is read.
    Broken(Reason),
}

/// A channel of texts in both directions.
pub(crate) trait TextChannel: Send + Unpin + 'static {
    /// The next event, with its bytes on the wire. The text is in `buffer`, which is working space.
    fn poll_text<'b>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'b mut Vec<u8>,
    ) -> Poll<(TextEvent<'b>, usize)>;

    /// Whether one more text may be fed.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// Feeds one text, after [`TextChannel::poll_ready`]. Returns its bytes on the wire.
    fn feed(&mut self, text: &[u8]) -> Result<usize, Gone>;

    /// Writes all fed texts.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// After [`TextEvent::HalfClosed`]: whether the peer no longer reads its responses.
    fn is_peer_gone(&self) -> bool {
        false
    }

    /// Bytes the socket has taken so far; this tells a slow reader from one that does not read
    /// (LS-19).
    fn taken(&self) -> u64;

    /// Sends the close reason and ends the socket such that the peer can read it. The caller bounds
    /// the time.
    fn close(&mut self, reason: Reason) -> impl Future<Output = ()> + Send;
}

/// A message socket behind an established channel (BX-3).
pub(crate) struct Sealed<S> {
    socket: S,
    channel: Channel,
    /// Sealed messages that wait for room in the socket.
    waiting: VecDeque<Vec<u8>>,
}

impl<S: MessageSocket> Sealed<S> {
    pub(crate) const fn new(socket: S, channel: Channel) -> Self {
        Self {
            socket,
            channel,
            waiting: VecDeque::new(),
        }
    }

    /// Sends the close reason inside the channel, because a close code can be forged (TR-2), and
    /// ends the socket. The caller bounds the time.
    pub(super) async fn close_with(&mut self, closing: Closing) {
        if closing.reason.close_code().is_some() {
            // The peer may already have closed.
            let _ = timeout(GOODBYE, self.say(closing)).await;
        }
        self.socket.close(closing.reason).await;
    }

    async fn say(&mut self, closing: Closing) -> Result<(), Gone> {
        let mut text = Vec::new();
        closing.write(&mut text);
        poll_fn(|cx| self.poll_ready(cx)).await?;
        self.feed(&text)?;
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        while !self.waiting.is_empty() {
            ready!(self.socket.poll_ready(cx))?;
            if let Some(message) = self.waiting.pop_front() {
                self.socket.feed(message)?;
            }
        }
        self.waiting = VecDeque::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: MessageSocket> TextChannel for Sealed<S> {
    fn poll_text<'b>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'b mut Vec<u8>,
    ) -> Poll<(TextEvent<'b>, usize)> {
        if self.channel.has_next() {
            let text = self.channel.next(buffer).unwrap_or_default();
            return Poll::Ready((TextEvent::Text(text), 0));
        }
        let message = match ready!(self.socket.poll_recv(cx)) {
            Received::Message(message) => message,
            Received::Alive => return Poll::Ready((TextEvent::More, 0)),
            Received::Gone => return Poll::Ready((TextEvent::Gone, 0)),
            Received::Broken(reason) => return Poll::Ready((TextEvent::Broken(reason), 0)),
        };
        let heard = match self.channel.open(&message, buffer) {
            Ok(Some(text)) => TextEvent::Text(text),
            Ok(None) => TextEvent::More,
            Err(error) => TextEvent::Broken(error.reason()),
        };
        Poll::Ready((heard, message.len()))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        ready!(self.poll_waiting(cx))?;
        self.socket.poll_ready(cx)
    }

    /// Texts of one round go out under one seal: [`TextChannel::poll_flush`] makes it.
    fn feed(&mut self, text: &[u8]) -> Result<usize, Gone> {
        let Self {
            channel, waiting, ..
        } = self;
        // A channel that cannot seal is exhausted; no more can be sent.
        channel
            .gather(text, |message| waiting.push_back(message.to_vec()))
            .map_err(|_| Gone)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let Self {
            channel, waiting, ..
        } = self;
        channel
            .finish(|message| waiting.push_back(message.to_vec()))
            .map_err(|_| Gone)?;
        ready!(self.poll_waiting(cx))?;
        self.socket.poll_flush(cx)
    }

    fn taken(&self) -> u64 {
        self.socket.taken()
    }

    async fn close(&mut self, reason: Reason) {
        self.close_with(reason.into()).await;
    }
}
