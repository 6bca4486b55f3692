//! One direction of one proxied connection: reads ahead a bounded amount, delivers it when it is due.

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

use crate::{proxy::Weather, random::Random};

/// Bytes of one read.
const CHUNK: usize = 16 * 1024;
/// Chunks under way in one direction; then nothing more is read, as on a path whose buffers are full.
const CHUNKS: usize = 64;

/// What is under way: a chunk, or the orderly end of the stream.
struct Parcel {
    due: Instant,
    bytes: Option<Bytes>,
}

/// Carries bytes until the sender ends the stream and the end is delivered.
///
/// `born` is the count of blackholes when the connection was made: after another one, everything is read
/// and nothing is delivered, not even the end. `seed` decides what is lost on a path that loses.
///
/// # Errors
/// When either socket fails: the connection must then be reset.
pub(crate) async fn carry(
    reader: ReadHalf<'_>,
    writer: WriteHalf<'_>,
    weather: &watch::Receiver<Weather>,
    (born, seed): (u64, u64),
    delivered: &AtomicU64,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let read = read(reader, sender, weather.clone(), Random::new(seed));
    let write = write(writer, receiver, weather.clone(), born, delivered);
    tokio::try_join!(read, write).map(|_| ())
}

async fn read(
    mut reader: ReadHalf<'_>,
    sender: mpsc::Sender<Parcel>,
    weather: watch::Receiver<Weather>,
    mut random: Random,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let count = reader.read_buf(&mut buffer).await?;
        let due = Instant::now() + late(&weather.borrow(), &mut random);
        let bytes = (count > 0).then(|| buffer.split().freeze());
        if sender.send(Parcel { due, bytes }).await.is_err() || count == 0 {
            return Ok(());
        }
    }
}

/// How much later than at once something arrives.
fn late(weather: &Weather, random: &mut Random) -> Duration {
    if random.below(100) < u64::from(weather.lost_percent) {
        weather.delay + weather.again_after
    } else {
        weather.delay
    }
}

async fn write(
    mut writer: WriteHalf<'_>,
    mut receiver: mpsc::Receiver<Parcel>,
    mut weather: watch::Receiver<Weather>,
    born: u64,
    delivered: &AtomicU64,
) -> io::Result<()> {
    while let Some(parcel) = receiver.recv().await {
        tokio::time::sleep_until(parcel.due).await;
        let lost = match weather.wait_for(|w| !w.frozen || w.holes > born).await {
            Ok(weather) => weather.holes > born,
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
            // Nobody is told: the connection stays as it is until it is cut.
            None => std::future::pending().await,
        }
    }
    Ok(())
}
