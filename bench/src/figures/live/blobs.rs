//! Blobs beside the bytes that the same session carries otherwise.

use std::time::{Duration, Instant};

use bowline_protocol::limits::BLOB_PIECE_BYTES;
use bowline_runtime::{BlobSink, BlobSource};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::{app, sheet};
use crate::{
    Bench, Outcome,
    client::{Connected, paired},
    report::{Measured, Target, Unit},
    stats::Samples,
};

/// Requests in flight of the session that carries texts.
const WINDOW: usize = 4;

pub(in crate::figures) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pieces = bench.pick(256, 64);
    let bytes = pieces * BLOB_PIECE_BYTES;
    let daemon = sheet(bench, "blobs").await?;
    let client = app(&daemon, bench, "blobs-app").await?;
    let host = client.server_id()?;
    let raw = Connected::open(paired(&daemon).await?).await?;
    let files = bench.dir.join("blobs-files");
    std::fs::create_dir_all(&files)?;
    let (mut up, mut down) = (Samples::default(), Samples::default());
    let (mut raw_up, mut raw_down) = (Samples::default(), Samples::default());
    let text = "x".repeat(BLOB_PIECE_BYTES);
    for n in 0..bench.pick(7, 2) {
        raw_up.one(rate(
            bytes,
            texts(&raw, pieces, &json!({"text": text})).await?,
        ));
        let whole = blob(n, bytes);
        let start = Instant::now();
        let put = client
            .runtime()
            .put_blob(&host, BlobSource::Bytes(whole.into()))?;
        let hash = put.outcome().await?.hash;
        up.one(rate(bytes, start.elapsed()));

        let wanted = json!({"size": BLOB_PIECE_BYTES});
        raw_down.one(rate(bytes, texts(&raw, pieces, &wanted).await?));
        let sink = BlobSink::File(files.join(format!("{n}")));
        let start = Instant::now();
        let got = client.runtime().get_blob(&host, hash, None, sink)?;
        got.outcome().await?;
        down.one(rate(bytes, start.elapsed()));
    }
    Measured::by(format!(
        "a blob of {bytes} bytes, each time another, from memory until the daemon has verified and stored it, then into a file until that is verified and stored; \
         alternating with {pieces} texts of the size of a piece, as parameters and as results of a method, {WINDOW} in flight on a session like the app's: no file, no hash"
    ))
    .row("texts up", Unit::BytesPerSecond, &raw_up)?
    .row("a blob up", Unit::BytesPerSecond, &up)?
    .beside("a blob up", "texts up", (&up, &raw_up), Some(Target::AtLeast(0.8)))?
    .row("texts down", Unit::BytesPerSecond, &raw_down)?
    .row("a blob down", Unit::BytesPerSecond, &down)?
    .beside("a blob down", "texts down", (&down, &raw_down), Some(Target::AtLeast(0.8)))
}

/// Bytes of a blob that no other one has.
fn blob(n: usize, bytes: usize) -> Vec<u8> {
    let seed = (n + 1) as u64;
    let word = |at: u64| {
        (at ^ seed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_le_bytes()
    };
    (0..(bytes / 8) as u64).flat_map(word).collect()
}

fn rate(bytes: usize, time: Duration) -> f64 {
    crate::stats::per_second(bytes, time)
}

/// Time of that many calls that carry a text in one direction.
async fn texts(raw: &Connected, count: usize, params: &Value) -> Outcome<Duration> {
    let start = Instant::now();
    let mut calls = stream::iter(0..count)
        .map(|_| raw.client.call::<_, Value>("sheet.carry", params))
        .buffer_unordered(WINDOW);
    while let Some(answer) = calls.next().await {
        answer?;
    }
    Ok(start.elapsed())
}
