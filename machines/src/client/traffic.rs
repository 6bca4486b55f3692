//! What passes over the connections of one client besides events, and how the client ends: which
//! calls and acknowledgements are sent, which timers count, and how long a disposed client drains.
//!
//! ```text
//!  a call while    connected           connecting   idle, disconnected, disposed
//!  in use          sent up to the      waits        refused
//!                  daemon's bound
//!  draining        the same, if it     refused      refused
//!                  was queued before
//! ```
//!
//! **Draining.** A disposed client takes no more calls, commands and acknowledgements. It ends once
//! no request is in flight, at the latest by the earliest deadline that it was given (INV-12).
//!
//! **Deafness.** While the owner's inbox is full the socket is not read, so silence does not
//! indicate a dead peer: the heartbeat's timer waits until pending bytes are read.

use bowline_protocol::{Epoch, Reason, Resume};

use super::connection::{DaemonClient, Input, State};
use crate::MonotonicTime;

/// What becomes of the next queued call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NextCall {
    /// It is sent once the connection has room for it.
    Send,
    /// It stays in the queue.
    Wait,
    /// It is answered at once that there is no connection (INV-12).
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Draining {
    until: MonotonicTime,
    /// Why callers who still wait then fail.
    reason: Reason,
}

/// The machine, beside the [`DaemonClient`] of the same client.
#[derive(Clone, Debug, Default)]
pub struct ClientTraffic {
    /// Requests that the daemon takes at once, on the connection that opened last.
    most: usize,
    /// The numbering of that connection's events.
    epoch: Option<Epoch>,
    draining: Option<Draining>,
}

impl ClientTraffic {
    /// A connection opened: the requests that the daemon takes at once, and the numbering of its
    /// events.
    pub fn opened(&mut self, most: usize, epoch: Option<Epoch>) {
        self.most = most.max(1);
        self.epoch = epoch;
    }

    /// Disposes of the client: it ends at `until` at the latest, and requests that are unanswered
    /// then fail with `reason`. The earliest such time counts.
    pub fn dispose(&mut self, until: MonotonicTime, reason: Reason) {
        if self.draining.is_none_or(|earlier| until < earlier.until) {
            self.draining = Some(Draining { until, reason });
        }
    }

    /// Whether the client was disposed of: it takes no more calls and commands.
    pub const fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// What becomes of the next queued call, with so many requests in flight.
    pub const fn next_call(&self, client: &DaemonClient, in_flight: usize) -> NextCall {
        match client.state() {
            State::Connected { .. } if in_flight < self.most => NextCall::Send,
            State::Connected { .. } => NextCall::Wait,
            State::Connecting { .. } if !self.is_draining() => NextCall::Wait,
            State::Idle
            | State::Connecting { .. }
            | State::Disconnected { .. }
            | State::Disposed => NextCall::Refuse,
        }
    }

    /// Whether the daemon is sent this acknowledgement: not for events of another numbering than
    /// the connection's.
    pub fn may_ack(&self, client: &DaemonClient, cursor: &Resume) -> bool {
        let is_ours = self.epoch.as_ref() == Some(&cursor.epoch);
        is_ours && !self.is_draining() && matches!(client.state(), State::Connected { .. })
    }

    /// The client's input at the end of a turn, with so many requests unanswered, sent or
    /// not: once it has drained, its end.
    pub fn drained(&self, now: MonotonicTime, unanswered: usize) -> Option<Input> {
        let draining = self.draining?;
        let is_over = unanswered == 0 || draining.until <= now;
        is_over.then_some(Input::Dispose(draining.reason))
    }

    /// When the client's own timeout is handled; never while a connected client `is_deaf`.
    pub fn client_timeout(client: &DaemonClient, is_deaf: bool) -> Option<MonotonicTime> {
        match client.state() {
            State::Connected { .. } if is_deaf => None,
            State::Idle
            | State::Connecting { .. }
            | State::Connected { .. }
            | State::Disconnected { .. }
            | State::Disposed => client.poll_timeout(),
        }
    }

    /// When a turn is due, for [`ClientTraffic::drained`].
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.draining.map(|draining| draining.until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Path, client::connection::ClientConfig};

    const MOST: usize = 2;
    const DRAIN: Duration = Duration::from_secs(5);

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::from_millis(millis)
    }

    fn epoch(n: u128) -> Epoch {
        Epoch::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn cursor(epoch: Epoch) -> Resume {
        Resume {
            epoch,
            last_seq: 7,
            stamp: None,
        }
    }

    /// A client that is dialling.
    fn connecting() -> (ClientTraffic, DaemonClient) {
        let mut client = DaemonClient::new(ClientConfig::new(Path::Direct, 1));
        client.handle(at(0), Input::ConnectRequest);
        (ClientTraffic::default(), client)
    }

    /// A connected client.
    fn connected() -> (ClientTraffic, DaemonClient) {
        let (mut traffic, mut client) = connecting();
        let opened = Input::TransportOpen {
            generation: client.generation(),
            heartbeat: Duration::from_secs(10),
            round_trip: Duration::from_millis(20),
        };
        client.handle(at(0), opened);
        traffic.opened(MOST, Some(epoch(1)));
        (traffic, client)
    }

    fn lose(client: &mut DaemonClient) {
        let closed = Input::TransportClosed {
            generation: client.generation(),
            reason: Reason::ConnectionLost,
            retry_after: None,
        };
        client.handle(at(1), closed);
    }

    #[test]
    fn inv_12_a_call_waits_only_while_it_can_still_be_sent() {
        let idle = DaemonClient::new(ClientConfig::new(Path::Direct, 1));
        assert_eq!(
            ClientTraffic::default().next_call(&idle, 0),
            NextCall::Refuse
        );
        let (mut traffic, client) = connecting();
        assert_eq!(traffic.next_call(&client, 0), NextCall::Wait);
        traffic.dispose(at(0) + DRAIN, Reason::ClosedLocally);
        assert_eq!(traffic.next_call(&client, 0), NextCall::Refuse);

        let (traffic, mut client) = connected();
        let expected = [NextCall::Send, NextCall::Send, NextCall::Wait];
        assert_eq!([0, 1, 2].map(|n| traffic.next_call(&client, n)), expected);
        lose(&mut client);
        assert_eq!(traffic.next_call(&client, 0), NextCall::Refuse);
    }

    #[test]
    fn a_daemon_that_grants_no_requests_at_once_gets_one() {
        let (mut traffic, client) = connected();
        traffic.opened(0, None);
        assert_eq!(traffic.next_call(&client, 0), NextCall::Send);
        assert_eq!(traffic.next_call(&client, 1), NextCall::Wait);
    }

    #[test]
    fn inv_12_a_disposed_client_ends_when_nothing_is_in_flight_or_its_time_is_over() {
        let (mut traffic, client) = connected();
        assert_eq!(traffic.drained(at(0), 0), None, "it is in use");
        assert_eq!(traffic.poll_timeout(), None);
        traffic.dispose(at(5_000), Reason::Replaced);
        traffic.dispose(at(9_000), Reason::ClosedLocally);
        assert_eq!(traffic.poll_timeout(), Some(at(5_000)));
        assert_eq!(
            traffic.next_call(&client, 0),
            NextCall::Send,
            "queued before"
        );
        let ended = Some(Input::Dispose(Reason::Replaced));
        assert_eq!(traffic.drained(at(4_999), 1), None);
        assert_eq!(traffic.drained(at(4_999), 0), ended);
        assert_eq!(traffic.drained(at(5_000), 1), ended);
        traffic.dispose(at(0), Reason::ClosedLocally);
        let ended = Some(Input::Dispose(Reason::ClosedLocally));
        assert_eq!(traffic.drained(at(1), 1), ended, "the earliest time counts");
    }

    #[test]
    fn bx_2_only_events_of_the_connections_numbering_are_acknowledged() {
        let (mut traffic, mut client) = connected();
        let ours = cursor(epoch(1));
        assert!(traffic.may_ack(&client, &ours));
        assert!(!traffic.may_ack(&client, &cursor(epoch(2))));
        let mut draining = traffic.clone();
        draining.dispose(at(9_000), Reason::ClosedLocally);
        assert!(!draining.may_ack(&client, &ours));
        lose(&mut client);
        assert!(!traffic.may_ack(&client, &ours), "no connection");
        traffic.opened(MOST, None);
        assert!(!traffic.may_ack(&client, &ours), "no session");
    }

    #[test]
    fn ls_3_silence_counts_only_while_the_socket_is_read() {
        let (_, client) = connected();
        let due = client.poll_timeout();
        assert!(due.is_some());
        assert_eq!(ClientTraffic::client_timeout(&client, false), due);
        assert_eq!(ClientTraffic::client_timeout(&client, true), None);
        let (_, client) = connecting();
        let deadline = ClientTraffic::client_timeout(&client, true);
        assert_eq!(deadline, client.poll_timeout(), "of the dial");
    }
}
