//! One connection from its opening to its end, as a future of a few words: what the task of a quiet connection holds is
//! its driver, and nothing of what came before it or will come after it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{driver::Driver, link::Link};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The part of a connection's life that is on.
pub(super) enum Life<L> {
    /// It is not decided yet whether it is served.
    Opening(Boxed<Option<Box<Driver<L>>>>),
    /// It is served.
    Open(Box<Driver<L>>),
    /// The close is under way.
    Ending(Boxed<()>),
    /// Nothing is left.
    Over,
}

impl<L: Link> Life<L> {
    /// Begins with what decides whether the connection is served.
    pub(super) fn begin(
        opening: impl Future<Output = Option<Box<Driver<L>>>> + Send + 'static,
    ) -> Self {
        Self::Opening(Box::pin(opening))
    }
}

impl<L: Link> Future for Life<L> {
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

    /// Thousands of connections are quiet; what each takes is measured by `cargo xtask bench local-memory`.
    #[test]
    fn a_quiet_connection_is_small() {
        type Session = Sealed<WebSocket<tokio::net::TcpStream>>;
        assert!(size_of::<Life<Session>>() <= 24);
        let driver = size_of::<Driver<Session>>() - size_of::<Session>();
        assert!(driver <= 320, "{driver} bytes besides the socket");
    }
}
