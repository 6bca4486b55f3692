//! Every cell of the control socket's table, and its deadlines.

use bowline_protocol::relay::limits::{HANDSHAKE, HEARTBEAT, SOCKET_STALL};

use super::*;

const START: MonotonicTime = MonotonicTime::from_millis(1_000);
const ACCEPTED: Input = Input::Accepted {
    heartbeat: HEARTBEAT,
};

fn challenged() -> ControlSocket {
    ControlSocket::new(START, HANDSHAKE)
}

fn proved() -> ControlSocket {
    let mut socket = challenged();
    socket.handle(START, Input::Proof);
    socket
}

fn registered() -> ControlSocket {
    let mut socket = proved();
    assert_eq!(effects(&mut socket), [Effect::Verify]);
    socket.handle(START, ACCEPTED);
    assert!(socket.is_registered());
    socket
}

fn effects(socket: &mut ControlSocket) -> Vec<Effect> {
    std::iter::from_fn(|| socket.poll_effect()).collect()
}

#[test]
fn rl_2_every_cell_of_the_table() {
    let text = CloseText::from(Reason::Replaced);
    let lost = Ending::Lost;
    let refused = Reason::RelayTokenInvalid;
    let inputs = [
        Input::Proof,
        ACCEPTED,
        Input::Refused { reason: refused },
        Input::Closed { ending: lost },
        Input::End { text },
    ];
    let twice = Ending::from(Reason::BadRequest);
    let cells = [
        (
            challenged(),
            [None, None, Some(refused.into()), Some(lost), None],
        ),
        (
            proved(),
            [Some(twice), None, Some(refused.into()), Some(lost), None],
        ),
        (
            registered(),
            [
                Some(twice),
                None,
                None,
                Some(lost),
                Some(Ending::ByRelay(text)),
            ],
        ),
    ];
    for (socket, ends) in cells {
        for (input, end) in inputs.into_iter().zip(ends) {
            let mut socket = socket.clone();
            socket.handle(START, input);
            assert_eq!(socket.ended(), end, "{socket:?} {input:?}");
            if end.is_none() {
                continue;
            }
            assert_eq!(effects(&mut socket), [], "no proof is verified any more");
            for later in inputs {
                socket.handle(START, later);
            }
            socket.on_received(START);
            socket.on_write(START, 0, true);
            assert_eq!((socket.ended(), effects(&mut socket)), (end, vec![]));
            assert_eq!(socket.poll_timeout(), None);
        }
    }
    let mut socket = challenged();
    socket.handle(START, ACCEPTED);
    assert!(!socket.is_registered(), "only a proof is accepted");
}

#[test]
fn inv_12_a_daemon_that_does_not_register_in_time_is_closed() {
    for mut socket in [challenged(), proved()] {
        assert_eq!(socket.poll_timeout(), Some(START + HANDSHAKE));
        socket.handle_timeout(START);
        assert_eq!(socket.ended(), None);
        socket.handle_timeout(START + HANDSHAKE);
        let late = Ending::from(Reason::HandshakeTimeout);
        assert_eq!(socket.ended(), Some(late));
    }
}

#[test]
fn ls_3_tr_8_a_daemon_that_is_silent_or_takes_nothing_is_closed() {
    let mut silent = registered();
    silent.handle_timeout(START + HEARTBEAT);
    assert_eq!(effects(&mut silent), [Effect::Ping]);
    silent.handle_timeout(START + HEARTBEAT * 2);
    assert_eq!(silent.ended(), Some(Reason::HeartbeatTimeout.into()));

    let mut stuck = registered();
    stuck.on_write(START, QUEUE_BYTES + 1, false);
    while stuck.ended().is_none() {
        let now = stuck.poll_timeout().unwrap();
        stuck.on_received(now);
        stuck.handle_timeout(now);
        assert!(now <= START + SOCKET_STALL);
    }
    assert_eq!(stuck.ended(), Some(Reason::SlowConsumer.into()));
}

#[test]
fn rl_4_what_waits_for_a_daemon_is_bounded() {
    assert!(!challenged().may_tell(0) && !proved().may_tell(0));
    assert!(registered().may_tell(QUEUE_BYTES) && !registered().may_tell(QUEUE_BYTES + 1));
}
