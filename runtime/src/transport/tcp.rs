//! Opening a TCP connection to a name that may stand for several addresses.
//!
//! Each further address is tried after a short pause, or as soon as one has failed; none is given up for being slow
//! (lesson 9). Otherwise one address that swallows packets, as an IPv6 one on a half-configured network does, would use
//! up the whole deadline of a connect.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::{TcpStream, lookup_host},
    time::sleep,
};

/// Head start of each address over the next.
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses tried of one name; further ones are ignored.
const MOST_ADDRESSES: usize = 8;

/// Connects to the first address of a name that answers. The caller bounds the wait.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = lookup_host((host, port)).await?;
    race(addresses.take(MOST_ADDRESSES), TcpStream::connect).await
}

async fn race<T, F: Future<Output = io::Result<T>>>(
    mut addresses: impl Iterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut attempts = FuturesUnordered::new();
    let mut failed = None;
    loop {
        let next = addresses.next();
        let is_last = next.is_none();
        attempts.extend(next.map(&connect));
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => failed = Some(error),
                None => {
                    let none = || io::Error::new(io::ErrorKind::NotFound, "no address of that name");
                    return Err(failed.unwrap_or_else(none));
                }
            },
            () = sleep(STAGGER), if !is_last => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn addresses(ports: &[u16]) -> impl Iterator<Item = SocketAddr> {
        let ports: Vec<_> = ports.to_vec();
        ports.into_iter().map(|port| ([127, 0, 0, 1], port).into())
    }

    /// Port 1 swallows packets, port 2 refuses, all others answer after a second.
    async fn network(address: SocketAddr) -> io::Result<u16> {
        match address.port() {
            1 => std::future::pending().await,
            2 => Err(io::ErrorKind::ConnectionRefused.into()),
            port => {
                sleep(Duration::from_secs(1)).await;
                Ok(port)
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lesson_9_an_address_that_swallows_packets_does_not_hide_one_that_answers() {
        let start = Instant::now();
        assert_eq!(race(addresses(&[1, 3]), network).await.unwrap(), 3);
        assert_eq!(start.elapsed(), STAGGER + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_costs_nothing_and_a_slow_one_is_not_given_up() {
        let start = Instant::now();
        assert_eq!(race(addresses(&[2, 3, 4]), network).await.unwrap(), 3);
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_address_that_answers_the_last_error_counts() {
        let error = race(addresses(&[2, 2]), network).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = race(addresses(&[]), network).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
