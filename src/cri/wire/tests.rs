//! Holds the wire to its contract: `proto/cri-v1.tsv`, and the definitions `k8s-cri` ships.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::{Path, PathBuf},
    process::Command,
};

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

const CONTRACT: &str = include_str!("../../../proto/cri-v1.tsv");

/// What v1 names or types otherwise than the older definitions, with the same bytes on the wire.
const RENAMED: &[(&str, &str)] = &[("KeyValue.value = 2: string", "KeyValue.value = 2: bytes")];

#[test]
fn the_descriptor_and_the_contract_state_the_same_facts() {
    let contract: BTreeSet<String> = CONTRACT
        .lines()
        .skip(1)
        .map(|row| row.trim_end().to_owned())
        .collect();

    let ours: BTreeSet<String> = rows(&file(super::FILE_DESCRIPTOR_SET)).into_iter().collect();

    let missing: Vec<_> = contract.difference(&ours).collect();
    let surplus: Vec<_> = ours.difference(&contract).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing {missing:#?}, surplus {surplus:#?}"
    );
    assert_eq!(ours.iter().filter(|row| row.starts_with("rpc\t")).count(), 43);
}

#[test]
fn every_call_message_and_enum_is_explained() {
    let file = file(super::FILE_DESCRIPTOR_SET);
    let source = file
        .source_code_info
        .as_ref()
        .expect("the descriptor set carries source info");
    let explained: BTreeSet<&[i32]> = source
        .location
        .iter()
        .filter(|location| !location.leading_comments().trim().is_empty())
        .map(|location| location.path.as_slice())
        .collect();

    // Field numbers in FileDescriptorProto: 4 messages, 5 enums, 6 services, and 2 methods of a service.
    let messages = file
        .message_type
        .iter()
        .zip(0..)
        .map(|(it, at)| (it.name().to_owned(), vec![4, at]));
    let enums = file
        .enum_type
        .iter()
        .zip(0..)
        .map(|(it, at)| (it.name().to_owned(), vec![5, at]));
    let methods = file.service.iter().zip(0..).flat_map(|(service, outer)| {
        service
            .method
            .iter()
            .zip(0..)
            .map(move |(it, at)| (it.name().to_owned(), vec![6, outer, 2, at]))
    });
    let bare: Vec<String> = messages
        .chain(enums)
        .chain(methods)
        .filter(|(_, path)| !explained.contains(path.as_slice()))
        .map(|(name, _)| name)
        .collect();

    assert!(bare.is_empty(), "no comment on {bare:?}");
}

#[test]
fn fields_and_calls_that_k8s_cri_also_defines_in_v1_are_the_same() {
    check_against("v1.proto");
}

#[test]
fn v1_is_a_superset_of_v1alpha2_on_the_wire() {
    check_against("v1alpha2.proto");
}

#[test]
fn the_calls_that_v1alpha2_lacks_are_those_that_are_refused_under_its_name() {
    let old = facts(&compiled(&k8s_cri_protos().join("v1alpha2.proto")));
    let ours = facts(&file(super::FILE_DESCRIPTOR_SET));
    let later = ours.keys().filter(|key| !old.contains_key(*key));
    let mut later: Vec<&str> = later.filter_map(|key| Some(key.split_once('/')?.1)).collect();
    let mut refused = crate::cri::v1alpha2::LATER;
    later.sort_unstable();
    refused.sort_unstable();

    assert_eq!(later, refused);
}

#[test]
fn the_answers_whose_items_are_encoded_before_are_one_list_in_field_1() {
    let file = file(super::FILE_DESCRIPTOR_SET);
    let lists = file.message_type.iter().filter(|it| {
        let mut of = ["ContainersResponse", "PodSandboxResponse", "PodSandboxesResponse"].into_iter();
        (it.name().starts_with("List") || it.name().starts_with("Stream"))
            && of.any(|end| it.name().ends_with(end))
    });
    let fields = |it: &DescriptorProto| -> Vec<_> {
        let fields = it.field.iter();
        fields
            .map(|field| (field.number(), field.label(), field.r#type()))
            .collect()
    };
    let lists: BTreeMap<&str, Vec<_>> = lists.map(|it| (it.name(), fields(it))).collect();

    let one = vec![(1, Label::Repeated, Type::Message)];
    let expected = [
        "ListContainersResponse",
        "ListPodSandboxResponse",
        "StreamContainersResponse",
        "StreamPodSandboxesResponse",
    ];
    assert_eq!(lists, expected.map(|name| (name, one.clone())).into());
}

#[test]
fn an_environment_value_that_is_not_utf8_survives() {
    let pair = super::v1::KeyValue {
        key: "LEGACY".into(),
        value: vec![0xff, 0xfe],
    };

    let decoded = super::v1::KeyValue::decode(pair.encode_to_vec().as_slice()).unwrap();

    assert_eq!(decoded, pair);
}

#[test]
fn deprecated_profiles_of_a_v1alpha2_client_arrive_in_the_fields_of_the_same_name() {
    #![allow(deprecated, reason = "old clients fill these fields")]
    let old = k8s_cri::v1alpha2::LinuxContainerSecurityContext {
        apparmor_profile: "localhost/web".into(),
        seccomp_profile_path: "runtime/default".into(),
        ..Default::default()
    };

    let new = super::v1::LinuxContainerSecurityContext::decode(old.encode_to_vec().as_slice()).unwrap();

    assert_eq!(
        (new.apparmor_profile.as_str(), new.seccomp_profile_path.as_str()),
        ("localhost/web", "runtime/default")
    );
    assert!(new.apparmor.is_none() && new.seccomp.is_none());
}

/// Compares what both a definition shipped by `k8s-cri` and ours define: fields and enum values by number,
/// calls by name. Fields only one of them has are the other's past or future.
fn check_against(definition: &str) {
    let theirs = facts(&compiled(&k8s_cri_protos().join(definition)));
    let ours = facts(&file(super::FILE_DESCRIPTOR_SET));

    let shared: Vec<_> = theirs
        .iter()
        .filter_map(|(key, it)| Some((it, ours.get(key)?)))
        .collect();
    let differing: Vec<_> = shared
        .iter()
        .filter(|(theirs, ours)| theirs != ours && !RENAMED.contains(&(theirs.as_str(), ours.as_str())))
        .collect();

    assert!(
        differing.is_empty(),
        "{definition}: theirs and ours differ: {differing:#?}"
    );
    let absent: Vec<_> = theirs.keys().filter(|key| !ours.contains_key(*key)).collect();
    assert!(absent.is_empty(), "{definition}: ours lacks {absent:#?}");
    assert!(
        shared.len() > 400,
        "{definition}: only {} facts compared",
        shared.len()
    );
}

/// The facts of a file, each under a key that two definitions of one thing share.
fn facts(file: &FileDescriptorProto) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    for row in rows(file) {
        let mut columns = row.split('\t');
        let mut next = || columns.next().unwrap_or_default();
        let (kind, parent, name, number, kind_of) = (next(), next(), next(), next(), next());
        if kind == "message" || kind == "field" {
            facts.insert(parent.to_owned(), parent.to_owned());
        }
        match kind {
            "rpc" => facts.insert(
                format!("{parent}/{name}"),
                format!("{parent}/{name}({number}) -> {kind_of}"),
            ),
            "field" => facts.insert(
                format!("{parent} {number}"),
                format!("{parent}.{name} = {number}: {kind_of}"),
            ),
            "enum" => facts.insert(
                format!("{parent} {number}"),
                format!("{parent}.{name} = {number}"),
            ),
            _ => None,
        };
    }
    facts
}

/// A file's facts as rows of the contract.
fn rows(file: &FileDescriptorProto) -> Vec<String> {
    let mut rows = Vec::new();
    file.service.iter().for_each(|it| calls(it, &mut rows));
    file.message_type.iter().for_each(|it| message(it, &mut rows));
    file.enum_type.iter().for_each(|it| values("", it, &mut rows));
    rows
}

fn calls(service: &ServiceDescriptorProto, rows: &mut Vec<String>) {
    for call in &service.method {
        let streams = |yes: bool| if yes { "stream " } else { "" };
        let (input, output) = (local(call.input_type()), local(call.output_type()));
        let (sends, answers) = (streams(call.client_streaming()), streams(call.server_streaming()));
        rows.push(format!(
            "rpc\t{}\t{}\t{sends}{input}\t{answers}{output}",
            service.name(),
            call.name()
        ));
    }
}

fn message(message: &DescriptorProto, rows: &mut Vec<String>) {
    if message.field.is_empty() {
        rows.push(format!("message\t{}", message.name()));
    }
    for field in &message.field {
        let deprecated = if field.options.as_ref().is_some_and(|it| it.deprecated()) {
            " deprecated"
        } else {
            ""
        };
        let written = spelled(message, field);
        rows.push(format!(
            "field\t{}\t{}\t{}\t{written}{deprecated}",
            message.name(),
            field.name(),
            field.number()
        ));
    }
    message
        .enum_type
        .iter()
        .for_each(|it| values(&format!("{}.", message.name()), it, rows));
}

fn values(scope: &str, of: &EnumDescriptorProto, rows: &mut Vec<String>) {
    for value in &of.value {
        rows.push(format!(
            "enum\t{scope}{}\t{}\t{}",
            of.name(),
            value.name(),
            value.number()
        ));
    }
}

/// A field's label and type as one writes them in a definition.
fn spelled(parent: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let entry = parent.nested_type.iter().find(|it| {
        it.options.as_ref().is_some_and(|it| it.map_entry())
            && field.type_name().ends_with(&format!(".{}", it.name()))
    });
    if let Some(entry) = entry {
        return format!("map<{}, {}>", scalar(&entry.field[0]), scalar(&entry.field[1]));
    }
    let label = if field.label() == Label::Repeated {
        "repeated "
    } else {
        ""
    };
    format!("{label}{}", scalar(field))
}

fn scalar(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => local(field.type_name()).to_owned(),
        plain => plain.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

/// A type's name without its package and outer message.
fn local(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn file(descriptor_set: &[u8]) -> FileDescriptorProto {
    let mut set = FileDescriptorSet::decode(descriptor_set).unwrap();
    assert_eq!(set.file.len(), 1, "the definition imports nothing");
    set.file.remove(0)
}

/// Compiles a definition the way `k8s-cri`'s own build does.
fn compiled(definition: &Path) -> FileDescriptorProto {
    let protoc = env::var_os("PROTOC").unwrap_or_else(|| "protoc".into());
    let output = Command::new(protoc)
        .arg("-I")
        .arg(definition.parent().unwrap())
        .args(["-o", "/dev/stdout"])
        .arg(definition)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    file(&output.stdout)
}

/// Where cargo keeps the definitions of the very version of `k8s-cri` in our lock file.
fn k8s_cri_protos() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--offline",
            "--filter-platform",
            "host-tuple",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let manifest = packages.iter().find(|it| it["name"] == "k8s-cri").unwrap()["manifest_path"]
        .as_str()
        .unwrap();
    Path::new(manifest).with_file_name("proto")
}
