//! Profiles compiled, found again and refused.

use super::*;
use serde_json::{Value, json};

fn profile(value: Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

fn small() -> LinuxSeccomp {
    profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            { "names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }] },
            { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
        ],
    }))
}

#[test]
fn a_profile_is_compiled_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();

    let first = compile(&small(), &dir.path().join("new")).unwrap();
    let written = fs::metadata(&first).unwrap().modified().unwrap();
    let second = compile(&small(), &dir.path().join("new")).unwrap();

    assert_eq!(first, second);
    assert_eq!(fs::metadata(&second).unwrap().modified().unwrap(), written);
    let filter = Filter::read(&first).unwrap();
    assert_eq!((filter.flags, filter.program.len() % INSTRUCTION), (0, 0));
    assert!(filter.program.len() > 20 * INSTRUCTION);
}

#[test]
fn different_profiles_have_different_programs() {
    let dir = tempfile::tempdir().unwrap();
    let mut other = small();
    other.set_flags(Some(vec![LinuxSeccompFilterFlag::SeccompFilterFlagLog]));

    let (first, second) = (
        compile(&small(), dir.path()).unwrap(),
        compile(&other, dir.path()).unwrap(),
    );

    assert_ne!(first, second);
    assert_eq!(Filter::read(&second).unwrap().flags, 2);
}

#[test]
fn what_cannot_be_had_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let notify = profile(json!({ "defaultAction": "SCMP_ACT_NOTIFY" }));

    assert!(matches!(
        compile(&notify, dir.path()),
        Err(SeccompError::Unsupported(_))
    ));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_file_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.bpf");
    fs::write(&path, "not a program at all").unwrap();

    assert!(Filter::read(&path).is_err());
}
