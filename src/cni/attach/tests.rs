//! Tests of the verbs, with scripts for plugins.

use std::collections::HashSet;
use std::fs;

use serde_json::json;

use super::*;
use crate::cni::fake::{ADDRESS, Fake, PASS, add, attachment, conflist, del, own};
use crate::cni::{Capabilities, Keeper, PortMapping, Protocol, Settings};

/// Fails `ADD` and nothing else.
const REFUSE: &str = r#"[ "$CNI_COMMAND" != ADD ] || { echo '{"code":11,"msg":"full"}'; exit 1; }"#;

async fn open(fake: &Fake, version: &str, plugins: &[&str]) -> (Network, Keeper) {
    fake.conf("10.conflist", &conflist(version, plugins));
    reopen(fake).await
}

async fn reopen(fake: &Fake) -> (Network, Keeper) {
    Network::open(fake.settings()).await.unwrap()
}

#[tokio::test]
async fn plugins_are_added_in_order_and_deleted_in_reverse_with_the_result() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    fake.plugin("b", PASS);
    let (network, _keeper) = open(&fake, "1.0.0", &["a", "b"]).await;

    let result = network.add(&add("abc")).await.unwrap();
    let known = network.attached(&attachment("abc")).await.unwrap();
    network.del(&del("abc")).await.unwrap();
    network.del(&del("abc")).await.unwrap();

    assert_eq!(
        result.addresses("eth0"),
        ["10.9.0.2".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(known.as_ref(), Some(&result));
    assert_eq!(fake.calls(), ["a ADD", "b ADD", "b DEL", "a DEL"]);
    assert_eq!(fake.input("a", "ADD").get("prevResult"), None);
    for (plugin, verb) in [("b", "ADD"), ("b", "DEL"), ("a", "DEL")] {
        assert_eq!(
            fake.input(plugin, verb)["prevResult"],
            *result.to_json(),
            "{plugin} {verb}"
        );
        assert_eq!(
            fake.variable(plugin, verb, "CNI_ARGS").as_deref(),
            Some("IgnoreUnknown=1;NAME=a")
        );
        assert_eq!(
            fake.variable(plugin, verb, "CNI_NETNS").as_deref(),
            Some("/proc/self/ns/net")
        );
    }
    assert!(network.attachments().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_attachment_is_removed_as_it_was_made_after_a_restart_and_a_change() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    let text = conflist("1.0.0", &["a"]).replace(r#""a""#, r#""a","capabilities":{"portMappings":true}"#);
    fake.conf("10.conflist", &text);
    let (network, _keeper) = reopen(&fake).await;
    let mapping = PortMapping {
        host_port: 80,
        container_port: 8080,
        protocol: Protocol::Udp,
        host_ip: None,
    };
    let capabilities = Capabilities {
        port_mappings: vec![mapping],
        ..Capabilities::default()
    };
    network
        .add(&AddRequest {
            capabilities,
            ..add("abc")
        })
        .await
        .unwrap();
    let added = fake.input("a", "ADD");
    drop((network, _keeper));

    fake.conf(
        "10.conflist",
        &conflist("0.4.0", &["other"]).replace("net", "renamed"),
    );
    let (network, _keeper) = reopen(&fake).await;
    network.del(&del("abc")).await.unwrap();

    let deleted = fake.input("a", "DEL");
    assert_eq!(added["runtimeConfig"]["portMappings"][0]["hostPort"], 80);
    assert_eq!(deleted["runtimeConfig"], added["runtimeConfig"]);
    assert_eq!(
        (&deleted["name"], &deleted["cniVersion"]),
        (&added["name"], &added["cniVersion"])
    );
    assert_eq!(fake.calls(), ["a ADD", "a DEL"]);
}

#[tokio::test]
async fn what_a_failed_addition_began_is_undone() {
    let check = async |script: &str, expected: &str| {
        let fake = Fake::new();
        fake.plugin("a", ADDRESS);
        fake.plugin("b", script);
        fake.plugin("c", PASS);
        let (network, _keeper) = open(&fake, "1.0.0", &["a", "b", "c"]).await;

        let error = network.add(&add("abc")).await.unwrap_err();

        let told = crate::telemetry::chain(&error);
        assert!(told.contains(expected), "{told}");
        assert_eq!(fake.calls(), ["a ADD", "b ADD", "b DEL", "a DEL"], "{script}");
        assert_eq!(
            fake.input("b", "DEL")["prevResult"]["ips"][0]["address"],
            "10.9.0.2/24"
        );
        assert!(network.attachments().await.unwrap().is_empty());
    };

    check(REFUSE, "plugin b refused ADD: full (code 11)").await;
    check(
        r#"[ $CNI_COMMAND != ADD ] || echo '{"ips":[{"addr'"#,
        "plugin b answered no valid result",
    )
    .await;
    check(
        "[ $CNI_COMMAND != ADD ] || echo oops",
        r#"the answer "oops" is not JSON"#,
    )
    .await;
    check("exit 0", "the answer is empty").await;
}

#[tokio::test]
async fn an_addition_that_was_cut_short_is_forgotten_only_when_it_can_have_no_effect_any_more() {
    let fake = Fake::new();
    fake.plugin("a", r#"[ "$CNI_COMMAND" != ADD ] || exec sleep 600"#);
    fake.conf("10.conflist", &conflist("1.0.0", &["a"]));
    let settings = Settings {
        deadline: Duration::from_secs(1),
        ..fake.settings()
    };
    let (network, _keeper) = Network::open(settings).await.unwrap();

    let error = network.add(&add("abc")).await.unwrap_err();
    let kept = network.attachments().await.unwrap();
    // Ends with the clock's next seconds.
    while network.del(&del("abc")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    assert!(error.to_string().contains("was killed after"), "{error}");
    assert!(error.to_string().contains("once more later"), "{error}");
    assert_eq!(kept, [attachment("abc")]);
    assert!(network.attachments().await.unwrap().is_empty());
    assert!(fake.calls().len() > 2, "{:?}", fake.calls());
}

#[tokio::test]
async fn an_undoing_that_fails_is_told_and_left_for_later() {
    let fake = Fake::new();
    fake.plugin(
        "a",
        &format!(
            r#"[ "$CNI_COMMAND" != DEL ] || {{ echo '{{"code":100,"msg":"stuck"}}'; exit 1; }}{ADDRESS}"#
        ),
    );
    fake.plugin("b", REFUSE);
    let (network, _keeper) = open(&fake, "1.0.0", &["a", "b", "c"]).await;
    fake.plugin("c", PASS);

    let error = network.add(&add("abc")).await.unwrap_err();
    let left = network.attachments().await.unwrap();
    let unknown = network.attached(&attachment("abc")).await.unwrap();
    fake.plugin("a", ADDRESS);
    fake.forget_calls();
    network.del(&del("abc")).await.unwrap();

    assert_eq!(
        error.to_string(),
        "plugin b refused ADD: full (code 11); undoing it: plugin a refused DEL: stuck (code 100)"
    );
    assert_eq!(error.report().unwrap().code, 11);
    assert_eq!(left, [attachment("abc")]);
    assert_eq!(unknown, None);
    assert_eq!(fake.calls(), ["b DEL", "a DEL"]);
    assert!(network.attachments().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_deletion_ends_at_the_first_failure_and_may_be_repeated() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    fake.plugin("b", PASS);
    let (network, _keeper) = open(&fake, "1.0.0", &["a", "b"]).await;
    network.add(&add("abc")).await.unwrap();
    fake.plugin("b", "exit 1");
    fake.forget_calls();

    let failed = network.del(&del("abc")).await;
    let after_failure = fake.calls();
    fake.plugin("b", PASS);
    network.del(&del("abc")).await.unwrap();

    assert!(failed.is_err());
    assert_eq!(after_failure, ["b DEL"]);
    assert_eq!(fake.calls(), ["b DEL", "b DEL", "a DEL"]);
}

#[tokio::test]
async fn nothing_is_begun_that_cannot_be_done() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    let (network, _keeper) = reopen(&fake).await;
    let unconfigured = network.add(&add("abc")).await.unwrap_err();
    drop(_keeper);
    let (network, _keeper) = open(&fake, "1.0.0", &["a", "gone"]).await;

    let missing = network.add(&add("abc")).await.unwrap_err();
    fake.plugin("gone", PASS);
    let nowhere = network
        .add(&AddRequest {
            netns: fake.path("netns"),
            ..add("abc")
        })
        .await
        .unwrap_err();
    let args = vec![("A".to_owned(), ";".to_owned())];
    let odd = network.add(&AddRequest { args, ..add("abc") }).await.unwrap_err();

    assert!(
        matches!(unconfigured, NetworkError::NotConfigured { .. }),
        "{unconfigured}"
    );
    assert_eq!(
        missing.to_string(),
        format!("plugin gone is in none of {}", fake.path("bin").display())
    );
    assert!(matches!(nowhere, NetworkError::NotANamespace { .. }), "{nowhere}");
    assert!(matches!(odd, NetworkError::Request(_)), "{odd}");
    assert!(fake.calls().is_empty());
    assert!(network.attachments().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_attachment_made_again_is_removed_first() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    let (network, _keeper) = open(&fake, "1.0.0", &["a"]).await;

    network.add(&add("abc")).await.unwrap();
    network.add(&add("abc")).await.unwrap();

    assert_eq!(fake.calls(), ["a ADD", "a DEL", "a ADD"]);
}

#[tokio::test]
async fn a_namespace_that_is_gone_is_deleted_without_its_path() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    let (network, _keeper) = open(&fake, "1.0.0", &["a"]).await;
    // What remains at a mount point whose namespace was unmounted.
    let unmounted = fake.path("netns");
    fs::write(&unmounted, "").unwrap();

    for netns in [unmounted, fake.path("nothing")] {
        network.add(&add("abc")).await.unwrap();
        network
            .del(&DelRequest {
                netns: Some(netns),
                ..del("abc")
            })
            .await
            .unwrap();

        assert_eq!(fake.variable("a", "DEL", "CNI_NETNS").as_deref(), Some(""));
    }
}

#[tokio::test]
async fn a_damaged_record_is_deleted_with_the_configuration_of_today() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    let (network, _keeper) = open(&fake, "1.0.0", &["a"]).await;
    network.add(&add("abc")).await.unwrap();
    let record = format!("{}:net:eth0.json", attachment("abc").id());
    fs::write(fake.path("cache").join(record), "{").unwrap();

    network.del(&del("abc")).await.unwrap();

    assert_eq!(fake.calls(), ["a ADD", "a DEL"]);
    assert_eq!(fake.input("a", "DEL").get("prevResult"), None);
    assert!(network.attachments().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_check_gives_the_result_and_asks_only_where_it_may() {
    let check = async |version: &str, flags: &str, expected: &[&str]| {
        let fake = Fake::new();
        fake.plugin("a", ADDRESS);
        fake.conf(
            "10.conflist",
            &conflist(version, &["a"]).replacen('{', &format!("{{{flags}"), 1),
        );
        let (network, _keeper) = reopen(&fake).await;
        let result = network.add(&add("abc")).await.unwrap();
        fake.forget_calls();

        network
            .check(&attachment("abc"), Path::new("/proc/self/ns/net"))
            .await
            .unwrap();
        let unknown = network
            .check(&attachment("other"), Path::new("/proc/self/ns/net"))
            .await;

        assert_eq!(fake.calls(), expected, "{version} {flags}");
        assert!(matches!(unknown, Err(NetworkError::NotAttached { .. })));
        if !expected.is_empty() {
            assert_eq!(fake.input("a", "CHECK")["prevResult"], *result.to_json());
        }
    };

    check("0.3.1", "", &[]).await;
    check("0.4.0", "", &["a CHECK"]).await;
    check("1.0.0", r#""disableCheck":true,"#, &[]).await;
}

#[tokio::test]
async fn collecting_tells_plugins_what_is_valid_where_they_collect() {
    let check = async |version: &str, flags: &str, expected: &[&str]| {
        let fake = Fake::new();
        fake.plugin("a", ADDRESS);
        fake.conf(
            "10.conflist",
            &conflist(version, &["a"]).replacen('{', &format!("{{{flags}"), 1),
        );
        let (network, keeper) = reopen(&fake).await;
        // Without it nothing asks for STATUS at a moment of its own.
        keeper.stop().await;
        network.add(&add("keep")).await.unwrap();
        fake.forget_calls();

        network.gc(|| HashSet::from([attachment("keep")])).await.unwrap();

        assert_eq!(fake.calls(), expected, "{version} {flags}");
        assert_eq!(network.attachments().await.unwrap(), [attachment("keep")]);
        if !expected.is_empty() {
            let valid = json!([{"containerID": own("keep"), "ifname": "eth0"}]);
            assert_eq!(fake.input("a", "GC")["cni.dev/valid-attachments"], valid);
            assert_eq!(fake.variable("a", "GC", "CNI_CONTAINERID"), None);
        }
    };

    check("1.1.0", "", &["a GC"]).await;
    check("1.1.0", r#""disableGC":true,"#, &[]).await;
    check("1.0.0", "", &[]).await;
}

#[tokio::test(start_paused = true)]
async fn collecting_does_not_hold_up_attachments_behind_a_slow_one() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    fake.conf("10.conflist", &conflist("1.1.0", &["a"]));
    let (network, _keeper) = reopen(&fake).await;
    let _slow = network.shared.gate.read().await;

    let busy = network.gc(HashSet::new).await;

    assert!(matches!(busy, Err(NetworkError::Busy)));
}
