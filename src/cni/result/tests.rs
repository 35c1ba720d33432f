//! Tests of reading and converting results.

use super::*;

const FULL: &str = r#"{"cniVersion":"1.1.0",
    "interfaces":[{"name":"br0","mac":"aa:aa"},{"name":"eth0","mac":"bb:bb","mtu":1400,"inside":"/netns/a"}],
    "ips":[{"address":"fd00::2/64","interface":1},{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":1},
        {"address":"10.1.0.1/24","interface":0}],
    "routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.1","mtu":1400,"table":7}],
    "dns":{"nameservers":["10.1.0.1"],"search":["example"]},"vendor":{"x":1}}"#;

fn parse(text: &str, version: Version) -> AddResult {
    AddResult::parse(text.as_bytes(), version).unwrap()
}

#[test]
fn addresses_are_those_of_the_interface_with_the_older_family_first() {
    let check = |text: &str, expected: &[&str]| {
        let expected: Vec<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(parse(text, Version::V1_1_0).addresses("eth0"), expected, "{text}");
    };

    check(FULL, &["10.1.0.2", "fd00::2"]);
    check(
        r#"{"ips":[{"address":"10.1.0.3/24"},{"address":"10.1.0.2/24"}]}"#,
        &["10.1.0.3", "10.1.0.2"],
    );
    check(
        r#"{"interfaces":[{"name":"azv1"}],"ips":[{"address":"10.1.0.3/24","interface":0}]}"#,
        &["10.1.0.3"],
    );
    check(
        r#"{"ips":[{"address":"10.1.0.3/24","interface":9}]}"#,
        &["10.1.0.3"],
    );
    check(
        r#"{"ips":[{"address":"10.1.0.3/24","interface":-1}]}"#,
        &["10.1.0.3"],
    );
    check(r#"{"ips":null,"interfaces":null}"#, &[]);
    check("{}", &[]);
}

#[test]
fn a_result_of_the_wanted_version_is_kept_whole() {
    let result = parse(FULL, Version::V1_1_0);

    assert_eq!(*result.to_json(), serde_json::from_str::<Value>(FULL).unwrap());
    assert_eq!(
        result.interfaces()[1],
        Interface {
            name: "eth0".into(),
            mac: "bb:bb".into()
        }
    );
    assert_eq!(result.routes()[0].gw.as_deref(), Some("10.1.0.1"));
    assert_eq!(result.dns().search, ["example"]);
}

#[test]
fn results_are_converted_between_versions() {
    let check = |text: &str, version: Version, expected: Value| {
        assert_eq!(*parse(text, version).to_json(), expected, "{version}: {text}");
    };

    check(
        r#"{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/24"},{"address":"fd00::2/64"}]}"#,
        Version::V0_3_1,
        json!({"cniVersion": "0.3.1", "ips": [{"address": "10.1.0.2/24", "version": "4"},
            {"address": "fd00::2/64", "version": "6"}]}),
    );
    check(
        r#"{"cniVersion":"0.4.0","ips":[{"address":"10.1.0.2/24","version":"4","interface":0}],"vendor":1}"#,
        Version::V1_0_0,
        json!({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24", "interface": 0}], "vendor": 1}),
    );
    check(
        r#"{"cniVersion":"1.1.0","interfaces":[{"name":"a","mtu":1,"socketPath":"/s","pciID":"0"}],
            "routes":[{"dst":"::/0","mtu":1,"advmss":2,"priority":3,"table":4,"scope":5}]}"#,
        Version::V1_0_0,
        json!({"cniVersion": "1.0.0", "interfaces": [{"name": "a"}], "routes": [{"dst": "::/0"}]}),
    );
    check(
        r#"{"ips":[]}"#,
        Version::V0_4_0,
        json!({"cniVersion": "0.4.0", "ips": []}),
    );
}

#[test]
fn what_is_no_result_is_refused_with_the_reason() {
    let check = |text: &str, expected: &str| {
        let told = AddResult::parse(text.as_bytes(), Version::V1_0_0)
            .unwrap_err()
            .to_string();
        assert!(told.contains(expected), "{text}: {told}");
    };

    check("", "empty");
    check(" \n", "empty");
    check("hello", r#""hello" is not JSON"#);
    check(&FULL[..100], "is not JSON");
    check("[]", "not an object");
    check(r#"{"cniVersion":"0.2.0"}"#, r#"version "0.2.0""#);
    check(r#"{"ips":[{"address":7}]}"#, "wrong type");
    check(r#"{"ips":{}}"#, "wrong type");
    check(
        r#"{"ips":[{"address":"10.1.0.2"}]}"#,
        r#""10.1.0.2" for an address"#,
    );
}
