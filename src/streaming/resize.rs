//! Sizes of the client's terminal: JSON objects one after the other, cut anyhow.

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use crate::model::TerminalSize;

/// Longest text that is kept while it is not an object yet.
const LONGEST: usize = 4 << 10;

#[derive(Deserialize)]
struct Size {
    #[serde(alias = "width")]
    #[serde(rename = "Width")]
    width: u16,
    #[serde(alias = "height")]
    #[serde(rename = "Height")]
    height: u16,
}

/// Finds the sizes in what arrives.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    text: Vec<u8>,
    broken: bool,
}

impl Sizes {
    /// Takes what has arrived and returns the sizes that are complete by now, without empty ones. Text that is no size
    /// ends the taking: the session goes on with the terminal as it is.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<TerminalSize> {
        if self.broken {
            return vec![];
        }
        self.text.extend_from_slice(bytes);
        let mut sizes = vec![];
        let mut stream = serde_json::Deserializer::from_slice(&self.text).into_iter::<Size>();
        loop {
            match stream.next() {
                Some(Ok(Size { width, height })) if width > 0 && height > 0 => {
                    sizes.push(TerminalSize { width, height });
                }
                Some(Ok(_)) => {}
                Some(Err(error)) if !error.is_eof() => {
                    self.broken = true;
                    break;
                }
                Some(Err(_)) | None => break,
            }
        }
        let done = stream.byte_offset();
        self.text.drain(..done);
        self.broken |= self.text.len() > LONGEST;
        if self.broken {
            self.text = vec![];
        }
        sizes
    }
}

/// Passes on the sizes that a stream of the client's brings, until it ends.
pub(super) async fn pass_on(mut from: impl AsyncRead + Unpin, to: mpsc::Sender<TerminalSize>) {
    let (mut sizes, mut chunk) = (Sizes::default(), [0; 1 << 10]);
    while let Ok(count) = from.read(&mut chunk).await {
        if count == 0 {
            return;
        }
        for size in sizes.push(&chunk[..count]) {
            // Nobody has a terminal any more: what comes is read and dropped.
            let _ = to.send(size).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&str]) -> Vec<(u16, u16)> {
        let mut sizes = Sizes::default();
        let found = pieces.iter().flat_map(|piece| sizes.push(piece.as_bytes()));
        found.map(|size| (size.width, size.height)).collect()
    }

    #[test]
    fn sizes_are_found_however_they_are_cut() {
        let one = "{\"Width\":80,\"Height\":24}\n";
        assert_eq!(all(&[one]), [(80, 24)]);
        assert_eq!(all(&[one, one]), [(80, 24), (80, 24)]);
        assert_eq!(
            all(&["{\"Width\":8", "0,\"Height\":24", "}{\"Width\":1,\"Height\":2}"]),
            [(80, 24), (1, 2)]
        );
        assert_eq!(all(&["{\"height\":5,\"width\":4}"]), [(4, 5)]);
    }

    #[test]
    fn what_is_no_size_changes_nothing() {
        let one = "{\"Width\":80,\"Height\":24}";
        assert_eq!(all(&["{\"Width\":0,\"Height\":24}", one]), [(80, 24)]);
        assert_eq!(all(&[one, "nonsense", one]), [(80, 24)]);
        assert_eq!(all(&["{\"Width\":70000,\"Height\":24}", one]), []);
        assert_eq!(all(&["[", &" ".repeat(LONGEST), one]), []);
    }
}
