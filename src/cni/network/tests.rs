//! Tests of what the handle knows, and of the keeper behind it.

use std::fs;

use super::*;
use crate::cni::Networks;
use crate::cni::fake::{ADDRESS, Fake, add, conflist, del};

/// Waits for a status, the name of the network that is ready or a part of the message; the limit is for what would
/// otherwise wait for ever.
async fn until(network: &Network, wanted: Result<&str, &str>) {
    let mut told = network.subscribe();
    let shows = |status: &Status| match (status, wanted) {
        (Status::Ready { network }, Ok(name)) => network == name,
        (Status::NotReady { message }, Err(part)) => message.contains(part),
        _ => false,
    };
    if tokio::time::timeout(Duration::from_secs(30), told.wait_for(shows))
        .await
        .is_err()
    {
        panic!("{:?} does not become {wanted:?}", network.status());
    }
}

#[tokio::test]
async fn a_configuration_that_comes_changes_and_goes_is_followed() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    let (network, _keeper) = Network::open(fake.settings()).await.unwrap();
    assert!(!network.status().is_ready());

    fake.conf("20.conflist", &conflist("1.0.0", &["a"]));
    until(&network, Ok("net")).await;
    fake.conf("10.conflist", "{");
    fake.conf(
        "20.conflist",
        &conflist("1.0.0", &["a"]).replace("net", "renamed"),
    );
    until(&network, Ok("renamed")).await;
    fs::remove_file(fake.path("conf/20.conflist")).unwrap();
    until(&network, Err("10.conflist is not valid JSON")).await;
    fs::remove_file(fake.path("conf/10.conflist")).unwrap();
    until(&network, Err("none there")).await;
}

#[tokio::test]
async fn a_further_directory_is_a_network_of_its_own_that_comes_and_goes() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    fake.plugin("b", ADDRESS);
    fake.conf("10.conflist", &conflist("1.0.0", &["a"]));
    fs::create_dir(fake.path("other")).unwrap();
    let other = conflist("1.0.0", &["b"]).replace("net", "other");
    fs::write(fake.path("other/10.conflist"), other).unwrap();
    let networks = Networks::open(fake.settings()).await.unwrap();
    let dir = fake.path("other");
    let unknown = networks.add(Some(&dir), &add("c")).await.unwrap_err();
    assert!(matches!(unknown, NetworkError::NotConfigured { .. }), "{unknown}");

    networks.have(&[dir.clone()].into());
    until(&networks.of(Some(&dir)).unwrap(), Ok("other")).await;
    networks.add(None, &add("a")).await.unwrap();
    networks.add(Some(&dir), &add("b")).await.unwrap();
    networks.have(&BTreeSet::new());

    assert!(networks.of(Some(&dir)).is_err());
    // By the record, though its network is not there any more.
    networks.del(&del("b")).await.unwrap();
    networks.del(&del("a")).await.unwrap();
    assert_eq!(fake.calls(), ["a ADD", "b ADD", "b DEL", "a DEL"]);
    networks.stop().await;
}

#[tokio::test]
async fn a_configuration_directory_that_is_removed_and_returns_is_followed() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    fake.conf("10.conflist", &conflist("1.0.0", &["a"]));
    let (network, _keeper) = Network::open(fake.settings()).await.unwrap();
    assert!(network.status().is_ready());

    fs::remove_dir_all(fake.path("conf")).unwrap();
    until(&network, Err("none there")).await;
    fs::create_dir(fake.path("conf")).unwrap();
    fake.conf("10.conflist", &conflist("1.0.0", &["a"]));

    until(&network, Ok("net")).await;
}

#[tokio::test]
async fn a_network_is_not_ready_without_its_plugins() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    fake.conf("10.conflist", &conflist("1.0.0", &["a", "b"]));
    let (network, _keeper) = Network::open(fake.settings()).await.unwrap();

    until(&network, Err("network net: plugin b is in none of")).await;
    fake.plugin("b", ADDRESS);

    until(&network, Ok("net")).await;
}

#[tokio::test]
async fn plugins_of_the_newest_version_are_asked_in_the_background_until_they_are_able() {
    let fake = Fake::new();
    fake.plugin("a", r#"echo '{"code":50,"msg":"no route yet"}'; exit 1"#);
    fake.conf("10.conflist", &conflist("1.1.0", &["a"]));
    let (network, _keeper) = Network::open(fake.settings()).await.unwrap();
    assert!(!network.status().is_ready());

    until(
        &network,
        Err("network net: plugin a refused STATUS: no route yet (code 50)"),
    )
    .await;
    fake.plugin("a", "exit 0");
    until(&network, Ok("net")).await;

    fake.forget_calls();
    for _ in 0..100 {
        assert!(network.status().is_ready());
    }
    assert!(fake.calls().is_empty());
}

#[tokio::test]
async fn a_network_is_settled_when_its_plugins_have_told() {
    let fake = Fake::new();
    let (network, keeper) = Network::open(fake.settings()).await.unwrap();
    network.settled(Duration::MAX).await;
    keeper.stop().await;
    let go = fake.path("go");
    fake.plugin(
        "a",
        &format!("until [ -e {} ]; do sleep 0.01; done", go.display()),
    );
    fake.conf("10.conflist", &conflist("1.1.0", &["a"]));

    let (network, _keeper) = Network::open(fake.settings()).await.unwrap();
    network.settled(Duration::from_millis(10)).await;
    assert!(!network.status().is_ready());
    fs::write(go, "").unwrap();
    network.settled(Duration::MAX).await;

    assert!(network.status().is_ready());
}

#[tokio::test]
async fn an_attachment_that_fails_has_the_plugins_asked_again() {
    let fake = Fake::new();
    fake.plugin("a", "exit 0");
    fake.conf("10.conflist", &conflist("1.1.0", &["a"]));
    let (network, _keeper) = Network::open(fake.settings()).await.unwrap();
    until(&network, Ok("net")).await;
    fake.plugin(
        "a",
        r#"[ "$CNI_COMMAND" = DEL ] || { echo '{"code":50,"msg":"agent is down"}'; exit 1; }"#,
    );

    network.add(&add("abc")).await.unwrap_err();

    until(&network, Err("agent is down")).await;
}

#[tokio::test]
async fn ranges_fill_the_template_until_another_configuration_is_there() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    let template = fake.path("template");
    fs::write(
        &template,
        r#"{"cniVersion":"1.0.0","name":"made","type":"a","ipam":{"ranges":{{ranges}}}}"#,
    )
    .unwrap();
    let settings = Settings {
        template: Some(template),
        ..fake.settings()
    };
    let own = fake.path("conf").join(template::FILE_NAME);
    let (network, _keeper) = Network::open(settings).await.unwrap();
    let cidrs = |text: &str| -> Vec<Cidr> { text.split(',').map(|cidr| cidr.parse().unwrap()).collect() };

    let first = network.update_cidrs(&cidrs("10.1.0.0/24")).await.unwrap();
    assert!(network.status().is_ready());
    let repeat = network.update_cidrs(&cidrs("10.1.0.0/24")).await.unwrap();
    let changed = network
        .update_cidrs(&cidrs("10.2.0.0/24,fd00::/64"))
        .await
        .unwrap();
    let text = fs::read_to_string(&own).unwrap();
    fake.conf("05.conflist", &conflist("1.0.0", &["a"]));
    let other = network.update_cidrs(&cidrs("10.3.0.0/24")).await.unwrap();

    assert_eq!(first, TemplateOutcome::Written { path: own.clone() });
    assert_eq!(repeat, TemplateOutcome::Current { path: own.clone() });
    assert_eq!(changed, TemplateOutcome::Written { path: own.clone() });
    assert!(
        text.contains(r#"[[{"subnet":"10.2.0.0/24"}],[{"subnet":"fd00::/64"}]]"#),
        "{text}"
    );
    assert_eq!(
        other,
        TemplateOutcome::OtherConf {
            path: fake.path("conf/05.conflist")
        }
    );
    assert_eq!(fs::read_to_string(&own).unwrap(), text);
}

#[tokio::test]
async fn ranges_without_a_template_change_nothing_and_a_bad_template_is_told() {
    let fake = Fake::new();
    let (plain, _keeper) = Network::open(fake.settings()).await.unwrap();
    let template = fake.path("template");
    fs::write(&template, r#"{"cniVersion":"1.0.0","name":"made","plugins":[]}"#).unwrap();
    let settings = Settings {
        template: Some(template),
        ..fake.settings()
    };
    let (network, _keeper) = Network::open(settings).await.unwrap();
    let cidrs = ["10.1.0.0/24".parse().unwrap()];

    let nothing = plain.update_cidrs(&cidrs).await.unwrap();
    let invalid = network.update_cidrs(&cidrs).await.unwrap_err();

    assert_eq!(nothing, TemplateOutcome::NoTemplate);
    assert!(matches!(invalid, TemplateError::Invalid { .. }), "{invalid}");
    assert_eq!(fs::read_dir(fake.path("conf")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_stopped_keeper_leaves_the_last_view() {
    let fake = Fake::new();
    fake.plugin("a", ADDRESS);
    fake.conf("10.conflist", &conflist("1.0.0", &["a"]));
    let (network, keeper) = Network::open(fake.settings()).await.unwrap();

    keeper.stop().await;

    assert_eq!(
        network.status(),
        Status::Ready {
            network: "net".to_owned()
        }
    );
}

#[tokio::test]
async fn plugins_tell_their_versions_when_asked() {
    let fake = Fake::new();
    fake.plugin(
        "a",
        r#"echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0"]}'"#,
    );
    fake.conf("10.conflist", &conflist("1.0.0", &["a"]));
    let (network, _keeper) = Network::open(fake.settings()).await.unwrap();

    let told = network.plugin_versions().await.unwrap();
    fake.plugin("a", "echo '{}'");
    let untold = network.plugin_versions().await.unwrap_err();

    let versions = vec!["0.4.0".to_owned(), "1.0.0".to_owned()];
    assert_eq!(
        told,
        [PluginVersions {
            plugin: "a".to_owned(),
            versions
        }]
    );
    assert_eq!(untold.to_string(), "plugin a answered no valid result");
}
