//! Blocks as clients make them, and as none should.

use super::{Authorities, CONTINUATION, END_HEADERS, HEADERS, LONGEST, PADDED, PREFACE, PRIORITY};

const DATA: u8 = 0;
const SETTINGS: u8 = 4;
/// `:method: POST` and `:scheme: http`, by their indices.
const METHOD: &[u8] = b"\x83\x86";
/// `:path: /v`, added to the dynamic table.
const PATH: &[u8] = b"\x44\x02/v";
/// The same added with a host of one letter.
const HOST: &[u8] = b"\x41\x01h";

pub(in crate::cri::server) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A connection's beginning with these frames.
pub(in crate::cri::server) fn sent(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, b""), &frames.concat()].concat()
}

fn passed(input: &[u8], at_once: usize) -> Vec<u8> {
    let (mut authorities, mut out) = (Authorities::default(), vec![]);
    for chunk in input.chunks(at_once) {
        authorities.pass(chunk, &mut out);
    }
    authorities.end(&mut out);
    out
}

/// Holds a connection to what the transport is to get of it, however it is cut into pieces.
#[track_caller]
fn becomes(input: &[Vec<u8>], expected: &[Vec<u8>]) {
    let (input, expected) = (sent(input), sent(expected));
    for at_once in (1..40).chain([input.len()]) {
        assert_eq!(passed(&input, at_once), expected, "{at_once} bytes at once");
    }
}

#[track_caller]
fn stays(input: &[Vec<u8>]) {
    becomes(input, input);
}

fn block(fields: &[&[u8]]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &fields.concat())
}

#[test]
fn the_path_of_a_socket_is_replaced_and_all_else_stays() {
    // Huffman's code is not looked into; nor is how the field is to be kept.
    let long = [&b"\x41\x7f\x51"[..], &[b'a'; 208]].concat();
    for (authority, instead) in [
        (&b"\x41\x0b/run/c.sock"[..], HOST),
        (b"\x41\x86\xa0\xe4\x1d\x13\x9d\x09", HOST),
        (b"\x01\x04/a/b", b"\x01\x01h"),
        (b"\x11\x04/a/b", b"\x11\x01h"),
        (b"\x40\x0a:authority\x04/a/b", b"\x40\x0a:authority\x01h"),
        (&long, HOST),
    ] {
        let data = frame(DATA, 1, 1, b"\x41\x0b/run/c.sock");
        becomes(
            &[block(&[METHOD, authority, PATH]), data.clone(), block(&[b"\xbe"])],
            &[block(&[METHOD, instead, PATH]), data, block(&[b"\xbe"])],
        );
    }
}

#[test]
fn a_block_in_several_frames_with_padding_and_priority_is_one() {
    let (priority, fields) = (b"\0\0\0\0\x07", [METHOD, b"\x41\x0b/run/c.sock", PATH].concat());
    let (one, two) = fields.split_at(6);
    let first = [b"\x03", &priority[..], one, b"\0\0\0"].concat();

    becomes(
        &[
            frame(HEADERS, PADDED | PRIORITY | 1, 1, &first),
            frame(CONTINUATION, 0, 1, b""),
            frame(CONTINUATION, END_HEADERS, 1, two),
            block(&[b"\xbe"]),
        ],
        &[
            frame(
                HEADERS,
                PRIORITY | END_HEADERS | 1,
                1,
                &[&priority[..], METHOD, HOST, PATH].concat(),
            ),
            block(&[b"\xbe"]),
        ],
    );
}

#[test]
fn a_block_that_is_longer_than_a_frame_is_cut_again() {
    let value = vec![b'a'; LONGEST];
    let long = [&b"\x00\x01n\x7f\x81\x7f"[..], &value].concat();
    assert_eq!(LONGEST, 0x7f + 0x01 + 0x7f * 128);
    let fields = [HOST, &long].concat();
    let asked = [b"\x41\x02/a", &long[..]].concat();

    becomes(
        &[
            frame(HEADERS, 0, 3, &asked[..LONGEST]),
            frame(CONTINUATION, END_HEADERS, 3, &asked[LONGEST..]),
        ],
        &[
            frame(HEADERS, 0, 3, &fields[..LONGEST]),
            frame(CONTINUATION, END_HEADERS, 3, &fields[LONGEST..]),
        ],
    );
}

#[test]
fn what_has_no_authority_or_makes_no_sense_stays() {
    let asked = b"\x41\x02/a";
    stays(&[block(&[METHOD, PATH]), block(&[b"\x3f\xe1\x1f", METHOD])]);
    // An empty one, a cut one, and integers without end.
    stays(&[block(&[b"\x41\x00"])]);
    stays(&[block(&[asked, b"\x41\x03/a"])]);
    stays(&[block(&[asked, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"])]);
    // More padding than there is.
    stays(&[frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09\x41\x02/a")]);
    // Another frame, or another stream, within a block; the rest of a block alone; a frame that is too long.
    stays(&[
        frame(HEADERS, 0, 1, asked),
        frame(DATA, 0, 1, b"x"),
        block(&[asked]),
    ]);
    stays(&[
        frame(HEADERS, 0, 1, asked),
        frame(CONTINUATION, END_HEADERS, 3, b""),
    ]);
    stays(&[frame(CONTINUATION, END_HEADERS, 1, asked)]);
    stays(&[frame(
        HEADERS,
        END_HEADERS,
        1,
        &[asked, &[0x80; LONGEST][..]].concat(),
    )]);
}

#[test]
fn a_block_without_end_is_not_kept() {
    let endless: Vec<_> = (0..9)
        .map(|_| frame(CONTINUATION, 0, 1, &[0x82; LONGEST]))
        .collect();
    let input = sent(&[&[frame(HEADERS, 0, 1, b"\x41\x02/a")], &endless[..]].concat());
    let mut authorities = Authorities::default();
    let mut out = vec![];

    authorities.pass(&input, &mut out);

    assert_eq!(out, input);
}

#[test]
fn another_protocol_and_a_frame_that_is_cut_off_go_on() {
    for text in [&b"GET / HTTP/1.1\r\nHost: /run\r\n\r\n"[..], b"PRI * HTTP", b""] {
        for at_once in 1..30 {
            assert_eq!(passed(text, at_once), text);
        }
    }
    let mut cut = sent(&[block(&[b"\x41\x02/a"])]);
    cut.pop();
    assert_eq!(passed(&cut, 5), cut);
}
