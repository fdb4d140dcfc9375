//! Frames: one message, compressed when that pays, with its plain size stated and checked before inflating.

use prost::Message as _;

use super::bounds;
use super::message::Message;
use super::wire;
use crate::limits;

/// A frame is not one of ours; the connection ends with a stated reason and nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Not even the format byte.
    #[error("an empty frame")]
    Empty,
    /// More than one frame may hold.
    #[error("a frame of {got} bytes; at most {limit}")]
    TooLarge {
        /// What came, or what was stated, bytes.
        got: u64,
        /// The bound, bytes.
        limit: usize,
    },
    /// A format byte of another version.
    #[error("frame format {0} is unknown")]
    UnknownFormat(u8),
    /// The compressed bytes are damaged or do not have the stated size.
    #[error("the compressed frame does not inflate to its stated size")]
    Inflate,
    /// Not a message, or a message kind of another version.
    #[error("the frame holds no message that this version knows")]
    UnknownMessage,
    /// The protobuf bytes are damaged.
    #[error("the message cannot be decoded: {0}")]
    Malformed(String),
    /// A field that the message cannot be without is missing or has the wrong shape.
    #[error("the message's {0} is missing or malformed")]
    Field(&'static str),
    /// More of something than the limits allow.
    #[error("the message has too many {0}")]
    TooMany(&'static str),
}

impl From<prost::DecodeError> for FrameError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Level 3: 2.7 µs a record; level 9 costs five times that for 7 % less.
const ZSTD_LEVEL: i32 = 3;

/// The bytes of one WebSocket message.
#[must_use]
pub fn encode_frame(message: &Message) -> Vec<u8> {
    let envelope = message.to_wire();
    let plain = envelope.encode_to_vec();
    // A page's body is compressed already.
    let pays = plain.len() >= limits::COMPRESS_FROM_BYTES && !matches!(message, Message::Page(_));
    if let Some(packed) = pays.then(|| compress(&plain)).flatten() {
        let mut frame = Vec::with_capacity(packed.len() + 5);
        frame.push(ZSTD);
        let size = u32::try_from(plain.len()).expect("messages are far below 4 GiB");
        frame.extend_from_slice(&size.to_le_bytes());
        frame.extend_from_slice(&packed);
        return frame;
    }
    let mut frame = Vec::with_capacity(plain.len() + 1);
    frame.push(PLAIN);
    frame.extend_from_slice(&plain);
    frame
}

/// Reads one WebSocket message.
///
/// # Errors
/// When it is not a message of this version. Nothing beyond the stated limits is allocated.
pub fn decode_frame(frame: &[u8]) -> Result<Message, FrameError> {
    if frame.len() > limits::FRAME_BYTES_MAX {
        let got = frame.len() as u64;
        return Err(FrameError::TooLarge { got, limit: limits::FRAME_BYTES_MAX });
    }
    let (format, rest) = frame.split_first().ok_or(FrameError::Empty)?;
    let inflated;
    let plain = match *format {
        PLAIN => rest,
        ZSTD => {
            let (size, packed) = rest.split_first_chunk::<4>().ok_or(FrameError::Inflate)?;
            let size = u64::from(u32::from_le_bytes(*size));
            inflated = inflate(packed, size, limits::PLAIN_BYTES_MAX)?;
            &inflated
        }
        other => return Err(FrameError::UnknownFormat(other)),
    };
    bounds::check(plain, bounds::ENVELOPE)?;
    let envelope = wire::Envelope::decode(plain)?;
    Message::from_wire(envelope.body.ok_or(FrameError::UnknownMessage)?)
}

/// What a frame holds once inflated, as it says itself, bytes.
#[must_use]
pub fn plain_len(frame: &[u8]) -> usize {
    match frame.split_first() {
        Some((&ZSTD, rest)) => rest
            .first_chunk::<4>()
            .map_or(0, |size| usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX)),
        Some((_, plain)) => plain.len(),
        None => 0,
    }
}

/// Compresses; nothing when it does not get smaller.
pub(super) fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    zstd::bulk::compress(plain, ZSTD_LEVEL).ok().filter(|packed| packed.len() < plain.len())
}

/// Inflates to exactly `size` bytes, at most `limit`.
pub(super) fn inflate(packed: &[u8], size: u64, limit: usize) -> Result<Vec<u8>, FrameError> {
    let stated = usize::try_from(size).ok().filter(|size| *size <= limit);
    let stated = stated.ok_or(FrameError::TooLarge { got: size, limit })?;
    let plain = zstd::bulk::decompress(packed, stated).map_err(|_| FrameError::Inflate)?;
    if plain.len() == stated { Ok(plain) } else { Err(FrameError::Inflate) }
}
