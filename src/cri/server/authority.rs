//! Requests whose `:authority` is no host: on a unix socket clients put its path there.
//!
//! A Go client with a dialer of its own sends the address it was given, `%2Frun%2Fcoracle%2Fcoracle.sock`. Servers written
//! in Go do not look at it; h2 ends such a stream (RFC 9113, section 8.3.1), and there is no setting that would keep it from
//! that. Nothing here is addressed by name, so the value of every `:authority` is replaced on its way in.
//!
//! Header blocks are not decompressed for that: their fields are walked over by their lengths (RFC 7541, section 6). What
//! stands in is never longer than what was there, so an entry of the dynamic table may be evicted later than the client
//! has evicted it, never earlier, and its indices mean the same. Whatever is not understood goes on as it came: the
//! transport behind this tells the client what is wrong.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of a frame's header.
const HEADER: usize = 9;
/// The longest frame that the transport takes, unless it says otherwise (RFC 9113, section 4.2).
const LONGEST: usize = 16_384;
/// The longest header block that is put together: more than the transport takes.
const BLOCK: usize = 4 * LONGEST;

pub(super) const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Where `:authority` is in the static table, and its name where a client spells it.
const AUTHORITY: usize = 1;
const SPELT: &[u8] = b":authority";
/// What stands in for a host, as a string literal.
const STAND_IN: &[u8] = b"\x01h";

/// What a client sends on one connection, as the transport is to get it.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    state: State,
    /// What came and is not decided on: the preface, a frame's header, frames of a header block.
    held: Vec<u8>,
}

#[derive(Debug, Default)]
enum State {
    /// Before the first frame.
    #[default]
    Preface,
    /// Within frames; so much is left of one that goes on as it is.
    Frames(usize),
    /// Not to be understood from here on.
    Opaque,
}

impl Authorities {
    /// Takes what came and appends what goes on.
    pub(super) fn pass(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            match &mut self.state {
                State::Opaque => {
                    out.extend(input);
                    return;
                }
                State::Preface => {
                    hold(&mut self.held, PREFACE.len(), &mut input);
                    if !PREFACE.starts_with(&self.held) {
                        self.give_up(out);
                    } else if self.held.len() == PREFACE.len() {
                        out.append(&mut self.held);
                        self.state = State::Frames(0);
                    }
                }
                State::Frames(0) => self.frame(&mut input, out),
                State::Frames(left) => {
                    let (these, rest) = input.split_at(input.len().min(*left));
                    out.extend(these);
                    *left -= these.len();
                    input = rest;
                }
            }
        }
    }

    /// Gives what is held when nothing comes any more.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    fn give_up(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.state = State::Opaque;
    }

    /// Goes on with the frame that begins, or has begun, after the whole ones that are held.
    fn frame(&mut self, input: &mut &[u8], out: &mut Vec<u8>) {
        let mut begun = 0;
        while let Some(frame) =
            Frame::read(&self.held[begun..]).filter(|frame| begun + frame.size <= self.held.len())
        {
            begun += frame.size;
        }
        hold(&mut self.held, begun + HEADER, input);
        let Some(frame) = Frame::read(&self.held[begun..]) else {
            return;
        };
        let fits = frame.size <= HEADER + LONGEST && begun < BLOCK;
        // A block is of one stream and has nothing else in it.
        let goes_on = fits && self.held[5..HEADER] == self.held[begun + 5..begun + HEADER];
        match (begun, frame.kind) {
            (0, HEADERS) | (1.., CONTINUATION) if goes_on => {}
            (0, HEADERS | CONTINUATION) | (1.., _) => return self.give_up(out),
            (0, _) => {
                out.append(&mut self.held);
                self.state = State::Frames(frame.size - HEADER);
                return;
            }
        }
        hold(&mut self.held, begun + frame.size, input);
        if self.held.len() == begun + frame.size && frame.flags & END_HEADERS != 0 {
            match block(&self.held) {
                Some(replaced) => out.extend(replaced),
                None => out.extend(&self.held),
            }
            self.held.clear();
        }
    }
}

/// Moves bytes until so many are held.
fn hold(held: &mut Vec<u8>, wanted: usize, input: &mut &[u8]) {
    let (these, rest) = input.split_at(input.len().min(wanted.saturating_sub(held.len())));
    held.extend(these);
    *input = rest;
}

struct Frame {
    /// With its header.
    size: usize,
    kind: u8,
    flags: u8,
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Frame> {
        let &[a, b, c, kind, flags, ..] = bytes.get(..HEADER)? else {
            return None;
        };
        let size = HEADER + u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Frame { size, kind, flags })
    }
}

/// The frames of one header block again, with another `:authority`; `None` when there is none, or they make no sense.
fn block(frames: &[u8]) -> Option<Vec<u8>> {
    let first = Frame::read(frames)?;
    let (mut fields, mut rest, mut priority) = (Vec::new(), frames, &[][..]);
    while let Some(frame) = Frame::read(rest) {
        let (whole, after) = rest.split_at_checked(frame.size)?;
        let mut payload = &whole[HEADER..];
        if frame.kind == HEADERS {
            if frame.flags & PADDED != 0 {
                let (&padding, unpadded) = payload.split_first()?;
                payload = unpadded.get(..unpadded.len().checked_sub(padding.into())?)?;
            }
            if frame.flags & PRIORITY != 0 {
                (priority, payload) = payload.split_at_checked(5)?;
            }
        }
        fields.extend(payload);
        rest = after;
    }
    let fields = [priority, &replaced(&fields)?].concat();
    let (mut out, mut chunks) = (Vec::new(), fields.chunks(LONGEST).peekable());
    let (mut kind, mut flags) = (HEADERS, first.flags & !(PADDED | END_HEADERS));
    while let Some(chunk) = chunks.next() {
        if chunks.peek().is_none() {
            flags |= END_HEADERS;
        }
        let length = u32::try_from(chunk.len()).ok()?.to_be_bytes();
        out.extend(&length[1..]);
        out.extend([kind, flags]);
        // The stream, as in the first one.
        out.extend(&frames[5..HEADER]);
        out.extend(chunk);
        (kind, flags) = (CONTINUATION, 0);
    }
    Some(out)
}

/// The fields of a block with another `:authority`; `None` when there is none, or they make no sense.
fn replaced(fields: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut kept, mut walk) = (None, 0, Walk { fields, at: 0 });
    while let Some(&byte) = fields.get(walk.at) {
        let prefix = match byte {
            0x80.. => {
                walk.integer(7)?;
                continue;
            }
            0x20..0x40 => {
                walk.integer(5)?;
                continue;
            }
            0x40..0x80 => 6,
            _ => 4,
        };
        let name = walk.integer(prefix)?;
        let asked = match name {
            0 => walk.string()? == SPELT,
            _ => name == AUTHORITY,
        };
        let value = walk.at;
        if !walk.string()?.is_empty() && asked {
            let out = out.get_or_insert_with(Vec::new);
            out.extend(&fields[kept..value]);
            out.extend(STAND_IN);
            kept = walk.at;
        }
    }
    let mut out: Vec<u8> = out?;
    out.extend(&fields[kept..]);
    Some(out)
}

/// A walk over a header block.
struct Walk<'a> {
    fields: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// An integer with a prefix of so many bits (RFC 7541, section 5.1).
    fn integer(&mut self, prefix: u32) -> Option<usize> {
        let most = (1 << prefix) - 1;
        let mut value = usize::from(self.next()?) & most;
        if value < most {
            return Some(value);
        }
        for shift in (0..28).step_by(7) {
            let byte = usize::from(self.next()?);
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A string literal as it is coded (RFC 7541, section 5.2).
    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.integer(7)?;
        let string = self.fields.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(string)
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.fields.get(self.at)?;
        self.at += 1;
        Some(byte)
    }
}

#[cfg(test)]
pub(super) mod tests;
