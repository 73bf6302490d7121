//! RecordIO: the framing of event streams. A record is its length in ASCII decimals, a line feed, and that many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The decimals of `u64::MAX`: longest length line that is waited for.
const MAX_LENGTH_DIGITS: usize = 20;

/// A length line of ours is never longer.
pub(crate) const MAX_HEADER_BYTES: usize = MAX_LENGTH_DIGITS + 1;

/// Why a stream is no RecordIO. The decoder is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordIoError {
    /// The length is no decimal number.
    #[error("the length of a record is not a decimal number")]
    BadLength,
    /// The record is longer than allowed.
    #[error("a record of {length} bytes is longer than the limit of {limit} bytes")]
    TooLong {
        /// What its length line says.
        length: u64,
        /// What the decoder allows.
        limit: usize,
    },
}

/// Appends `record` to `out`.
pub fn encode_record(out: &mut BytesMut, record: &[u8]) {
    out.reserve(record.len() + MAX_HEADER_BYTES);
    write_header(out, record.len());
    out.put_slice(record);
}

/// Appends the line in front of a record of `length` bytes.
pub(crate) fn write_header(out: &mut impl BufMut, length: usize) {
    out.put_slice(itoa::Buffer::new().format(length).as_bytes());
    out.put_u8(b'\n');
}

/// Writes the line in front of a record that was written behind `room` free bytes; gives where it begins.
pub(crate) fn write_header_before(out: &mut [u8], room: usize) -> usize {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(out.len() - room).as_bytes();
    let start = room - digits.len() - 1;
    out[start..room - 1].copy_from_slice(digits);
    out[room - 1] = b'\n';
    start
}

/// Takes records out of a stream that comes in any pieces.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    max_record_bytes: usize,
    /// The length of the record whose bytes are awaited.
    length: Option<usize>,
}

impl Decoder {
    /// A decoder that refuses records of more than `max_record_bytes`.
    pub fn new(max_record_bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), max_record_bytes, length: None }
    }

    /// Takes the next piece of the stream.
    pub fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole record; `None` until more is fed.
    ///
    /// # Errors
    /// If the stream is no RecordIO or a record is too long; the same again from then on.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Bytes>, RecordIoError> {
        let length = match self.length {
            Some(length) => length,
            None => match self.take_length()? {
                Some(length) => *self.length.insert(length),
                None => return Ok(None),
            },
        };
        if self.buffer.len() < length {
            return Ok(None);
        }
        self.length = None;
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Whether the stream may end here: no record is incomplete.
    pub fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty() && self.length.is_none()
    }

    fn take_length(&mut self) -> Result<Option<usize>, RecordIoError> {
        let Some(end) = self.buffer.iter().take(MAX_LENGTH_DIGITS + 1).position(|&byte| byte == b'\n') else {
            let digits = self.buffer.iter().all(u8::is_ascii_digit);
            let waiting = digits && self.buffer.len() <= MAX_LENGTH_DIGITS;
            return if waiting { Ok(None) } else { Err(RecordIoError::BadLength) };
        };
        let length = parse_length(&self.buffer[..end])?;
        let record = usize::try_from(length).ok().filter(|length| *length <= self.max_record_bytes);
        let record = record.ok_or(RecordIoError::TooLong { length, limit: self.max_record_bytes })?;
        self.buffer.advance(end + 1);
        Ok(Some(record))
    }
}

fn parse_length(line: &[u8]) -> Result<u64, RecordIoError> {
    let digits = !line.is_empty() && line.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(line).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or(RecordIoError::BadLength)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(decoder: &mut Decoder) -> Vec<Bytes> {
        std::iter::from_fn(|| decoder.next().unwrap()).collect()
    }

    #[test]
    fn refuses_what_is_no_length() {
        for stream in
            ["x\n", "-1\nx", "\n", "+1\nx", " 1\nx", "1 \nx", "99999999999999999999\n", "123456789012345678901"]
        {
            let mut decoder = Decoder::new(100);
            decoder.feed(stream.as_bytes());
            assert_eq!(decoder.next(), Err(RecordIoError::BadLength), "{stream:?}");
            assert_eq!(decoder.next(), Err(RecordIoError::BadLength), "{stream:?}");
        }
    }

    #[test]
    fn refuses_long_records_before_they_come() {
        let mut decoder = Decoder::new(3);
        decoder.feed(b"3\nabc4\n");
        assert_eq!(decoder.next(), Ok(Some(Bytes::from_static(b"abc"))));
        assert_eq!(decoder.next(), Err(RecordIoError::TooLong { length: 4, limit: 3 }));
    }

    #[test]
    fn knows_where_a_stream_may_end() {
        let mut decoder = Decoder::new(9);
        assert!(decoder.is_at_boundary());
        decoder.feed(b"2\nab");
        assert!(!decoder.is_at_boundary());
        assert_eq!(decode(&mut decoder), ["ab"]);
        assert!(decoder.is_at_boundary());
        decoder.feed(b"2\n");
        assert_eq!(decoder.next(), Ok(None));
        assert!(!decoder.is_at_boundary());
    }

    proptest! {
        #[test]
        fn survives_any_split(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut stream = BytesMut::new();
            records.iter().for_each(|record| encode_record(&mut stream, record));
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let mut decoder = Decoder::new(40);
            let mut decoded = Vec::new();
            for pair in cuts.windows(2) {
                decoder.feed(&stream[pair[0]..pair[1]]);
                decoded.extend(decode(&mut decoder));
            }
            prop_assert_eq!(decoded, records);
            prop_assert!(decoder.is_at_boundary());
        }
    }
}
