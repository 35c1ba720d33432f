//! What a fuzz target asks of the protocol. Not in an ordinary build.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

use super::connection::{Connection, Options};
use super::frame::{Decoder, Event, Violation};
use crate::streaming::fuzzing::pieces;

/// Decodes at once and in pieces: the same events, up to the same violation.
pub(in crate::streaming) fn events(data: &[u8], piece: usize) {
    assert_eq!(decoded(data, data.len().max(1)), decoded(data, piece));
}

fn decoded(data: &[u8], piece: usize) -> (Vec<Event>, Option<Violation>) {
    let (mut decoder, mut buffer, mut events) = (Decoder::default(), BytesMut::new(), vec![]);
    for piece in data.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.next(&mut buffer) {
                Ok(Some(event)) => join(&mut events, event),
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
            }
        }
    }
    (events, None)
}

/// Data comes in pieces as it arrives: those of a stream that follow each other are one.
fn join(events: &mut Vec<Event>, next: Event) {
    if let Event::Data { stream, bytes, fin } = &next
        && let Some(Event::Data {
            stream: same,
            bytes: before,
            fin: ended @ false,
        }) = events.last_mut()
        && same == stream
    {
        *before = Bytes::from([&before[..], bytes].concat());
        *ended = *fin;
        return;
    }
    events.push(next);
}

/// A session that reads whatever streams there are to their ends. No more comes out of them than went in.
pub(in crate::streaming) fn connection(data: &[u8], piece: usize) {
    let io = tokio::io::join(pieces(data, piece), tokio::io::sink());
    let options = Options {
        idle: Duration::from_secs(60),
        patience: None,
        socket: None,
    };
    let (mut connection, work) = Connection::new(io, Bytes::new(), options);
    let session = async {
        // Side by side: one that is not read holds up the others.
        let mut streams = JoinSet::new();
        while let Some(stream) = connection.accept().await {
            let (gone, mut reader) = (connection.gone(), stream.reader);
            streams.spawn(async move {
                let mut bytes = vec![];
                // A client that leaves ends no stream.
                tokio::select! {
                    _ = reader.read_to_end(&mut bytes) => {}
                    () = gone.cancelled() => {}
                }
                bytes.len()
            });
        }
        let read: usize = streams.join_all().await.into_iter().sum();
        connection.close().await;
        read
    };
    // Nothing comes later: what would be waited for has passed.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let both = async { tokio::join!(session, work).0 };
    let read = runtime.expect("there are descriptors").block_on(both);
    assert!(read <= data.len(), "{read} bytes of {}", data.len());
}
