//! An entity of the picture with the text in which endpoints show it: written when somebody first wants it, and kept until the
//! entity changes. Most of a large picture stays as it is between two reads.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

/// What endpoints show as an object of its own.
pub(crate) trait Entity: Send + Sync + 'static {
    /// The object.
    fn write(&self) -> Vec<u8>;
}

/// Something of which there is a text.
pub(crate) trait Text: Send + Sync {
    /// The text, which is written now if it never was.
    fn text(&self) -> &[u8];
}

/// An entity that was published, and its text.
#[derive(Debug)]
pub(crate) struct Shown<T> {
    entity: Arc<T>,
    text: OnceLock<Box<[u8]>>,
}

impl<T> Shown<T> {
    /// An entity that nobody has read yet.
    pub(super) fn new(entity: Arc<T>) -> Arc<Self> {
        Arc::new(Self { entity, text: OnceLock::new() })
    }
}

impl<T: Entity> Text for Shown<T> {
    fn text(&self) -> &[u8] {
        self.text.get_or_init(|| self.entity.write().into_boxed_slice())
    }
}

impl<T> Deref for Shown<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.entity
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    impl Entity for AtomicU8 {
        fn write(&self) -> Vec<u8> {
            self.fetch_add(1, Ordering::Relaxed).to_string().into_bytes()
        }
    }

    #[test]
    fn a_text_is_written_once() {
        let shown = Shown::new(Arc::new(AtomicU8::new(7)));
        assert_eq!((shown.text(), shown.text()), (&b"7"[..], &b"7"[..]));
        assert_eq!(shown.load(Ordering::Relaxed), 8);
    }
}
