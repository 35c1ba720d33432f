//! Lists as streams, and the limit of lists that are none.
//!
//! A message may have [`MAX_MESSAGE_BYTES`]. A list that has more is refused by a plain call, clearly, and told by a
//! streaming one in several messages. These are measured in bytes, not in items, since items differ a thousandfold;
//! what they hold was taken from one snapshot when the call began.

use futures_util::stream;
use prost::Message;

use crate::cri::runtime::Messages;
use crate::cri::status::status;
use crate::cri::wire::MAX_MESSAGE_BYTES;
use crate::model::{Error, Kind, Result};

/// Bytes of one message of a stream: far from the limit, and enough that their number does not matter.
const BATCH: usize = 1024 * 1024;
/// What a field's tag and an item's length take at most, beside the item.
const OVERHEAD: usize = 16;

/// Sends items in messages that hold one at least and [`BATCH`] bytes at most, unless one item alone has more. No items
/// are no message.
pub(super) fn batched<T, M>(
    items: impl Iterator<Item = T> + Send + 'static,
    wrap: impl Fn(Vec<T>) -> M + Send + 'static,
) -> Messages<M>
where
    T: Message + 'static,
    M: Send + 'static,
{
    let mut items = items.peekable();
    let mut done = false;
    Box::pin(stream::iter(std::iter::from_fn(move || {
        if done {
            return None;
        }
        let (mut batch, mut bytes) = (vec![], 0);
        while let Some(item) = items.peek() {
            let size = item.encoded_len() + OVERHEAD;
            if !batch.is_empty() && bytes + size > BATCH {
                break;
            }
            if size > MAX_MESSAGE_BYTES {
                done = true;
                return Some(Err(status(&too_large("one item", size))));
            }
            bytes += size;
            batch.extend(items.next());
        }
        (!batch.is_empty()).then(|| Ok(wrap(batch)))
    })))
}

/// Lets an answer pass that a message has room for.
///
/// # Errors
/// `ResourceExhausted`: it has not.
pub(super) fn fitting<M: Message>(answer: M) -> Result<M> {
    match answer.encoded_len() {
        size if size > MAX_MESSAGE_BYTES => {
            Err(too_large("the answer", size).within("use the streaming call, or a filter"))
        }
        _ => Ok(answer),
    }
}

fn too_large(what: &str, size: usize) -> Error {
    Error::new(
        Kind::ResourceExhausted,
        format!("{what} has {size} bytes, a message has room for {MAX_MESSAGE_BYTES}"),
    )
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tonic::Code;

    use super::*;
    use crate::cri::wire::v1;

    fn item(bytes: usize) -> v1::Image {
        v1::Image {
            id: "x".repeat(bytes),
            ..v1::Image::default()
        }
    }

    /// The numbers of items in the messages that items of these sizes are sent in, and the code at the end.
    async fn check(sizes: &[usize], expected: &[usize], end: Option<Code>) {
        let items: Vec<_> = sizes.iter().map(|size| item(*size)).collect();
        let mut messages = batched(items.into_iter(), |images| v1::StreamImagesResponse { images });
        let (mut counts, mut code) = (vec![], None);
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => {
                    assert!(message.encoded_len() <= MAX_MESSAGE_BYTES);
                    counts.push(message.images.len());
                }
                Err(status) => code = Some(status.code()),
            }
        }

        assert_eq!((counts.as_slice(), code), (expected, end), "{sizes:?}");
    }

    #[tokio::test]
    async fn items_go_into_messages_by_their_size() {
        check(&[], &[], None).await;
        check(&[1], &[1], None).await;
        check(&[0; 1000], &[1000], None).await;
        check(&[BATCH / 2, BATCH / 3, BATCH / 2], &[2, 1], None).await;
        check(&[10, 5 * BATCH, 10, 10], &[1, 1, 2], None).await;
        check(&[MAX_MESSAGE_BYTES, 10], &[], Some(Code::ResourceExhausted)).await;
        check(
            &[BATCH, MAX_MESSAGE_BYTES, 10],
            &[1],
            Some(Code::ResourceExhausted),
        )
        .await;
    }

    #[test]
    fn an_answer_beyond_the_limit_is_refused_and_the_way_out_told() {
        let images = |bytes| v1::ListImagesResponse {
            images: vec![item(bytes)],
        };

        assert!(fitting(images(MAX_MESSAGE_BYTES - 100)).is_ok());
        let error = fitting(images(MAX_MESSAGE_BYTES)).unwrap_err();
        assert_eq!(error.kind(), Kind::ResourceExhausted);
        assert!(error.to_string().contains("streaming call"), "{error}");
    }
}
