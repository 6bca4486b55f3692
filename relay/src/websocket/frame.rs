//! WebSocket frames as bytes (RFC 6455 §5): parses those of clients, writes those of servers, and
//! removes the mask.

use bowline_protocol::Reason;

/// Longest payload of a control frame, by the RFC.
pub(crate) const MAX_CONTROL_PAYLOAD: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Protocol violations of a WebSocket client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A client's frame without a mask.
    Unmasked,
    /// No extension is negotiated, so these bits must be 0.
    ReservedBits,
    /// An undefined opcode.
    Opcode,
    /// A control frame that is fragmented or too long.
    Control,
    /// A continuation without a message, or a new message inside another.
    Fragments,
    /// A message over the limit of its socket.
    TooLarge,
}

impl Violation {
    /// Text of the close frame.
    pub(crate) const fn reason(self) -> Reason {
        match self {
            Self::TooLarge => Reason::MessageTooLarge,
            Self::Unmasked
            | Self::ReservedBits
            | Self::Opcode
            | Self::Control
            | Self::Fragments => Reason::BadRequest,
        }
    }
}

/// Kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        self as u8
    }

    const fn is_control(self) -> bool {
        self.bits() & 0x8 != 0
    }
}

/// The header of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) mask: [u8; 4],
    /// Bytes of the header itself.
    pub(crate) header_len: usize,
    /// Bytes of the payload.
    pub(crate) len: usize,
}

/// Result of parsing the first bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Number of bytes, from the first one, needed to continue.
    Need(usize),
    /// The whole header.
    Header(Header),
}

/// Parses the header of a frame whose payload may have `max` bytes.
pub(crate) fn parse(bytes: &[u8], max: usize) -> Result<Parsed, Violation> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(Parsed::Need(2));
    };
    if first & RESERVED != 0 {
        return Err(Violation::ReservedBits);
    }
    let opcode = Opcode::from_bits(first & 0x0F).ok_or(Violation::Opcode)?;
    let fin = first & FIN != 0;
    if second & MASKED == 0 {
        return Err(Violation::Unmasked);
    }
    let short = usize::from(second & !MASKED);
    if opcode.is_control() && (!fin || short > MAX_CONTROL_PAYLOAD) {
        return Err(Violation::Control);
    }
    let (len, rest, header_len) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest, 8),
            None => return Ok(Parsed::Need(8)),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((len, rest)) => (u64::from_be_bytes(*len), rest, 14),
            None => return Ok(Parsed::Need(14)),
        },
        short => (short as u64, rest, 6),
    };
    // Checked before any byte of the payload arrives.
    let len = match usize::try_from(len) {
        Ok(len) if len <= max || opcode.is_control() => len,
        _ => return Err(Violation::TooLarge),
    };
    let Some(&mask) = rest.first_chunk::<4>() else {
        return Ok(Parsed::Need(header_len));
    };
    Ok(Parsed::Header(Header {
        fin,
        opcode,
        mask,
        header_len,
        len,
    }))
}

/// Writes the header of a server's frame: unfragmented and unmasked.
pub(crate) fn write_header(out: &mut Vec<u8>, opcode: Opcode, len: usize) {
    out.push(FIN | opcode.bits());
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ ..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Masked payload bytes and their mask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Masked<'a> {
    bytes: &'a [u8],
    mask: [u8; 4],
}

/// Bytes copied and unmasked at a time: small enough to stay in the first-level cache in between.
const BLOCK: usize = 4 * 1024;

impl<'a> Masked<'a> {
    pub(crate) const fn new(bytes: &'a [u8], mask: [u8; 4]) -> Self {
        Self { bytes, mask }
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The first `N` bytes unmasked, and the rest still masked; `None` when there are fewer.
    pub(crate) fn split_first<const N: usize>(self) -> Option<([u8; N], Self)> {
        let (first, rest) = self.bytes.split_first_chunk::<N>()?;
        let mut clear = *first;
        for (byte, mask) in clear.iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= mask;
        }
        let mut mask = self.mask;
        mask.rotate_left(N % 4);
        Some((clear, Self { bytes: rest, mask }))
    }

    /// Appends the unmasked bytes.
    pub(crate) fn append_to(self, out: &mut Vec<u8>) {
        out.reserve(self.bytes.len());
        // A block's length is a multiple of the mask's, so each begins at the same place in the
        // mask.
        for block in self.bytes.chunks(BLOCK) {
            let start = out.len();
            out.extend_from_slice(block);
            if let Some(copied) = out.get_mut(start..) {
                apply(copied, self.mask);
            }
        }
    }

    /// The unmasked bytes, for the few payloads that the relay reads.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.append_to(&mut out);
        out
    }
}

fn apply(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}
