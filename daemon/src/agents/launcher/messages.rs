//! What daemon and launcher say to each other: frames of JSON, each after its length in four bytes.

use std::io::{self, Read};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Both ends are one program, except where an update replaced the file under a running daemon. One more with every
/// change of what is below.
pub(crate) const VERSION: u32 = 2;
/// Largest frame: a prompt of 64 KiB, escaped, and a command line as long as the system takes.
const MAX_FRAME: usize = 8 << 20;

/// What to start. Everything that may be secret comes this way and never by an argument.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// [`VERSION`] of the daemon.
    pub(crate) version: u32,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Where it works.
    pub(crate) cwd: String,
    /// What its standard input says; nothing is `/dev/null`.
    pub(crate) input: Option<String>,
    /// The soft limit of open files that the daemon was started with.
    pub(crate) files: Option<u64>,
}

/// What the launcher tells.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub(crate) enum Report {
    /// The launcher runs; the folder comes next.
    Here,
    /// It is in the folder; the program comes next.
    Entered,
    /// The program runs.
    Started,
    /// It could not be started; the text is for people.
    Failed {
        /// What is wrong and what to do.
        text: String,
    },
    /// The program has ended.
    Exited(Exit),
    /// Nothing of the turn runs any more that may be ended.
    Ended,
}

/// How a program ended: one of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// Its exit status.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
}

/// Orders of the daemon, a byte each. The end of the stream says that the daemon reads no more output.
pub(crate) mod order {
    /// Ask everything of the turn to end.
    pub(crate) const TERMINATE: u8 = b'T';
    /// The same, except daemons that the turn has started, with what is below them.
    pub(crate) const TERMINATE_SPARING: u8 = b'S';
    /// End it. What [`TERMINATE_SPARING`] spares stays spared.
    pub(crate) const KILL: u8 = b'K';
}

/// One frame.
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

/// Takes one frame from the front of a buffer, if it is whole.
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

/// Reads one frame, waiting for it.
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
