//! The writing side of a connection: the only place that deflates headers and puts frames on the wire.
//!
//! Answers that somebody waits for go ahead of data. Data, and what must come after it, keeps its order.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::connection::Shared;
use super::frame;
use super::headers::Deflater;

/// Bytes gathered before they are written though more would be there.
const BATCH: usize = 64 << 10;

/// A frame that keeps its place.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Data of a stream; `fin`: its last.
    Data { id: u32, bytes: Bytes, fin: bool },
    /// The end of both directions of a stream.
    Reset(u32, u32),
    /// The end of the connection.
    GoAway(u32),
}

/// A frame that goes first.
#[derive(Debug)]
pub(super) enum Urgent {
    /// The answer to an opened stream.
    Reply(u32),
    /// The refusal of a stream.
    Reset(u32, u32),
    /// The answer to a ping.
    Ping(u32),
}

/// Where frames come from.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) urgent: mpsc::Receiver<Urgent>,
    pub(super) frames: mpsc::Receiver<Outgoing>,
}

/// Writes until the connection is said to end; then closes this direction.
pub(super) async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut queues: Queues,
    shared: &Shared,
) -> io::Result<()> {
    let (mut out, mut deflater) = (BytesMut::with_capacity(BATCH), Deflater::new());
    loop {
        let mut last = tokio::select! {
            biased;
            Some(frame) = queues.urgent.recv() => put_urgent(&mut out, frame, &mut deflater),
            Some(frame) = queues.frames.recv() => put(&mut out, frame, shared),
            else => true,
        };
        while !last && out.len() < BATCH {
            if let Ok(frame) = queues.urgent.try_recv() {
                last = put_urgent(&mut out, frame, &mut deflater);
            } else if let Ok(frame) = queues.frames.try_recv() {
                last = put(&mut out, frame, shared);
            } else {
                break;
            }
        }
        while !out.is_empty() {
            to.write_buf(&mut out).await?;
            shared.activity.moves();
        }
        to.flush().await?;
        if last {
            return to.shutdown().await;
        }
    }
}

/// Returns true for the frame that ends the connection.
fn put(out: &mut BytesMut, frame: Outgoing, shared: &Shared) -> bool {
    match frame {
        Outgoing::Data { id, bytes, fin } => {
            frame::put_data_head(out, id, bytes.len(), fin);
            out.extend_from_slice(&bytes);
        }
        Outgoing::Reset(id, status) => frame::put_reset(out, id, status),
        Outgoing::GoAway(status) => {
            frame::put_goaway(out, shared.last(), status);
            return true;
        }
    }
    false
}

fn put_urgent(out: &mut BytesMut, frame: Urgent, deflater: &mut Deflater) -> bool {
    match frame {
        Urgent::Reply(id) => frame::put_reply(out, id, &deflater.empty_block()),
        Urgent::Reset(id, status) => frame::put_reset(out, id, status),
        Urgent::Ping(id) => frame::put_ping(out, id),
    }
    false
}
