//! JSON-RPC texts over a socket: sealed in Noise messages, or (local socket) one a line. The driver is the same.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_protocol::{Closing, Reason, seal::Channel};
use tokio::time::timeout;

use super::{Gone, MessageSocket, Received};

/// How long a peer gets to take the sealed goodbye. One that takes nothing has only the close code, which proves nothing; it
/// learns the same, sealed, from the next welcome.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a link brought.
#[derive(Debug)]
pub(crate) enum Heard<'b> {
    /// A whole text.
    Text(&'b [u8]),
    /// Part of one, or proof of life.
    More,
    /// The peer sends no more, but may still read what it asked for.
    HalfClosed,
    /// The socket ended.
    Gone,
    /// The peer broke the rules; nothing more is read.
    Broken(Reason),
}

/// Texts both ways.
pub(crate) trait Link: Send + Unpin + 'static {
    /// The next thing heard, with the bytes it took on the wire. `buffer` is working space that holds the text.
    fn poll_text<'b>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'b mut Vec<u8>,
    ) -> Poll<(Heard<'b>, usize)>;

    /// Whether one more text may be fed.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// Takes one text, after [`Link::poll_ready`]; gives its bytes on the wire.
    fn feed(&mut self, text: &[u8], scratch: &mut Vec<u8>) -> Result<usize, Gone>;

    /// Writes out everything fed.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;

    /// Asked after [`Heard::HalfClosed`]: whether the peer does not read its answers either.
    fn is_peer_gone(&self) -> bool {
        false
    }

    /// Bytes that the socket has taken so far: what tells a slow reader from one that does not read (lesson 19).
    fn taken(&self) -> u64;

    /// Says why, and ends the socket such that the peer can read it. The caller bounds the time.
    fn close(&mut self, reason: Reason) -> impl Future<Output = ()> + Send;
}

/// A message socket behind an established channel (BX-3).
pub(crate) struct Sealed<S> {
    socket: S,
    channel: Channel,
    /// Chunks of a long text that the socket had no room for yet.
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

    /// Says why inside the channel, since a close code can be anybody's (TR-2), and ends the socket. The caller bounds the time.
    pub(super) async fn close_with(&mut self, closing: Closing) {
        if closing.reason.close_code().is_some() {
            // A peer that is gone has nobody to be told.
            let _ = timeout(GOODBYE, self.say(closing)).await;
        }
        self.socket.close(closing.reason).await;
    }

    async fn say(&mut self, closing: Closing) -> Result<(), Gone> {
        let mut text = Vec::new();
        closing.write(&mut text);
        poll_fn(|cx| self.poll_ready(cx)).await?;
        self.feed(&text, &mut Vec::new())?;
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.waiting.is_empty() {
            return Poll::Ready(Ok(()));
        }
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

impl<S: MessageSocket> Link for Sealed<S> {
    fn poll_text<'b>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'b mut Vec<u8>,
    ) -> Poll<(Heard<'b>, usize)> {
        let message = match ready!(self.socket.poll_recv(cx)) {
            Received::Message(message) => message,
            Received::Alive => return Poll::Ready((Heard::More, 0)),
            Received::Gone => return Poll::Ready((Heard::Gone, 0)),
            Received::Broken(reason) => return Poll::Ready((Heard::Broken(reason), 0)),
        };
        let heard = match self.channel.open(&message, buffer) {
            Ok(Some(text)) => Heard::Text(text),
            Ok(None) => Heard::More,
            Err(error) => Heard::Broken(error.reason()),
        };
        Poll::Ready((heard, message.len()))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        ready!(self.poll_waiting(cx))?;
        self.socket.poll_ready(cx)
    }

    fn feed(&mut self, text: &[u8], scratch: &mut Vec<u8>) -> Result<usize, Gone> {
        let Self {
            socket,
            channel,
            waiting,
        } = self;
        let (mut wire, mut fed) = (0, Ok(()));
        let mut first = true;
        let sealed = channel.seal(text, scratch, |message| {
            wire += message.len();
            if std::mem::take(&mut first) {
                fed = socket.feed(message);
            } else {
                waiting.push_back(message);
            }
        });
        fed?;
        // A channel that cannot seal is used up; the peer can be told nothing through it.
        sealed.map(|()| wire).map_err(|_| Gone)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
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
