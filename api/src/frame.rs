//! The framing of the link between master and agent: each message is preceded by its length as four bytes, big-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// The longest message.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

const HEADER_BYTES: usize = 4;

/// Why a stream is not one of frames. The decoder is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than [`MAX_FRAME_BYTES`].
    #[error("a frame of {length} bytes is longer than the limit of {MAX_FRAME_BYTES} bytes")]
    TooLong {
        /// What its header says.
        length: u32,
    },
}

/// Appends `message` to `out`. The sender keeps its messages below [`MAX_FRAME_BYTES`].
pub fn encode_frame(out: &mut BytesMut, message: &impl Message) {
    let length = message.encoded_len();
    debug_assert!(length <= MAX_FRAME_BYTES, "a message of {length} bytes");
    out.reserve(HEADER_BYTES + length);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(out);
}

/// Takes messages out of a stream that comes in any pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of the stream.
    pub fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The bytes of the next whole message; `None` until more is fed.
    ///
    /// # Errors
    /// If a frame is too long; the same again from then on.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*header);
        let Some(bytes) = usize::try_from(length).ok().filter(|bytes| *bytes <= MAX_FRAME_BYTES) else {
            return Err(FrameError::TooLong { length });
        };
        if self.buffer.len() < HEADER_BYTES + bytes {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        Ok(Some(self.buffer.split_to(bytes).freeze()))
    }

    /// Whether the stream may end here: no message is incomplete.
    pub fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::v1::TaskId;

    #[test]
    fn refuses_long_frames_before_they_come() {
        let mut decoder = Decoder::new();
        decoder.feed(&[1, 0, 0, 0]);
        assert_eq!(decoder.next(), Ok(None), "16 MiB are allowed");
        let mut decoder = Decoder::new();
        decoder.feed(&[1, 0, 0, 1]);
        assert_eq!(decoder.next(), Err(FrameError::TooLong { length: 0x0100_0001 }));
        assert_eq!(decoder.next(), Err(FrameError::TooLong { length: 0x0100_0001 }));
    }

    proptest! {
        #[test]
        fn survives_any_split(
            ids in prop::collection::vec(".{0,40}", 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let messages: Vec<TaskId> = ids.into_iter().map(|value| TaskId { value }).collect();
            let mut stream = BytesMut::new();
            messages.iter().for_each(|message| encode_frame(&mut stream, message));
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let mut decoder = Decoder::new();
            let mut decoded = Vec::new();
            for pair in cuts.windows(2) {
                decoder.feed(&stream[pair[0]..pair[1]]);
                while let Some(bytes) = decoder.next().unwrap() {
                    decoded.push(TaskId::decode(bytes).unwrap());
                }
            }
            prop_assert_eq!(decoded, messages);
            prop_assert!(decoder.is_at_boundary());
        }
    }
}
