//! Messages that records have in common with what the agent keeps: they are written without a copy.

use std::{ops::Deref, sync::Arc};

use bytes::{Buf, BufMut};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType},
};

/// Encoded and decoded as the message itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shared<M>(Arc<M>);

impl<M: Message + Clone + Default> Message for Shared<M> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.0.encode_raw(buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        Arc::make_mut(&mut self.0).merge_field(tag, wire_type, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl<M> From<Arc<M>> for Shared<M> {
    fn from(message: Arc<M>) -> Self {
        Self(message)
    }
}

impl<M> From<Shared<M>> for Arc<M> {
    fn from(shared: Shared<M>) -> Self {
        shared.0
    }
}

impl<M> Deref for Shared<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use mezzo_api::v1;

    use super::*;

    #[test]
    fn is_written_and_read_as_the_message_itself() {
        let status = v1::TaskStatus {
            task_id: v1::TaskId { value: "t".into() },
            state: v1::TaskState::TaskRunning as i32,
            message: Some("so it goes".into()),
            ..Default::default()
        };
        let bytes = status.encode_to_vec();
        let shared = Shared::from(Arc::new(status));
        assert_eq!(shared.encode_to_vec(), bytes);
        assert_eq!(Shared::decode(&bytes[..]).unwrap(), shared);
    }
}
