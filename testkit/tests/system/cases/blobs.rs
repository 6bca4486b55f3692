//! Blobs on a full disk, and put while the daemon is killed (LD-8, BX-4), over the daemon's local
//! socket.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bowline_protocol::{BlobHash, blob::to_text};
use serde_json::{Value, json};

use super::{
    disk::{ask, on_a_small_disk},
    rig::Rig,
};

const PIECE: usize = 64 * 1024;

/// Bytes that differ from piece to piece and from seed to seed.
fn bytes(size: usize, seed: u8) -> Vec<u8> {
    let bytes = (0..size).map(|n| (n / 251).to_le_bytes()[0] ^ n.to_le_bytes()[0] ^ seed);
    bytes.collect()
}

/// The piece that begins there, or none.
fn piece(blob: &[u8], at: Option<usize>) -> Value {
    let mut params = json!({"hash": BlobHash::of(blob), "size": blob.len()});
    if let Some(at) = at {
        let end = blob.len().min(at + PIECE);
        params["offset"] = json!(at);
        params["data"] = json!(to_text(&blob[at..end]));
    }
    params
}

/// Sends the piece that begins there, or asks how much is there.
fn put(socket: &Path, blob: &[u8], at: Option<usize>) -> Value {
    ask(socket, "blobs.put", piece(blob, at))
}

/// Sends the piece that begins there to a daemon that is killed that long afterwards, answered or
/// not, and started again.
fn killed_after(rig: &mut Rig, socket: &Path, (blob, at): (&[u8], usize), wait: Duration) {
    let params = piece(blob, Some(at));
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "blobs.put", "params": params});
    let mut stream = UnixStream::connect(socket).unwrap();
    writeln!(stream, "{request}").unwrap();
    std::thread::sleep(wait);
    rig.kill();
    rig.up(&["--socket", socket.to_str().unwrap()]);
}

/// Puts what is missing of a blob; gives the last answer.
fn put_all(socket: &Path, blob: &[u8]) -> Value {
    let mut answer = put(socket, blob, None);
    while answer["result"]["done"] == false {
        answer = put(socket, blob, Some(have(&answer)));
    }
    answer
}

fn have(answer: &Value) -> usize {
    let have = answer["result"]["have"].as_u64();
    usize::try_from(have.unwrap_or_else(|| panic!("{answer}"))).unwrap()
}

fn is_got(socket: &Path, blob: &[u8]) -> bool {
    let mut got = Vec::new();
    while got.len() < blob.len() {
        let params = json!({"hash": BlobHash::of(blob), "offset": got.len(), "limit": PIECE});
        let answer = ask(socket, "blobs.get", params);
        let data = answer["result"]["data"].as_str();
        let data = data.unwrap_or_else(|| panic!("{answer}"));
        got.extend(bowline_protocol::blob::of_text(data).unwrap());
    }
    got == blob
}

/// The files of blobs in a state folder: complete ones, and others.
fn files(state: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let shelves = fs::read_dir(state.join("blobs")).unwrap();
    let files = shelves.flat_map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap());
    let files = files.map(|file| file.unwrap().path());
    files.partition(|file| file.parent().is_some_and(|shelf| !shelf.ends_with("begun")))
}

#[test]
fn ld_8_a_put_that_fills_the_disk_says_so_and_goes_on_once_there_is_space() {
    let mut rig = Rig::new();
    let socket = rig.work().join("daemon.sock");
    let Some(disk) = on_a_small_disk(&mut rig, &socket) else {
        return;
    };
    let (first, blob) = (bytes(100_000, 1), bytes(1_000_000, 2));
    assert_eq!(put_all(&socket, &first)["result"]["done"], true);
    put(&socket, &blob, Some(0));
    let ballast = disk.join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 4_096]).is_ok() {}
    drop(file);
    let refused = put_all(&socket, &blob);
    let error = &refused["error"];
    assert_eq!(error["data"]["reason"], "storage_unavailable", "{refused}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("disk is full"), "{refused}");
    assert!(is_got(&socket, &first), "others are there");
    // What is there stays, and nothing else is begun in its place.
    let there = have(&put(&socket, &blob, None));
    assert!((PIECE..blob.len()).contains(&there), "{there}");
    fs::remove_file(ballast).unwrap();
    assert_eq!(have(&put(&socket, &blob, None)), there, "nothing is lost");
    assert_eq!(put_all(&socket, &blob)["result"]["done"], true);
    assert!(is_got(&socket, &blob));
    let (complete, others) = files(&disk);
    assert_eq!((complete.len(), others.len()), (2, 0), "{others:?}");
}

#[test]
fn ld_8_bx_4_a_put_goes_on_after_kills_in_its_middle_and_in_its_commit_and_leaves_no_orphan() {
    let mut rig = Rig::new();
    let socket = rig.work().join("daemon.sock");
    rig.up(&["--socket", socket.to_str().unwrap()]);
    // In its middle: what was answered for is there.
    let large = bytes(16 * PIECE, 0);
    for n in 0..7_u64 {
        let before = have(&put(&socket, &large, None));
        let answered = have(&put(&socket, &large, Some(before)));
        assert_eq!(answered, before + PIECE);
        let wait = Duration::from_micros(500 * n);
        killed_after(&mut rig, &socket, (&large, answered), wait);
        let there = have(&put(&socket, &large, None));
        assert!((answered..=large.len()).contains(&there), "{there}");
    }
    assert_eq!(put_all(&socket, &large)["result"]["done"], true);
    assert!(is_got(&socket, &large));

    // In its commit: whatever was done before the kill, the same put ends.
    let mut blobs = vec![large];
    for n in 0..12_u8 {
        let blob = bytes(PIECE / 2, n + 1);
        let wait = Duration::from_micros(700 * u64::from(n));
        killed_after(&mut rig, &socket, (&blob, 0), wait);
        let asked = put(&socket, &blob, None);
        // Every third is given up.
        if n % 3 != 2 {
            assert_eq!(put_all(&socket, &blob)["result"]["done"], true);
            blobs.push(blob);
        } else if asked["result"]["done"] == true {
            blobs.push(blob);
        }
    }
    rig.stop();
    // A day later a start removes what no row knows, and what was never completed.
    let (complete, others) = files(&rig.state());
    for file in complete.iter().chain(&others) {
        let file = File::options().write(true).open(file).unwrap();
        let past = SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
        file.set_modified(past).unwrap();
    }
    rig.up(&["--socket", socket.to_str().unwrap()]);
    assert!(blobs.iter().all(|blob| is_got(&socket, blob)));
    let known: Vec<_> = blobs
        .iter()
        .map(|blob| BlobHash::of(blob).to_string())
        .collect();
    bowline_testkit::blocking::eventually("only what is known is left", || {
        let (complete, others) = files(&rig.state());
        let is_known = |file: &PathBuf| known.iter().any(|name| file.ends_with(name));
        others.is_empty() && complete.len() == known.len() && complete.iter().all(is_known)
    });
}
