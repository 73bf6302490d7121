//! The link's frames: the same messages however the stream is split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mezzo_api::frame::{Decoder, FrameError};

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    let whole = decode([stream].into_iter());
    assert_eq!(decode(stream.chunks(usize::from(size) + 1)), whole);
    assert_eq!(decode(stream.chunks(1)), whole);
});
