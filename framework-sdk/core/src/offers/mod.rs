//! Offers, held for a while and used piece by piece.

mod cache;
mod carve;

pub use cache::OfferCache;
pub use carve::{Carved, carve};

use mezzo_api::v1;

/// Filters for a decline: what is refused is not offered again for this long, unless it grows.
pub fn refuse_for(time: std::time::Duration) -> Option<v1::Filters> {
    Some(v1::Filters { refuse_seconds: Some(time.as_secs_f64()) })
}
