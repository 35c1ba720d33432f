//! SPDY/3.1 frames: bytes to events and back. Pure, without input or output; header blocks stay compressed.
//!
//! ```text
//! control  |1| version 3 (15) | type (16) | flags (8) | length (24) | payload
//! data     |0| stream (31)                | flags (8) | length (24) | payload
//! ```
//!
//! The payload of a data frame is handed on in pieces as it arrives, however long the frame says that it is.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest payload of a control frame that is taken.
const LONGEST_CONTROL: usize = 64 << 10;
const HEAD: usize = 8;
const FIN: u8 = 1;
const LONGEST_LENGTH: usize = (1 << 24) - 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// Why a stream is reset.
pub(super) mod reset {
    pub(in crate::streaming) const PROTOCOL_ERROR: u32 = 1;
    pub(in crate::streaming) const REFUSED_STREAM: u32 = 3;
    pub(in crate::streaming) const CANCEL: u32 = 5;
}

/// Why a connection ends.
pub(super) mod goaway {
    pub(in crate::streaming) const OK: u32 = 0;
    pub(in crate::streaming) const PROTOCOL_ERROR: u32 = 1;
}

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The peer opens a stream; `fin`: it will send nothing on it.
    Open { stream: u32, fin: bool, block: Bytes },
    /// Headers that nobody needs, but whose block must be inflated: the compression goes on from block to block.
    Block(Bytes),
    /// A piece of data; `fin`: the last one of the stream.
    Data { stream: u32, bytes: Bytes, fin: bool },
    /// Both directions of a stream end at once.
    Reset { stream: u32 },
    /// To be sent back.
    Ping(u32),
    /// The peer opens no more streams and reads no more.
    GoAway,
}

/// The peer does not speak the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// A control frame beyond the limit.
    #[error("a control frame of {0} bytes")]
    TooLong(usize),
    /// A control frame whose payload is too short for its type.
    #[error("a frame of type {0} that is cut short")]
    Short(u16),
    /// Stream 0 does not exist.
    #[error("a frame for stream 0")]
    StreamZero,
}

/// Cuts a byte stream into events.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Head,
    Data {
        stream: u32,
        left: usize,
        fin: bool,
    },
    /// Of a frame of a type that is not known, or not needed.
    Skip {
        left: usize,
    },
}

impl Decoder {
    /// Takes the next event off the buffer; `None`: more bytes are needed.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, Violation> {
        loop {
            match self.state {
                State::Head => match self.head(buffer)? {
                    Head::Event(event) => return Ok(Some(event)),
                    Head::Payload => {}
                    Head::Incomplete => return Ok(None),
                },
                State::Data { stream, left, fin } => {
                    if left > 0 && buffer.is_empty() {
                        return Ok(None);
                    }
                    let bytes = buffer.split_to(left.min(buffer.len())).freeze();
                    let left = left - bytes.len();
                    self.state = match left {
                        0 => State::Head,
                        _ => State::Data { stream, left, fin },
                    };
                    let fin = fin && left == 0;
                    return Ok(Some(Event::Data { stream, bytes, fin }));
                }
                State::Skip { left } => {
                    let step = left.min(buffer.len());
                    buffer.advance(step);
                    if step < left {
                        self.state = State::Skip { left: left - step };
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
            }
        }
    }

    fn head(&mut self, buffer: &mut BytesMut) -> Result<Head, Violation> {
        let Some(head) = buffer.first_chunk::<HEAD>().copied() else {
            return Ok(Head::Incomplete);
        };
        let [first, second, third, fourth, flags, ..] = head;
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if first & 0x80 == 0 {
            let stream = u32::from_be_bytes([first, second, third, fourth]);
            if stream == 0 {
                return Err(Violation::StreamZero);
            }
            buffer.advance(HEAD);
            let fin = flags & FIN != 0;
            self.state = State::Data {
                stream,
                left: length,
                fin,
            };
            return Ok(Head::Payload);
        }
        let kind = u16::from_be_bytes([third, fourth]);
        if !matches!(
            kind,
            SYN_STREAM | SYN_REPLY | RST_STREAM | PING | GOAWAY | HEADERS
        ) {
            // SETTINGS, WINDOW_UPDATE, and what is not known. No client of ours grants or waits for windows.
            buffer.advance(HEAD);
            self.state = State::Skip { left: length };
            return Ok(Head::Payload);
        }
        if length > LONGEST_CONTROL {
            return Err(Violation::TooLong(length));
        }
        if buffer.len() < HEAD + length {
            return Ok(Head::Incomplete);
        }
        buffer.advance(HEAD);
        control(kind, flags, buffer.split_to(length).freeze()).map(Head::Event)
    }
}

enum Head {
    Event(Event),
    Payload,
    Incomplete,
}

fn control(kind: u16, flags: u8, mut payload: Bytes) -> Result<Event, Violation> {
    let short = |_| Violation::Short(kind);
    let stream = payload.try_get_u32().map_err(short)?;
    if stream & 0x7fff_ffff == 0 && matches!(kind, SYN_STREAM | RST_STREAM) {
        return Err(Violation::StreamZero);
    }
    match kind {
        SYN_STREAM => {
            // The associated stream, the priority and the slot.
            payload.try_get_u32().map_err(short)?;
            payload.try_get_u16().map_err(short)?;
            Ok(Event::Open {
                stream,
                fin: flags & FIN != 0,
                block: payload,
            })
        }
        RST_STREAM => Ok(Event::Reset { stream }),
        PING => Ok(Event::Ping(stream)),
        GOAWAY => Ok(Event::GoAway),
        _ => Ok(Event::Block(payload)),
    }
}

/// Appends the head of a data frame; the payload follows it. `length` is below 2^24.
pub(super) fn put_data_head(to: &mut BytesMut, stream: u32, length: usize, fin: bool) {
    to.put_u32(stream & 0x7fff_ffff);
    put_flags_and_length(to, u8::from(fin), length);
}

/// Appends the answer to an opened stream.
pub(super) fn put_reply(to: &mut BytesMut, stream: u32, block: &[u8]) {
    put_control(to, SYN_REPLY, 4 + block.len());
    to.put_u32(stream);
    to.put_slice(block);
}

/// Appends a reset.
pub(super) fn put_reset(to: &mut BytesMut, stream: u32, status: u32) {
    put_control(to, RST_STREAM, 8);
    to.put_u32(stream);
    to.put_u32(status);
}

/// Appends a ping, which is also the answer to one.
pub(super) fn put_ping(to: &mut BytesMut, id: u32) {
    put_control(to, PING, 4);
    to.put_u32(id);
}

/// Appends the last frame of a connection.
pub(super) fn put_goaway(to: &mut BytesMut, last: u32, status: u32) {
    put_control(to, GOAWAY, 8);
    to.put_u32(last);
    to.put_u32(status);
}

fn put_control(to: &mut BytesMut, kind: u16, length: usize) {
    to.put_u16(0x8003);
    to.put_u16(kind);
    put_flags_and_length(to, 0, length);
}

fn put_flags_and_length(to: &mut BytesMut, flags: u8, length: usize) {
    debug_assert!(length <= LONGEST_LENGTH);
    to.put_u8(flags);
    to.put_uint(length as u64, 3);
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn bytes(hex: &str) -> BytesMut {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn all(mut input: BytesMut) -> Result<Vec<Event>, Violation> {
        let (mut decoder, mut events) = (Decoder::default(), vec![]);
        while let Some(event) = decoder.next(&mut input)? {
            events.push(event);
        }
        assert!(input.len() < HEAD + LONGEST_CONTROL);
        Ok(events)
    }

    fn data(stream: u32, text: &'static str, fin: bool) -> Event {
        Event::Data {
            stream,
            bytes: Bytes::from_static(text.as_bytes()),
            fin,
        }
    }

    #[test]
    fn frames_that_other_programs_made_are_read() {
        let check = |hex: &str, event: Event| assert_eq!(all(bytes(hex)), Ok(vec![event]), "{hex}");

        check("00000003 00 000002 6869", data(3, "hi", false));
        check("00000003 01 000000", data(3, "", true));
        check("80030003 00 000008 00000001 00000005", Event::Reset { stream: 1 });
        check("80030006 00 000004 00000001", Event::Ping(1));
        check("80030007 00 000008 00000007 00000000", Event::GoAway);
        check(
            "80030001 01 00000c 00000005 00000000 0000 abcd",
            Event::Open {
                stream: 5,
                fin: true,
                block: bytes("abcd").freeze(),
            },
        );
    }

    #[test]
    fn frames_are_written_as_other_programs_read_them() {
        let check = |put: &dyn Fn(&mut BytesMut), hex: &str| {
            let mut to = BytesMut::new();
            put(&mut to);
            assert_eq!(to, bytes(hex));
        };

        check(&|to| put_data_head(to, 3, 2, false), "00000003 00 000002");
        check(&|to| put_data_head(to, 3, 0, true), "00000003 01 000000");
        check(
            &|to| put_reset(to, 1, reset::CANCEL),
            "80030003 00 000008 00000001 00000005",
        );
        check(&|to| put_ping(to, 1), "80030006 00 000004 00000001");
        check(
            &|to| put_goaway(to, 7, goaway::OK),
            "80030007 00 000008 00000007 00000000",
        );
        check(&|to| put_reply(to, 1, &[0xab]), "80030002 00 000005 00000001 ab");
    }

    #[test]
    fn data_is_handed_on_as_it_arrives_and_only_the_last_piece_ends_the_stream() {
        let mut decoder = Decoder::default();
        let mut input = bytes("00000003 01 ffffff 6869");

        assert_eq!(decoder.next(&mut input), Ok(Some(data(3, "hi", false))));
        assert_eq!(decoder.next(&mut input), Ok(None));
        input.put_bytes(b'x', LONGEST_LENGTH - 2);
        let Ok(Some(Event::Data { bytes, fin, .. })) = decoder.next(&mut input) else {
            panic!("no data");
        };

        assert_eq!((bytes.len(), fin), (LONGEST_LENGTH - 2, true));
    }

    #[test]
    fn frames_nobody_needs_are_skipped_however_long_they_are() {
        let mut input = bytes("80030004 00 ffffff");
        input.put_bytes(0, LONGEST_LENGTH);
        input.extend_from_slice(&bytes(
            "80030009 00 000008 00000001 00000001  8003fffe 00 000001 00",
        ));
        input.extend_from_slice(&bytes("80030006 00 000004 00000009"));

        assert_eq!(all(input), Ok(vec![Event::Ping(9)]));
    }

    #[test]
    fn what_breaks_the_protocol_is_told() {
        let check = |hex: &str, violation: Violation| assert_eq!(all(bytes(hex)), Err(violation), "{hex}");

        check("00000000 00 000001 00", Violation::StreamZero);
        check("80030003 00 000008 00000000 00000005", Violation::StreamZero);
        check("80030001 00 00000a 00000000 00000000 0000", Violation::StreamZero);
        check("80030001 00 010001", Violation::TooLong(65537));
        check("80030001 00 000006 00000001 0000", Violation::Short(1));
        check("80030006 00 000000", Violation::Short(6));
    }

    #[test]
    fn no_bytes_make_it_panic_however_they_are_cut() {
        use rand::{RngExt as _, SeedableRng as _};
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        for _ in 0..20_000 {
            let (mut decoder, mut input) = (Decoder::default(), BytesMut::new());
            for _ in 0..4 {
                let mut piece = vec![0; random.random_range(0..40)];
                random.fill(&mut piece[..]);
                if random.random_bool(0.7) && piece.len() > 6 {
                    piece[..6].copy_from_slice(&[0x80, 3, 0, random.random_range(0..10), 1, 0]);
                }
                input.extend_from_slice(&piece);
                while let Ok(Some(_)) = decoder.next(&mut input) {}
            }
        }
    }
}
