//! The stages of one connection as one small future. The task of a quiet connection holds its
//! driver, and no state of earlier or later stages.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{driver::Driver, link::TextChannel};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The current stage of a connection.
pub(super) enum Life<L> {
    /// Opening: it ends with a driver if the connection is accepted.
    Opening(Boxed<Option<Box<Driver<L>>>>),
    /// Open: the driver runs.
    Open(Box<Driver<L>>),
    /// Closing, in bounded time.
    Ending(Boxed<()>),
    /// Ended.
    Over,
}

impl<L: TextChannel> Life<L> {
    /// Starts with the opening stage, which decides whether the connection is served.
    pub(super) fn begin(
        opening: impl Future<Output = Option<Box<Driver<L>>>> + Send + 'static,
    ) -> Self {
        Self::Opening(Box::pin(opening))
    }
}

impl<L: TextChannel> Future for Life<L> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let life = self.get_mut();
        loop {
            *life = match std::mem::replace(life, Self::Over) {
                Self::Opening(mut opening) => match opening.as_mut().poll(cx) {
                    Poll::Ready(driver) => driver.map_or(Self::Over, Self::Open),
                    Poll::Pending => {
                        *life = Self::Opening(opening);
                        return Poll::Pending;
                    }
                },
                Self::Open(mut driver) => match driver.poll_turn(cx) {
                    Poll::Ready(close) => Self::Ending(Box::pin(driver.finish(close))),
                    Poll::Pending => {
                        *life = Self::Open(driver);
                        return Poll::Pending;
                    }
                },
                Self::Ending(mut ending) => {
                    let ended = ending.as_mut().poll(cx);
                    if ended.is_pending() {
                        *life = Self::Ending(ending);
                    }
                    ready!(ended);
                    Self::Over
                }
                Self::Over => return Poll::Ready(()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{WebSocket, link::Sealed};

    /// Thousands of connections may be quiet; `cargo xtask bench local-memory` measures the memory
    /// of each.
    #[test]
    fn a_quiet_connection_is_small() {
        type Session = Sealed<WebSocket<tokio::net::TcpStream>>;
        assert!(size_of::<Life<Session>>() <= 24);
        let driver = size_of::<Driver<Session>>() - size_of::<Session>();
        assert!(driver <= 336, "{driver} bytes besides the socket");
    }
}
