//! An entity of the picture with the text in which endpoints show it: written when somebody first wants it, and kept until the
//! entity changes. Most of a large picture stays as it is between two reads.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

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

    /// Whether somebody has read it.
    pub(super) fn is_written(&self) -> bool {
        self.text.get().is_some()
    }

    /// Its text, which `write` writes if it is the first time.
    pub(super) fn text(&self, write: impl FnOnce(&T) -> Vec<u8>) -> &[u8] {
        self.text.get_or_init(|| write(&self.entity).into_boxed_slice())
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
    use super::*;

    #[test]
    fn a_text_is_written_once() {
        let shown = Shown::new(Arc::new(7));
        assert_eq!(shown.text(|number| number.to_string().into_bytes()), b"7");
        assert_eq!(shown.text(|_| unreachable!("it was written")), b"7");
        assert_eq!(**shown, 7);
    }
}
