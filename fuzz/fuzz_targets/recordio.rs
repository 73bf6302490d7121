//! RecordIO: the same records however the stream is split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mezzo_api::recordio::{Decoder, RecordIoError, encode_record};

const LIMIT: usize = 256;

fn decode(pieces: impl Iterator<Item = impl AsRef<[u8]>>) -> (Vec<Vec<u8>>, Option<RecordIoError>) {
    let mut decoder = Decoder::new(LIMIT);
    let mut records = Vec::new();
    for piece in pieces {
        decoder.feed(piece.as_ref());
        loop {
            match decoder.next() {
                Ok(Some(record)) => records.push(record.to_vec()),
                Ok(None) => break,
                Err(error) => return (records, Some(error)),
            }
        }
    }
    (records, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    let whole = decode([stream].into_iter());
    assert_eq!(decode(stream.chunks(usize::from(size) + 1)), whole);
    assert_eq!(decode(stream.chunks(1)), whole);
    let mut again = Default::default();
    whole.0.iter().for_each(|record| encode_record(&mut again, record));
    assert_eq!(decode([again].into_iter()), (whole.0, None));
});
