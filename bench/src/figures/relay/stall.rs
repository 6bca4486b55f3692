//! A receiver that stops reading while its sender sends at full rate.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    Bench, Outcome,
    pipe::{Pipe, Relayed, Socket, Way, next},
    process::memory_now,
    report::{Measured, Target, Unit},
    stats::Samples,
};

/// Duration of the stall.
const STALL: Duration = Duration::from_secs(6);
/// The sender must be blocked this long after the stall begins: by then the buffers of both kernels
/// are full.
const FILLING: Duration = Duration::from_secs(1);
/// Bytes of a message; it begins with its number.
const SIZE: usize = 16 << 10;
/// Messages after the stall, to show that the stream continues.
const AFTER: u32 = 2_000;
/// Pause between two round trips of the other session.
const PAUSE: Duration = Duration::from_millis(2);
/// Round trips of the other session before the stall.
const BEFORE: usize = 500;
/// Bytes of a message of the other session.
const WORD: usize = 128;

/// Results of one stall.
struct Stalled {
    /// Messages that the sender could send in the last five of the six seconds.
    late: u32,
    /// Messages sent but not received.
    lost: u32,
    /// Largest growth of the relay's memory, in bytes.
    grown: f64,
    /// Round trips of the other session during the stall, in microseconds.
    beside: Vec<f64>,
}

pub(crate) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let mut relay = Relayed::start().await?;
    let mut neighbour = relay.pipe().await?;
    let repetitions = bench.pick(3, 1);
    let (mut late, mut lost, mut grown) = Default::default();
    let (mut quiet, mut beside) = (Samples::default(), Samples::default());
    for _ in 0..repetitions {
        for way in [Way::Down, Way::Up] {
            let mut pipe = relay.pipe().await?;
            // Warms up: allocates the thread's buffers and lets the kernel settle its window sizes.
            pipe.stream(way, SIZE, AFTER as usize).await?;
            let mut before = Vec::with_capacity(BEFORE);
            for _ in 0..BEFORE {
                before.extend(neighbour.round_trips(WORD, 1).await?);
                tokio::time::sleep(PAUSE).await;
            }
            let stalled = stall(&relay, pipe, &mut neighbour, way).await?;
            Samples::one(&mut late, f64::from(stalled.late));
            Samples::one(&mut lost, f64::from(stalled.lost));
            Samples::one(&mut grown, stalled.grown);
            quiet.repetition(before);
            beside.repetition(stalled.beside);
        }
    }
    let none = Target::Exactly(0.0);
    Measured::by(format!(
        "{repetitions} times each way: a sender of {} KiB messages sends at full rate while its receiver reads nothing for {} s, \
         then reads the rest and {AFTER} further messages; VmRSS of the relay every 50 ms; another session of the same daemon makes a \
         round trip of {WORD} bytes every {} ms, before and during the stall. Not pinned",
        SIZE >> 10,
        STALL.as_secs(),
        PAUSE.as_millis(),
    ))
    .goal("messages taken from the sender after the first second", Unit::Count, &late, none)?
    .goal("messages lost or out of order", Unit::Count, &lost, none)?
    .goal("memory grown, at most", Unit::Bytes, &grown, Target::AtMost(f64::from(2 << 20)))?
    .row("another session's round trip, before", Unit::Micros, &quiet)?
    .row("another session's round trip, meanwhile", Unit::Micros, &beside)?
    .beside("another session's round trip, meanwhile", "that before", (&beside, &quiet), Some(Target::AtMost(1.25)))
}

async fn stall(relay: &Relayed, pipe: Pipe, neighbour: &mut Pipe, way: Way) -> Outcome<Stalled> {
    let header = pipe.in_lane(&[]);
    let Pipe { client, daemon, .. } = pipe;
    let (from, mut to, header, skip) = match way {
        Way::Down => (daemon, client, header, 0),
        Way::Up => (client, daemon, Bytes::new(), header.len()),
    };
    let sent = AtomicU32::new(0);
    let last = AtomicU32::new(u32::MAX);
    let sending = send(from, &header, &sent, &last);
    let watching = async {
        let began = Instant::now();
        let before = memory_now(relay.process.pid())?;
        let (mut most, mut beside, mut looked) = (before, Vec::new(), began);
        let mut filled = None;
        while began.elapsed() < STALL {
            beside.extend(neighbour.round_trips(WORD, 1).await?);
            tokio::time::sleep(PAUSE).await;
            if looked.elapsed() > Duration::from_millis(50) {
                looked = Instant::now();
                most = most.max(memory_now(relay.process.pid())?);
            }
            if filled.is_none() && began.elapsed() > FILLING {
                filled = Some(sent.load(Ordering::Relaxed));
            }
        }
        let stalled_at = sent.load(Ordering::Relaxed);
        last.store(stalled_at + AFTER, Ordering::Relaxed);
        let received = receive(&mut to, skip, stalled_at + AFTER).await?;
        Outcome::Ok((
            Stalled {
                late: stalled_at - filled.unwrap_or_default(),
                lost: stalled_at + AFTER - received,
                grown: most - before,
                beside,
            },
            to,
        ))
    };
    let ((stalled, _to), _from) = tokio::try_join!(watching, sending)?;
    Ok(stalled)
}

/// Sends numbered messages until the last number is known and sent. Returns the socket, so that it
/// stays open.
async fn send(
    mut from: Socket,
    header: &[u8],
    sent: &AtomicU32,
    last: &AtomicU32,
) -> Outcome<Socket> {
    for number in 0_u32.. {
        if number >= last.load(Ordering::Relaxed) {
            break;
        }
        let mut message = Vec::with_capacity(header.len() + SIZE);
        message.extend_from_slice(header);
        message.extend_from_slice(&number.to_be_bytes());
        message.resize(header.len() + SIZE, 7);
        from.send(Message::binary(message)).await?;
        sent.store(number + 1, Ordering::Relaxed);
    }
    Ok(from)
}

/// Receives `count` messages. Returns how many arrived in order before the first that did not.
async fn receive(to: &mut Socket, skip: usize, count: u32) -> Outcome<u32> {
    for expected in 0..count {
        let message = next(to).await?;
        let number = message.get(skip..).and_then(<[u8]>::first_chunk);
        if number != Some(&expected.to_be_bytes()) || message.len() != skip + SIZE {
            return Ok(expected);
        }
    }
    Ok(count)
}
