//! Messages of the D-Bus wire protocol, as far as our calls and their answers need it. Little-endian, as every machine
//! that we run on is.

use std::io;

/// Kinds of messages.
pub(super) const CALL: u8 = 1;
pub(super) const RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// Header fields by number.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Bytes before the header fields: the fixed part, and their length.
pub(super) const FIXED: usize = 16;

/// A value with its type: what a property of a unit can be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `t`
    Number(u64),
    /// `s`
    Text(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::Number(_) => "t",
            Value::Text(_) => "s",
            Value::Bytes(_) => "ay",
            Value::Numbers(_) => "au",
        }
    }
}

/// Writes values, each at its alignment.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.number(value.into());
    }

    pub(super) fn text(&mut self, value: &str) {
        self.number(value.len() as u32);
        self.0.extend(value.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, value: &str) {
        self.0.push(value.len() as u8);
        self.0.extend(value.as_bytes());
        self.0.push(0);
    }

    /// The length in front counts from the first element, the padding before that aside.
    pub(super) fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Writer)) {
        self.number(0);
        let length_at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// `as`
    pub(super) fn texts(&mut self, texts: &[&str]) {
        self.array(4, |writer| texts.iter().for_each(|text| writer.text(text)));
    }

    /// `a(sv)`
    pub(super) fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array(8, |writer| {
            for (name, value) in properties {
                writer.align(8);
                writer.text(name);
                writer.variant(value);
            }
        });
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.bool(*value),
            Value::Number(value) => {
                self.align(8);
                self.0.extend(value.to_le_bytes());
            }
            Value::Text(value) => self.text(value),
            Value::Bytes(bytes) => self.array(1, |writer| writer.0.extend(bytes)),
            Value::Numbers(numbers) => self.array(4, |writer| {
                numbers.iter().for_each(|number| writer.number(*number));
            }),
        }
    }

    fn field(&mut self, number: u8, kind: &str, value: &str) {
        self.align(8);
        self.0.push(number);
        self.signature(kind);
        match kind {
            "g" => self.signature(value),
            _ => self.text(value),
        }
    }
}

/// A method to call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method<'a> {
    pub(super) destination: &'static str,
    pub(super) path: &'a str,
    pub(super) interface: &'static str,
    pub(super) member: &'static str,
    /// Types of the arguments.
    pub(super) signature: &'static str,
}

/// The bytes of a call.
pub(super) fn call(serial: u32, method: Method<'_>, arguments: Writer) -> Vec<u8> {
    let mut message = Writer(vec![b'l', CALL, 0, 1]);
    message.number(arguments.0.len() as u32);
    message.number(serial);
    message.array(8, |fields| {
        fields.field(PATH, "o", method.path);
        fields.field(INTERFACE, "s", method.interface);
        fields.field(MEMBER, "s", method.member);
        fields.field(DESTINATION, "s", method.destination);
        fields.field(SIGNATURE, "g", method.signature);
    });
    message.align(8);
    message.0.extend(arguments.0);
    message.0
}

/// A message that came. Its texts are the strings and object paths of its body, in order; a variant that holds one of
/// those, or a number, counts as its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) member: String,
    pub(super) error: String,
    /// The call that this answers.
    pub(super) answers: u32,
    pub(super) texts: Vec<String>,
}

/// Lengths of the header fields and of the body, from the fixed part.
pub(super) fn lengths(fixed: &[u8; FIXED]) -> io::Result<(usize, usize)> {
    if fixed[0] != b'l' || fixed[3] != 1 {
        return Err(malformed());
    }
    let mut reader = Reader(fixed, 4);
    let body = reader.number()?;
    reader.number()?;
    Ok((reader.number()? as usize, body as usize))
}

/// Reads a whole message.
pub(super) fn parse(bytes: &[u8]) -> io::Result<Message> {
    let mut message = Message {
        kind: *bytes.get(1).ok_or_else(malformed)?,
        ..Message::default()
    };
    let mut reader = Reader(bytes, FIXED - 4);
    let end = reader.number()? as usize + FIXED;
    let mut signature = String::new();
    while reader.1 < end {
        reader.align(8);
        let number = reader.byte()?;
        match (number, reader.signature()?.as_str()) {
            (REPLY_SERIAL, "u") => message.answers = reader.number()?,
            (SIGNATURE, "g") => signature = reader.signature()?,
            (MEMBER, "s") => message.member = reader.text()?,
            (ERROR_NAME, "s") => message.error = reader.text()?,
            (_, "s" | "o") => drop(reader.text()?),
            (_, "u") => drop(reader.number()?),
            (_, "g") => drop(reader.signature()?),
            _ => return Err(malformed()),
        }
    }
    reader.align(8);
    // Of a body with more than numbers and texts, what comes before is enough for us.
    for kind in signature.chars() {
        match kind {
            's' | 'o' => message.texts.push(reader.text()?),
            'u' => drop(reader.number()?),
            'v' => match reader.signature()?.as_str() {
                "s" | "o" => message.texts.push(reader.text()?),
                "u" => message.texts.push(reader.number()?.to_string()),
                _ => break,
            },
            _ => break,
        }
    }
    Ok(message)
}

/// Bytes, and how far they are read.
struct Reader<'a>(&'a [u8], usize);

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.1 = self.1.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        let end = self.1.checked_add(count).ok_or_else(malformed)?;
        let taken = self.0.get(self.1..end).ok_or_else(malformed)?;
        self.1 = end;
        Ok(taken)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> io::Result<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| malformed())?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.number()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> io::Result<String> {
        let length = self.byte()?.into();
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> io::Result<String> {
        let text = String::from_utf8(self.take(length)?.to_vec()).map_err(|_| malformed())?;
        self.byte()?;
        Ok(text)
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a message of D-Bus")
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: Method<'_> = Method {
        destination: "a.b",
        path: "/x",
        interface: "a.b",
        member: "Do",
        signature: "su",
    };

    #[test]
    fn a_call_is_laid_out_as_the_specification_has_it() {
        let mut arguments = Writer::default();
        arguments.text("hi");
        arguments.number(7);

        let bytes = call(1, METHOD, arguments);

        let fields = [
            b"\x01\x01o\0\x02\0\0\0/x\0\0\0\0\0\0".as_slice(),
            b"\x02\x01s\0\x03\0\0\0a.b\0\0\0\0\0",
            b"\x03\x01s\0\x02\0\0\0Do\0\0\0\0\0\0",
            b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0",
            b"\x08\x01g\0\x02su\0",
        ]
        .concat();
        // The last field ends at 74 of 80: the padding after it is not counted.
        let mut expected = b"l\x01\0\x01\x0c\0\0\0\x01\0\0\0".to_vec();
        expected.extend((fields.len() as u32).to_le_bytes());
        expected.extend(&fields);
        expected.resize(expected.len().next_multiple_of(8), 0);
        expected.extend(b"\x02\0\0\0hi\0\0\x07\0\0\0");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_message_reads_back() {
        let mut arguments = Writer::default();
        arguments.text("why");
        arguments.number(7);

        let bytes = call(1, METHOD, arguments);
        let message = parse(&bytes).unwrap();
        let fixed: [u8; FIXED] = bytes[..FIXED].try_into().unwrap();
        let (fields, body) = lengths(&fixed).unwrap();

        assert_eq!((message.kind, message.member.as_str()), (CALL, "Do"));
        assert_eq!(message.texts, ["why"]);
        assert_eq!((FIXED + fields).next_multiple_of(8) + body, bytes.len());
    }

    #[test]
    fn properties_are_structs_at_multiples_of_eight() {
        let mut writer = Writer::default();
        writer.properties(&[
            ("B", Value::Bool(true)),
            ("T", Value::Number(2)),
            ("P", Value::Numbers(vec![3])),
            ("Y", Value::Bytes(vec![4])),
        ]);

        let expected = [
            b"\x48\0\0\0\0\0\0\0".as_slice(),
            b"\x01\0\0\0B\0\x01b\0\0\0\0\x01\0\0\0",
            b"\x01\0\0\0T\0\x01t\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0",
            b"\x01\0\0\0P\0\x02au\0\0\0\x04\0\0\0\x03\0\0\0",
        ]
        .concat();
        assert_eq!(writer.0[8..expected.len()], expected[8..]);
        assert!(writer.0.ends_with(b"\x01\0\0\0Y\0\x02ay\0\0\0\x01\0\0\0\x04"));
        assert_eq!(writer.0[0] as usize, writer.0.len() - 8);
    }

    #[test]
    fn a_variant_reads_as_text() {
        let mut arguments = Writer::default();
        arguments.variant(&Value::Text("active".to_owned()));
        let method = Method {
            signature: "v",
            ..METHOD
        };

        assert_eq!(parse(&call(1, method, arguments)).unwrap().texts, ["active"]);
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let mut arguments = Writer::default();
        arguments.text("why");
        arguments.number(7);
        let bytes = call(1, METHOD, arguments);

        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "{length}");
        }
    }
}
