//! The protocol between daemon and launcher: JSON frames, each after its length in four bytes.

use std::io::{self, Read};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{process::Exit, roots::Roots};

/// Version of the protocol below; every change increments it. Both ends are the same program,
/// unless an update replaced the file under a running daemon.
pub(crate) const VERSION: u32 = 4;
/// Largest frame: a prompt of 64 KiB, escaped, and the longest command line of the system.
const MAX_FRAME: usize = 8 << 20;

/// The program to start. Secrets travel in this frame and never in an argument.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// [`VERSION`] of the daemon.
    pub(crate) version: u32,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Its working directory.
    pub(crate) cwd: String,
    /// Folders that the working directory must be in.
    pub(crate) roots: Roots,
    /// Content of its standard input; none is `/dev/null`.
    pub(crate) input: Option<String>,
    /// The soft limit of open files that the daemon was started with.
    pub(crate) files: Option<u64>,
    /// The mask for new files that the daemon was started with.
    pub(crate) umask: Option<u32>,
}

/// The launcher's reports.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub(crate) enum Report {
    /// The launcher runs; it enters the folder next.
    Here,
    /// The launcher is in the folder; it starts the program next.
    Entered,
    /// The program runs.
    Started,
    /// The program could not be started; the text is for people.
    Failed {
        /// The problem and what to do.
        text: String,
    },
    /// The program has ended.
    Exited(Exit),
    /// No process of the turn is left that may be ended.
    Ended,
}

/// The daemon's commands, one byte each. The end of the stream means that the daemon stops reading
/// output.
pub(crate) mod order {
    /// Request every process of the turn to end (SIGTERM).
    pub(crate) const TERMINATE: u8 = b'T';
    /// The same, except daemons that the turn started and their descendants.
    pub(crate) const TERMINATE_SPARING: u8 = b'S';
    /// Kill them. Processes spared by [`TERMINATE_SPARING`] stay spared.
    pub(crate) const KILL: u8 = b'K';
}

/// Encodes one frame.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= MAX_FRAME)
        .ok_or_else(too_long)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Takes one complete frame from the front of a buffer.
pub(crate) fn take<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some(length) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_FRAME {
        return Err(too_long());
    }
    let Some(body) = buffer.get(4..4 + length) else {
        return Ok(None);
    };
    let message = serde_json::from_slice(body)?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

/// Reads one frame, blocking.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(too_long());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

fn too_long() -> io::Error {
    io::Error::other("a message between daemon and launcher is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_whole_however_they_are_cut() {
        let reports = [
            Report::Entered,
            Report::Exited(Exit {
                code: None,
                signal: Some(9),
            }),
        ];
        let bytes: Vec<u8> = reports.iter().flat_map(|r| encode(r).unwrap()).collect();
        let mut buffer = Vec::new();
        let mut seen = Vec::new();
        for byte in &bytes {
            buffer.push(*byte);
            while let Some(report) = take::<Report>(&mut buffer).unwrap() {
                seen.push(report);
            }
        }
        assert_eq!(seen, reports);
        assert_eq!(
            read::<Report>(&mut bytes.as_slice()).unwrap(),
            Report::Entered
        );
        assert!(take::<Report>(&mut vec![0xff; 8]).is_err(), "bounded");
    }
}
