//! Requests' bodies, read whole, with a limit.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, header::CONTENT_ENCODING, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;

/// Why a request's body is not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is longer than allowed.
    #[error("The request body is larger than the limit of {0} bytes (--max_request_bytes)")]
    TooLarge(usize),
    /// The client went away or broke HTTP before its end.
    #[error("The request body ended before it was complete")]
    Truncated,
    /// `Content-Encoding: gzip`, and it is none.
    #[error("failed to decode body")]
    NoGzip,
}

/// Reads a whole body of at most `limit` bytes, unpacked.
///
/// # Errors
/// If it is longer, ends too soon, or is not packed as it says.
pub async fn read<B>(request: Request<B>, limit: usize) -> Result<(Parts, Bytes), BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (parts, mut body) = request.into_parts();
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge(limit));
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| BodyError::Truncated)?.into_data() else { continue };
        if first.len() + all.len() + piece.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        match (first.is_empty(), all.is_empty()) {
            // A body that comes in one piece is not copied.
            (true, true) => first = piece,
            (_, true) => {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&piece);
            }
            (_, false) => all.extend_from_slice(&piece),
        }
    }
    let body = if all.is_empty() { first } else { all.freeze() };
    let body = if is_gzip(&parts.headers) { unpack(&body, limit)? } else { body };
    Ok((parts, body))
}

fn is_gzip(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes() == b"gzip")
}

fn unpack(body: &[u8], limit: usize) -> Result<Bytes, BodyError> {
    let mut unpacked = Vec::new();
    let one_more = limit as u64 + 1;
    flate2::read::GzDecoder::new(body).take(one_more).read_to_end(&mut unpacked).map_err(|_| BodyError::NoGzip)?;
    if unpacked.len() > limit { Err(BodyError::TooLarge(limit)) } else { Ok(unpacked.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn gzipped(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    async fn read_all(request: Request<Full<Bytes>>) -> Result<Bytes, BodyError> {
        read(request, 10).await.map(|(_, body)| body)
    }

    #[tokio::test]
    async fn a_body_is_taken_up_to_the_limit() {
        assert_eq!(read_all(Request::new(Full::from("0123456789"))).await.unwrap(), "0123456789");
        assert_eq!(read_all(Request::new(Full::from("0123456789x"))).await, Err(BodyError::TooLarge(10)));
        let pieces = ["012", "345", "67"].map(|piece| Ok::<_, &str>(Frame::data(Bytes::from(piece))));
        let request = Request::new(StreamBody::new(futures_util::stream::iter(pieces)));
        assert_eq!(read(request, 10).await.unwrap().1, "01234567");
        let pieces = [Ok(Frame::data(Bytes::from("012"))), Err("gone")];
        let request = Request::new(StreamBody::new(futures_util::stream::iter(pieces)));
        assert_eq!(read(request, 10).await.unwrap_err(), BodyError::Truncated);
    }

    #[tokio::test]
    async fn a_packed_body_is_unpacked_up_to_the_limit() {
        let packed = |body: Bytes| Request::builder().header(CONTENT_ENCODING, "gzip").body(Full::from(body)).unwrap();
        assert_eq!(read(packed(gzipped(b"0123456789")), 100).await.unwrap().1, "0123456789");
        assert_eq!(read(packed(gzipped(&[b'x'; 1000])), 100).await.unwrap_err(), BodyError::TooLarge(100));
        assert_eq!(read_all(packed("{}".into())).await, Err(BodyError::NoGzip));
    }
}
