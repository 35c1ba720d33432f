//! Limits and weights.

use serde_json::{Value, json};

use super::{Fixture, config_of, host_v1};
use crate::model::LinuxContainerResources;
use crate::spec::{Cgroups, Host, merge_resources, resources};

fn asked(json: &str) -> LinuxContainerResources {
    serde_json::from_str(json).unwrap()
}

fn check(host: &Host, json: &str, expected: &Value, warnings: &[&str]) {
    let got = resources(&asked(json), host).unwrap();
    assert_eq!(&serde_json::to_value(&got.linux).unwrap(), expected, "{json}");
    assert_eq!(got.warnings, warnings, "{json}");
}

fn host() -> Host {
    Fixture::new("{}").host
}

#[test]
fn limits_are_translated_and_unspecified_ones_left_out() {
    let host = host();
    check(&host, "{}", &json!({}), &[]);
    check(
        &host,
        r#"{"cpuPeriod":100000,"cpuQuota":-1,"cpuShares":1,"cpusetCpus":"0-1"}"#,
        &json!({"cpu":{"period":100000,"quota":-1,"shares":2,"cpus":"0-1"}}),
        &[],
    );
    check(
        &host,
        r#"{"cpuShares":999999}"#,
        &json!({"cpu":{"shares":262_144}}),
        &[],
    );
    check(
        &host,
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4},{"pageSize":"1GB"}]}"#,
        &json!({"hugepageLimits":[{"pageSize":"2MB","limit":4}]}),
        &[],
    );
    check(
        &host,
        r#"{"unified":{"memory.high":"1"}}"#,
        &json!({"unified":{"memory.high":"1"}}),
        &[],
    );
}

#[test]
fn swap_follows_memory_unless_asked_for() {
    let host = host();
    let rows = [
        (r#"{"memoryLimitInBytes":10}"#, json!({"limit":10,"swap":10})),
        (r#"{"memoryLimitInBytes":-1}"#, json!({"limit":-1,"swap":-1})),
        (
            r#"{"memoryLimitInBytes":10,"memorySwapLimitInBytes":30}"#,
            json!({"limit":10,"swap":30}),
        ),
        (
            r#"{"memoryLimitInBytes":10,"memorySwapLimitInBytes":-1}"#,
            json!({"limit":10,"swap":-1}),
        ),
        (r#"{"memorySwapLimitInBytes":-1}"#, json!({"swap":-1})),
    ];
    for (given, memory) in rows {
        check(&host, given, &json!({ "memory": memory }), &[]);
    }
}

#[test]
fn what_the_machine_cannot_control_is_left_out_and_told() {
    let bare = Host {
        cgroups: Cgroups::V2 { controllers: vec![] },
        ..host()
    };
    check(
        &bare,
        r#"{"memoryLimitInBytes":10,"cpuShares":2,"cpusetCpus":"0","hugepageLimits":[{"pageSize":"2MB","limit":1}]}"#,
        &json!({}),
        &[
            "memory is not limited: there is no memory controller",
            "processor time is not limited: there is no cpu controller",
            "processors are not confined: there is no cpuset controller",
            "huge pages of 2MB are not limited: the machine has none",
        ],
    );
    let unswapped = Host {
        swap_accounting: false,
        ..host()
    };
    check(
        &unswapped,
        r#"{"memoryLimitInBytes":10}"#,
        &json!({"memory":{"limit":10}}),
        &[],
    );
    check(
        &unswapped,
        r#"{"memoryLimitInBytes":10,"memorySwapLimitInBytes":20}"#,
        &json!({"memory":{"limit":10}}),
        &["swap is not limited: the kernel does not account it"],
    );
    check(
        &host_v1(),
        r#"{"unified":{"memory.high":"1"}}"#,
        &json!({}),
        &["cgroup v2 files are not set: the machine has cgroup v1"],
    );
}

#[test]
fn values_out_of_range_are_refused_by_field() {
    let rows = [
        (r#"{"memoryLimitInBytes":-2}"#, "memory_limit_in_bytes is -2"),
        (r#"{"cpuQuota":-2}"#, "cpu_quota is -2"),
        (r#"{"cpuPeriod":-1}"#, "cpu_period is -1"),
        (r#"{"cpuShares":-1}"#, "cpu_shares is -1"),
        (
            r#"{"memoryLimitInBytes":10,"memorySwapLimitInBytes":9}"#,
            "memory_swap_limit_in_bytes is 9, below the memory limit",
        ),
        (
            r#"{"memorySwapLimitInBytes":9}"#,
            "memory_swap_limit_in_bytes is 9, below the memory limit",
        ),
        (
            r#"{"unified":{"../x":"1"}}"#,
            r#"unified["../x"] is not a file of a controller"#,
        ),
        (
            r#"{"unified":{"cgroup.kill":"1"}}"#,
            r#"unified["cgroup.kill"] is not a file of a controller"#,
        ),
        (
            r#"{"unified":{"a/b.c":"1"}}"#,
            r#"unified["a/b.c"] is not a file of a controller"#,
        ),
    ];
    for (given, expected) in rows {
        let error = resources(&asked(given), &host()).unwrap_err();
        assert_eq!(error.to_string(), format!("linux.resources.{expected}"));
    }
}

#[test]
fn an_update_keeps_what_it_does_not_specify() {
    let current = asked(
        r#"{"cpuShares":5,"memoryLimitInBytes":9,"cpusetCpus":"0","unified":{"a.b":"1","a.c":"1"},
            "hugepageLimits":[{"pageSize":"2MB","limit":1},{"pageSize":"1GB","limit":1}]}"#,
    );
    let update = asked(
        r#"{"memoryLimitInBytes":10,"cpuQuota":7,"unified":{"a.c":"2"},"hugepageLimits":[{"pageSize":"2MB","limit":2}]}"#,
    );

    assert_eq!(
        merge_resources(&current, &update),
        asked(
            r#"{"cpuShares":5,"cpuQuota":7,"memoryLimitInBytes":10,"cpusetCpus":"0","unified":{"a.b":"1","a.c":"2"},
                "hugepageLimits":[{"pageSize":"2MB","limit":2},{"pageSize":"1GB","limit":1}]}"#
        )
    );
    assert_eq!(
        merge_resources(&current, &LinuxContainerResources::default()),
        current
    );
}

#[test]
fn a_cgroup_without_a_parent_goes_below_the_hosts_default() {
    let mut f = Fixture::new("{}");
    assert_eq!(f.output().cgroup, "/default/0123456789abcdef");

    f.config = config_of(r#"{"linux":{"cgroupParent":"/x//y/"}}"#);
    let out = f.output();

    assert_eq!(out.cgroup, "/x/y/0123456789abcdef");
    let path = out.spec.linux().as_ref().unwrap().cgroups_path().clone().unwrap();
    assert_eq!(path.to_str(), Some(out.cgroup.as_str()));
}
