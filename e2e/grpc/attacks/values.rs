//! What a field may be given, by its type, and where it goes in a message.

use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

/// Deepest message that is looked into.
const DEEPEST: usize = 6;
const LARGE: usize = 1 << 20;
/// Messages with too much in them for their name to say where.
const GENERAL: [&str; 3] = ["config", "linux", "security_context"];

/// One attack: bytes that follow a good message.
pub(super) struct Row {
    pub(super) what: String,
    /// Names, of the field and of those it is in, of which a refusal is to contain one: an element of a list may lack more
    /// than the field in question.
    pub(super) names: Vec<String>,
    pub(super) bytes: Vec<u8>,
    /// It cannot be decoded.
    pub(super) garbled: bool,
}

/// Every attack on a message of this type.
pub(super) fn rows(file: &FileDescriptorProto, message: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    walk(file, message, &mut Vec::new(), &mut rows);
    rows
}

fn find<'a>(file: &'a FileDescriptorProto, name: &str) -> &'a DescriptorProto {
    let simple = name.trim_start_matches(".runtime.v1.");
    let mut parts = simple.split('.');
    let first = parts.next().unwrap();
    let top = file.message_type.iter().find(|m| m.name() == first);
    parts.fold(top.unwrap(), |outer, part| {
        outer.nested_type.iter().find(|m| m.name() == part).unwrap()
    })
}

fn walk<'a>(
    file: &'a FileDescriptorProto,
    message: &str,
    path: &mut Vec<&'a FieldDescriptorProto>,
    rows: &mut Vec<Row>,
) {
    for field in &find(file, message).field {
        // Another operating system's; and a copy of what the pod was run with, which is attacked there.
        if field.name() == "windows" || !path.is_empty() && path[0].name() == "sandbox_config" {
            continue;
        }
        let is_message = field.r#type() == Type::Message;
        let map = is_message && {
            let options = find(file, field.type_name()).options.as_ref();
            options.is_some_and(|options| options.map_entry())
        };
        let values = if map { entries(field) } else { values(field) };
        rows.extend(
            values
                .into_iter()
                .map(|(what, bytes, garbled)| row(path, field, what, bytes, garbled)),
        );
        if is_message && !map && path.len() < DEEPEST {
            path.push(field);
            walk(file, field.type_name(), path, rows);
            path.pop();
        }
    }
}

/// More of each kind, for a run that may take its time.
fn full() -> bool {
    std::env::var_os("CORACLE_TEST_FULL").is_some()
}

type Value = (&'static str, Vec<u8>, bool);

/// Wraps a field's bytes into the messages that it is in.
fn row(
    path: &[&FieldDescriptorProto],
    field: &FieldDescriptorProto,
    what: &str,
    bytes: Vec<u8>,
    garbled: bool,
) -> Row {
    let names: Vec<&str> = path.iter().chain([&field]).map(|field| field.name()).collect();
    let wrapped = path
        .iter()
        .rev()
        .fold(bytes, |inner, outer| delimited(outer, &inner));
    Row {
        what: format!("{} is {what}", names.join(".")),
        names: names
            .iter()
            .map(|name| name.to_lowercase())
            .filter(|name| !GENERAL.contains(&name.as_str()))
            .collect(),
        bytes: wrapped,
        garbled,
    }
}

fn number(field: &FieldDescriptorProto) -> u32 {
    u32::try_from(field.number()).unwrap()
}

fn delimited(field: &FieldDescriptorProto, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number(field), WireType::LengthDelimited, &mut out);
    encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn varint(field: &FieldDescriptorProto, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number(field), WireType::Varint, &mut out);
    encode_varint(value, &mut out);
    out
}

fn values(field: &FieldDescriptorProto) -> Vec<Value> {
    let text = |what, content: &[u8]| (what, delimited(field, content), false);
    let number = |what, value: i64| (what, varint(field, value.cast_unsigned()), false);
    let mut values = match field.r#type() {
        Type::String => vec![
            text("a path that climbs", b"../../../../tmp/climbed"),
            text("with a NUL", b"a\0b"),
            text("very long", &[b'x'; LARGE]),
            ("no text", delimited(field, b"\xff\xfe"), true),
        ],
        Type::Bytes => vec![text("very long", &[0; LARGE])],
        Type::Message => vec![
            text("empty", b""),
            ("no message", delimited(field, &[0xff; 11]), true),
        ],
        Type::Enum => vec![number("unknown", 99), number("negative", -1)],
        Type::Bool => vec![number("neither", 2)],
        Type::Float | Type::Double => vec![],
        _ => vec![number("negative", -1), number("the greatest", i64::MAX)],
    };
    if full() {
        values.extend(match field.r#type() {
            Type::String => vec![
                text("empty", b""),
                text("..", b".."),
                text("with a line break", b"a\nb: c"),
            ],
            Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 => vec![
                number("the least", i64::MIN),
                number("one more than 32 bits hold", 1 << 32),
            ],
            _ => vec![],
        });
    }
    if field.label() == Label::Repeated && field.r#type() == Type::String {
        values.push(("there many times", delimited(field, b"x").repeat(10_000), false));
    }
    values.push(("of another type", wrong_type(field), true));
    values
}

fn wrong_type(field: &FieldDescriptorProto) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number(field), WireType::ThirtyTwoBit, &mut out);
    out.extend_from_slice(&[0xff; 4]);
    out
}

/// Entries of a map of texts.
fn entries(field: &FieldDescriptorProto) -> Vec<Value> {
    let entry = |key: &[u8], value: &[u8]| {
        let part = |number: u32, content: &[u8], out: &mut Vec<u8>| {
            encode_key(number, WireType::LengthDelimited, out);
            encode_varint(content.len() as u64, out);
            out.extend_from_slice(content);
        };
        let mut inner = Vec::new();
        part(1, key, &mut inner);
        part(2, value, &mut inner);
        delimited(field, &inner)
    };
    let many: Vec<u8> = (0..10_000)
        .flat_map(|n| entry(format!("k{n}").as_bytes(), b"v"))
        .collect();
    vec![
        ("a map with an empty key", entry(b"", b"x"), false),
        ("a map with a key that climbs", entry(b"../../x", b"x"), false),
        ("a map with a NUL", entry(b"a\0b", b"c\0d"), false),
        ("a map with a very long value", entry(b"k", &[b'x'; LARGE]), false),
        ("a map with many entries", many, false),
        ("a map with no text", entry(b"\xff", b"\xff"), true),
    ]
}
