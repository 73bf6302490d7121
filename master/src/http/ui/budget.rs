//! What a page was given is given to others, and for a while: rendering takes at most a part of one processor's time,
//! however many pages are open and however fast the cluster changes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::App;
use crate::view::page::{self, PageRead};

/// A rendering stands for this many times the time that it took,
const REST: u32 = 8;
/// but never for longer, so that a page is at most a second behind.
const LONGEST_REST: Duration = Duration::from_millis(600);
/// Pictures with more entities than this are rendered on a thread that serves nobody else.
const LARGE: usize = 1000;
/// Different reads that are remembered.
const REMEMBERED: usize = 64;

#[derive(Clone, Debug)]
struct Picture {
    version: u64,
    body: Bytes,
    made: Instant,
    took: Duration,
}

type Slot = Arc<tokio::sync::Mutex<Option<Picture>>>;

/// The latest rendering of each read.
#[derive(Debug, Default)]
pub(super) struct Rendered(Mutex<BTreeMap<PageRead, Slot>>);

impl Rendered {
    /// The read, and the version of the picture that it shows; nothing if there is no such thing.
    pub(super) async fn get(&self, app: &Arc<App>, read: PageRead) -> Option<(u64, Bytes)> {
        let slot = self.slot(&read);
        let mut slot = slot.lock().await;
        let view = app.published.snapshot();
        if let Some(picture) = &*slot
            && (picture.version == view.version && read != PageRead::History || picture.rests())
        {
            return Some((picture.version, picture.body.clone()));
        }
        let (version, made) = (view.version, Instant::now());
        let samples = if read == PageRead::History { app.page.samples() } else { Vec::new() };
        let body = if view.size() < LARGE {
            page::render(&view, app.master(), &samples, &read)
        } else {
            let app = Arc::clone(app);
            let rendering = move || page::render(&view, app.master(), &samples, &read);
            tokio::task::spawn_blocking(rendering).await.ok()?
        };
        let body = Bytes::from(body?);
        *slot = Some(Picture { version, body: body.clone(), made, took: made.elapsed() });
        Some((version, body))
    }

    fn slot(&self, read: &PageRead) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= REMEMBERED && !slots.contains_key(read) {
            slots.clear();
        }
        Arc::clone(slots.entry(read.clone()).or_default())
    }
}

impl Picture {
    fn rests(&self) -> bool {
        self.made.elapsed() < self.took + (self.took * REST).min(LONGEST_REST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_costly_rendering_stands_longer_and_never_too_long() {
        let picture = |took: u64, age: u64| Picture {
            version: 1,
            body: Bytes::new(),
            made: Instant::now().checked_sub(Duration::from_millis(age)).unwrap(),
            took: Duration::from_millis(took),
        };
        assert!(!picture(0, 1).rests());
        assert!(picture(20, 100).rests());
        assert!(!picture(20, 200).rests());
        assert!(picture(500, 1000).rests());
        assert!(!picture(500, 1200).rests());
    }
}
