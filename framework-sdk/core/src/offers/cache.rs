//! Offers that are kept for what may need them soon, and given back in time: an offer that nobody answers stays away
//! from everybody.

use std::time::Duration;

use indexmap::IndexMap;
use mezzo_api::v1;

#[derive(Debug)]
struct Held {
    offer: v1::Offer,
    until: Duration,
}

/// Offers in the order in which they came, each with the time at which it is to be given back.
#[derive(Debug)]
pub struct OfferCache {
    keep: Duration,
    offers: IndexMap<String, Held>,
}

impl OfferCache {
    /// One that keeps each offer for this long.
    pub fn new(keep: Duration) -> Self {
        Self { keep, offers: IndexMap::new() }
    }

    /// Takes an offer in.
    pub fn insert(&mut self, now: Duration, offer: v1::Offer) {
        let until = now.saturating_add(self.keep);
        self.offers.insert(offer.id.value.clone(), Held { offer, until });
    }

    /// The master took this offer back; whether it was here.
    pub fn rescinded(&mut self, id: &v1::OfferId) -> bool {
        self.offers.shift_remove(&id.value).is_some()
    }

    /// The subscription is gone, and with it every offer.
    pub fn clear(&mut self) {
        self.offers.clear();
    }

    /// Takes this offer out, to use or to decline it.
    pub fn take(&mut self, id: &str) -> Option<v1::Offer> {
        self.offers.shift_remove(id).map(|held| held.offer)
    }

    /// Takes all of them out.
    pub fn take_all(&mut self) -> Vec<v1::Offer> {
        std::mem::take(&mut self.offers).into_values().map(|held| held.offer).collect()
    }

    /// Takes out what has been kept for long enough.
    pub fn expired(&mut self, now: Duration) -> Vec<v1::Offer> {
        let over: Vec<String> =
            self.offers.iter().filter(|(_, held)| held.until <= now).map(|(id, _)| id.clone()).collect();
        over.iter().filter_map(|id| self.take(id)).collect()
    }

    /// When the first of them is to be given back.
    pub fn deadline(&self) -> Option<Duration> {
        self.offers.values().map(|held| held.until).min()
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &v1::Offer> {
        self.offers.values().map(|held| &held.offer)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.offers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(id: &str) -> v1::Offer {
        v1::Offer { id: v1::OfferId { value: id.into() }, ..Default::default() }
    }

    fn ids(offers: &[v1::Offer]) -> Vec<&str> {
        offers.iter().map(|offer| offer.id.value.as_str()).collect()
    }

    #[test]
    fn each_offer_is_given_back_in_its_time() {
        let second = Duration::from_secs(1);
        let mut cache = OfferCache::new(5 * second);
        cache.insert(Duration::ZERO, offer("a"));
        cache.insert(second, offer("b"));
        cache.insert(2 * second, offer("c"));
        assert_eq!(cache.deadline(), Some(5 * second));
        assert!(cache.expired(4 * second).is_empty());
        assert_eq!(ids(&cache.expired(6 * second)), ["a", "b"]);
        assert!(cache.rescinded(&v1::OfferId { value: "c".into() }));
        assert!(!cache.rescinded(&v1::OfferId { value: "c".into() }));
        assert_eq!((cache.len(), cache.deadline()), (0, None));
    }

    #[test]
    fn an_offer_that_was_used_is_not_given_back() {
        let mut cache = OfferCache::new(Duration::from_secs(1));
        cache.insert(Duration::ZERO, offer("a"));
        cache.insert(Duration::ZERO, offer("b"));
        assert!(cache.take("a").is_some());
        assert!(cache.take("a").is_none());
        assert_eq!(ids(&cache.expired(Duration::from_secs(9))), ["b"]);
        cache.insert(Duration::ZERO, offer("d"));
        cache.clear();
        assert!(cache.is_empty() && cache.expired(Duration::from_secs(99)).is_empty());
    }
}
