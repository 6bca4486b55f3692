//! One direction of one proxied connection: reads ahead a bounded amount and delivers it when due.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{proxy::LinkConditions, random::Random};

/// Bytes of one read.
const CHUNK: usize = 16 * 1024;
/// Chunks in transit in one direction; at the limit reading stops, as on a path with full buffers.
const CHUNKS: usize = 64;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToTarget,
    ToClient,
}

impl LinkConditions {
    /// Whether nothing passes that way, after so many bytes of all connections.
    fn is_stopped(&self, way: Way, so_far: u64) -> bool {
        let stop_at = self.stop_at.map(|[to_target, to_client]| match way {
            Way::ToTarget => to_target,
            Way::ToClient => to_client,
        });
        self.frozen || stop_at.is_some_and(|stop_at| so_far >= stop_at)
    }
}

/// Data in transit: a chunk, or the orderly end of the stream.
struct Parcel {
    due: Instant,
    bytes: Option<Bytes>,
}

/// Carries bytes until the sender ends the stream and the end is delivered.
///
/// `born` is the blackhole count when the connection was made: after a later blackhole everything
/// is read and nothing is delivered, not even the end. `seed` decides which reads a lossy path
/// loses.
///
/// # Errors
/// A socket fails: the connection must then be reset.
pub(crate) async fn carry(
    reader: ReadHalf<'_>,
    writer: WriteHalf<'_>,
    conditions: &watch::Receiver<LinkConditions>,
    (born, seed): (u64, u64),
    delivered: (Way, &AtomicU64),
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let read = read(reader, sender, conditions.clone(), Random::new(seed));
    let write = write(writer, receiver, conditions.clone(), born, delivered);
    tokio::try_join!(read, write).map(|_| ())
}

async fn read(
    mut reader: ReadHalf<'_>,
    sender: mpsc::Sender<Parcel>,
    conditions: watch::Receiver<LinkConditions>,
    mut random: Random,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let count = reader.read_buf(&mut buffer).await?;
        let due = Instant::now() + late(&conditions.borrow(), &mut random);
        let bytes = (count > 0).then(|| buffer.split().freeze());
        if sender.send(Parcel { due, bytes }).await.is_err() || count == 0 {
            return Ok(());
        }
    }
}

/// Additional delay of a delivery.
fn late(conditions: &LinkConditions, random: &mut Random) -> Duration {
    if random.below(100) < u64::from(conditions.lost_percent) {
        conditions.delay + conditions.again_after
    } else {
        conditions.delay
    }
}

async fn write(
    mut writer: WriteHalf<'_>,
    mut receiver: mpsc::Receiver<Parcel>,
    mut conditions: watch::Receiver<LinkConditions>,
    born: u64,
    (way, delivered): (Way, &AtomicU64),
) -> io::Result<()> {
    while let Some(parcel) = receiver.recv().await {
        tokio::time::sleep_until(parcel.due).await;
        let passes = |now: &LinkConditions| !now.is_stopped(way, delivered.load(Ordering::Relaxed));
        let lost = match conditions
            .wait_for(|now| passes(now) || now.holes > born)
            .await
        {
            Ok(conditions) => conditions.holes > born,
            Err(_) => return Ok(()),
        };
        match parcel.bytes {
            Some(bytes) if !lost => {
                writer.write_all(&bytes).await?;
                let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                delivered.fetch_add(count, Ordering::Relaxed);
            }
            Some(_) => {}
            None if !lost => return writer.shutdown().await,
            // Silent: the connection stays open until it is cut.
            None => std::future::pending().await,
        }
    }
    Ok(())
}
