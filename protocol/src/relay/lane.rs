//! Lane frames: how one data socket carries several client sockets of a session (RL-3).
//!
//! One frame is one binary WebSocket message: `kind:u8 lane:u32be payload`. A lane is a label
//! inside one data socket, assigned by the relay, never reused there, and never an identity.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// Number of a lane inside one data socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(u32);

impl Lane {
    /// The lane of a number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({})", self.0)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Kind of a lane frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LaneKind {
    /// A client socket opened. Sent by relays only; no payload.
    Open = 0,
    /// One binary message from or to the client.
    Data = 1,
    /// The client socket closed, or must be closed; the payload is the close code.
    Close = 2,
}

/// Why a message is not a lane frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// Shorter than kind and lane.
    #[error("a lane frame of {0} bytes; the header alone has 5")]
    Short(usize),
    /// An unknown kind.
    #[error("unknown lane frame kind {0}")]
    Kind(u8),
    /// An open or close frame with a payload of the wrong length.
    #[error("a lane frame of kind {kind:?} with a payload of {len} bytes")]
    Payload {
        /// Kind of the frame.
        kind: LaneKind,
        /// Bytes of its payload.
        len: usize,
    },
}

/// The header of a lane frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneHeader {
    /// Kind of the frame.
    pub kind: LaneKind,
    /// Its lane.
    pub lane: Lane,
}

impl LaneHeader {
    /// Bytes of a header.
    pub const LEN: usize = 5;

    /// The header's bytes, for writers that append the payload without a copy.
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        let [a, b, c, d] = self.lane.0.to_be_bytes();
        [self.kind as u8, a, b, c, d]
    }

    /// Reads the first bytes of a frame.
    ///
    /// # Errors
    /// [`LaneError::Kind`].
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Result<Self, LaneError> {
        let [kind, a, b, c, d] = bytes;
        let kind = match kind {
            0 => LaneKind::Open,
            1 => LaneKind::Data,
            2 => LaneKind::Close,
            other => return Err(LaneError::Kind(other)),
        };
        let lane = Lane(u32::from_be_bytes([a, b, c, d]));
        Ok(Self { kind, lane })
    }
}

/// One whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneFrame {
    /// A client socket opened.
    Open {
        /// Its lane.
        lane: Lane,
    },
    /// One binary message.
    Data {
        /// Its lane.
        lane: Lane,
        /// The message, unchanged.
        payload: Bytes,
    },
    /// The client socket closed (from the relay) or must be closed (from the daemon).
    Close {
        /// Its lane.
        lane: Lane,
        /// WebSocket close code; 1006 when the client socket ended without one.
        code: u16,
    },
}

impl LaneFrame {
    /// Parses one binary message. The payload shares its memory.
    ///
    /// # Errors
    /// [`LaneError`].
    pub fn decode(mut message: Bytes) -> Result<Self, LaneError> {
        let Some(header) = message.first_chunk::<{ LaneHeader::LEN }>() else {
            return Err(LaneError::Short(message.len()));
        };
        let LaneHeader { kind, lane } = LaneHeader::from_bytes(*header)?;
        let payload = message.split_off(LaneHeader::LEN);
        let len = payload.len();
        match (kind, &*payload) {
            (LaneKind::Data, _) => Ok(Self::Data { lane, payload }),
            (LaneKind::Open, []) => Ok(Self::Open { lane }),
            (LaneKind::Close, &[a, b]) => Ok(Self::Close {
                lane,
                code: u16::from_be_bytes([a, b]),
            }),
            (LaneKind::Open | LaneKind::Close, _) => Err(LaneError::Payload { kind, len }),
        }
    }

    /// The bytes of one binary message. The payload is copied; a writer on a hot path writes
    /// [`LaneHeader::to_bytes`] before the payload instead.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(LaneHeader::LEN + self.payload_len());
        out.put_slice(&self.header().to_bytes());
        match self {
            Self::Open { .. } => {}
            Self::Data { payload, .. } => out.put_slice(payload),
            Self::Close { code, .. } => out.put_u16(*code),
        }
        out.freeze()
    }

    /// Kind and lane.
    pub const fn header(&self) -> LaneHeader {
        match *self {
            Self::Open { lane } => LaneHeader {
                kind: LaneKind::Open,
                lane,
            },
            Self::Data { lane, .. } => LaneHeader {
                kind: LaneKind::Data,
                lane,
            },
            Self::Close { lane, .. } => LaneHeader {
                kind: LaneKind::Close,
                lane,
            },
        }
    }

    const fn payload_len(&self) -> usize {
        match self {
            Self::Open { .. } => 0,
            Self::Data { payload, .. } => payload.len(),
            Self::Close { .. } => 2,
        }
    }
}
