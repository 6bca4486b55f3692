//! Races the addresses of one name (RFC 8305).
//!
//! Each further address starts after a short pause, or as soon as an earlier one fails; slow
//! attempts continue (LS-9). The address families alternate, so a family whose packets are dropped,
//! as IPv6 on a half-configured network, costs one pause. More addresses mean shorter pauses: the
//! last attempt starts within [`ALL_BEGUN`], however many dead addresses precede it.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::sleep;

/// Longest head start of an address over the next.
const STAGGER: Duration = Duration::from_millis(250);
/// Latest start of the last address: well within the usual timeout of a whole connect.
const ALL_BEGUN: Duration = Duration::from_secs(3);
/// Most addresses tried for one name, and so most concurrent attempts; further ones are ignored.
const MAX_ADDRESSES: usize = 64;

/// Connects to the first address that answers. The caller sets the timeout.
pub(crate) async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: &[IpAddr],
    port: u16,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut addresses = in_turns(addresses);
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let stagger = STAGGER.min(ALL_BEGUN / count);
    let mut attempts = FuturesUnordered::new();
    let mut failed = None;
    loop {
        let next = addresses.pop_front();
        let is_last = next.is_none();
        attempts.extend(next.map(|address| connect(SocketAddr::new(address, port))));
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => failed = Some(error),
                None => {
                    let none = || io::Error::new(io::ErrorKind::NotFound, "no address of that name");
                    return Err(failed.unwrap_or_else(none));
                }
            },
            () = sleep(stagger), if !is_last => {}
        }
    }
}

/// Each address once, with alternating families, beginning with that of the first; within a family
/// in the system's order.
fn in_turns(addresses: &[IpAddr]) -> VecDeque<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let family = |v6: bool| {
        addresses
            .iter()
            .filter(move |address| address.is_ipv6() == v6)
    };
    let (mut ours, mut others) = (family(first_is_v6), family(!first_is_v6));
    let mut turns = VecDeque::new();
    loop {
        let pair = [ours.next(), others.next()];
        if pair == [None, None] {
            return turns;
        }
        for address in pair.into_iter().flatten() {
            if !turns.contains(address) && turns.len() < MAX_ADDRESSES {
                turns.push_back(*address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const LAST: [u8; 4] = [127, 0, 0, 200];

    /// A simulated network: hosts below 100 drop packets, those below 200 refuse, all others answer
    /// after one second.
    async fn network(address: SocketAddr) -> io::Result<IpAddr> {
        match address.ip() {
            IpAddr::V4(v4) if v4.octets()[3] < 100 => std::future::pending().await,
            IpAddr::V4(v4) if v4.octets()[3] < 200 => Err(io::ErrorKind::ConnectionRefused.into()),
            answers => {
                sleep(Duration::from_secs(1)).await;
                Ok(answers)
            }
        }
    }

    fn v4(hosts: &[u8]) -> Vec<IpAddr> {
        hosts.iter().map(|host| [127, 0, 0, *host].into()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn ls_9_an_address_that_swallows_packets_does_not_hide_one_that_answers() {
        let start = Instant::now();
        let found = race(&v4(&[1, 200]), 1, network).await.unwrap();
        assert_eq!(found, IpAddr::from(LAST));
        assert_eq!(start.elapsed(), STAGGER + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_costs_nothing_and_a_slow_one_is_not_given_up() {
        let start = Instant::now();
        assert_eq!(
            race(&v4(&[100, 200, 201]), 1, network).await.unwrap(),
            IpAddr::from(LAST)
        );
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_address_that_answers_the_last_error_counts() {
        let error = race(&v4(&[100, 101]), 1, network).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = race(&[], 1, network).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    /// C36: a live address after eight dead ones was never reached.
    #[tokio::test(start_paused = true)]
    async fn case_c36_every_address_is_tried_however_many_dead_ones_precede_it() {
        for dead in [8, 20, 63] {
            let start = Instant::now();
            let mut addresses: Vec<u8> = (1..=dead).collect();
            addresses.push(200);
            let found = race(&v4(&addresses), 1, network).await.unwrap();
            assert_eq!(found, IpAddr::from(LAST));
            let limit = ALL_BEGUN + Duration::from_secs(1);
            assert!(
                start.elapsed() <= limit,
                "{dead} dead: {:?}",
                start.elapsed()
            );
        }
    }

    #[test]
    fn case_c36_families_take_turns_and_no_address_is_tried_twice() {
        let [a, b, c] = [1, 2, 3].map(|host| IpAddr::from([127, 0, 0, host]));
        let [x, y] = [1, 2].map(|last| IpAddr::from([0, 0, 0, 0, 0, 0, 0, last]));
        assert_eq!(in_turns(&[x, y, a, b, c]), [x, a, y, b, c]);
        assert_eq!(in_turns(&[a, b, a, x]), [a, x, b]);
        assert_eq!(
            in_turns(&v4(&(0..=255).collect::<Vec<_>>())).len(),
            MAX_ADDRESSES
        );
    }
}
