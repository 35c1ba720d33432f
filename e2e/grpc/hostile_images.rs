//! Images made to harm, as far as it takes a daemon to see it: what is pulled and what is run. What a layer alone can do
//! is tested where layers are unpacked, `src/image/unpack/tests`.

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;
use serde_json::json;
use tar::EntryType;
use tonic::Code;

use crate::harness::daemon::{Daemon, refused, shared};
use crate::harness::image::{Packing, Recipe, TestImage, links, nodes};
use crate::harness::node::node;
use crate::harness::pod::{Pod, security};
use crate::harness::registry::Registry;
use crate::harness::trials;
use crate::pulls::request;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_bomb_is_not_unpacked,
        a_configuration_that_is_none_is_refused,
        accounts_are_not_read_from_what_is_no_file_of_the_image,
        volumes_are_not_led_out_of_the_container,
        a_node_in_an_image_opens_no_device,
    ]
}

/// Imports an image, and returns its name.
async fn imported(daemon: &Daemon, recipe: &Recipe) -> String {
    let name = format!("registry.example/e2e/hostile:{}", node().number());
    daemon.import(&name, &TestImage::build(recipe)).await;
    name
}

async fn a_bomb_is_not_unpacked() {
    const SIZE: usize = 96 << 20;
    let daemon = shared().await;
    let registry = Registry::start().await;
    let bomb = TestImage::build(&Recipe {
        files: vec![("zeros", 0, 0o644, vec![0; SIZE])],
        packing: Packing::Zstd,
        ..Recipe::default()
    });
    registry.push("bomb", "1", &bomb).await;

    let status = refused(
        daemon
            .images()
            .pull_image(request(&format!("{}/bomb:1", registry.host), None)),
    )
    .await;

    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("images.max_layer_ratio"), "{status}");
}

async fn a_configuration_that_is_none_is_refused() {
    let daemon = shared().await;
    let registry = Registry::start().await;
    for (tag, config, code, names) in [
        (
            "type",
            json!({"Cmd": 5}),
            Code::InvalidArgument,
            "image configuration",
        ),
        (
            "null",
            json!({"Env": "x"}),
            Code::InvalidArgument,
            "image configuration",
        ),
        (
            "huge",
            json!({"Labels": {"x": "x".repeat(5 << 20)}}),
            Code::ResourceExhausted,
            "images.max_document_bytes",
        ),
    ] {
        let image = TestImage::build(&Recipe {
            config,
            ..Recipe::default()
        });
        registry.push("config", tag, &image).await;
        let name = format!("{}/config:{tag}", registry.host);
        let status = refused(daemon.images().pull_image(request(&name, None))).await;
        assert_eq!(status.code(), code, "{tag}: {status}");
        assert!(status.message().contains(names), "{tag}: {status}");
    }
}

/// CVE-2024-9676 and the like: a link to the node's file, a pipe that nobody writes to, a file without end.
async fn accounts_are_not_read_from_what_is_no_file_of_the_image() {
    let daemon = shared().await;
    let pod = Pod::run(daemon, "accounts").await;
    // Known on the node by this name, in no image.
    let outside = pod.logs().join("passwd");
    fs::write(&outside, "outsider:x:4242:4242::/:/bin/sh\n").unwrap();
    let path = outside.to_str().unwrap();
    let upwards = format!("../../../../../../../../../..{path}");
    let long = |line: &str| line.repeat((2 << 20) / line.len()).into_bytes();

    for (what, recipe) in [
        (
            "absolute link",
            Recipe {
                top: Some(links(&[("etc/passwd", path)])),
                ..Recipe::default()
            },
        ),
        (
            "relative link",
            Recipe {
                top: Some(links(&[("etc/passwd", &upwards)])),
                ..Recipe::default()
            },
        ),
        (
            "magic link",
            Recipe {
                top: Some(links(&[("etc/passwd", "/proc/self/root/etc/passwd")])),
                ..Recipe::default()
            },
        ),
        (
            "pipe",
            Recipe {
                top: Some(nodes(&[("etc/passwd", EntryType::Fifo, 0, 0)])),
                ..Recipe::default()
            },
        ),
        (
            "zeros",
            Recipe {
                top: Some(nodes(&[("etc/passwd", EntryType::Char, 1, 5)])),
                ..Recipe::default()
            },
        ),
        (
            "long",
            Recipe {
                files: vec![("etc/passwd", 0, 0o644, long("outsider:x:4242:4242::/:/bin/sh\n"))],
                ..Recipe::default()
            },
        ),
    ] {
        let image = imported(daemon, &recipe).await;
        let mut config = pod.container_config(&format!("c{}", node().number()), &["true"]);
        config.image.as_mut().unwrap().image = image;
        security(&mut config).run_as_username = "outsider".to_owned();
        let status = refused(daemon.runtime().create_container(pod.create_request(config))).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
    }
    for (what, recipe) in [
        (
            "pipe",
            Recipe {
                top: Some(nodes(&[("etc/group", EntryType::Fifo, 0, 0)])),
                ..Recipe::default()
            },
        ),
        (
            "long",
            Recipe {
                files: vec![("etc/group", 0, 0o644, long("wheel:x:4242:app\n"))],
                ..Recipe::default()
            },
        ),
    ] {
        let image = imported(daemon, &recipe).await;
        let mut config = pod.container_config(&format!("c{}", node().number()), &["true"]);
        config.image.as_mut().unwrap().image = image;
        let status = refused(daemon.runtime().create_container(pod.create_request(config))).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
        assert!(status.message().contains("/etc/group"), "{what}: {status}");
    }
    pod.remove().await;
}

async fn volumes_are_not_led_out_of_the_container() {
    let daemon = shared().await;
    let pod = Pod::run(daemon, "volumes").await;
    let outside = pod.logs().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "of the node").unwrap();
    let image = imported(
        daemon,
        &Recipe {
            config: json!({"Volumes": {"/way/in": {}, "/../../../../climbed": {}}}),
            top: Some(links(&[("way", "../../../../../../var")])),
            ..Recipe::default()
        },
    )
    .await;
    let out = imported(
        daemon,
        &Recipe {
            config: json!({"Volumes": {"/out": {}, "/out/below": {}}}),
            top: Some(links(&[("out", outside.to_str().unwrap())])),
            ..Recipe::default()
        },
    )
    .await;

    let output = pod
        .output_with(
            "main",
            "touch /climbed/made /var/in/made && ls / /var",
            |config| {
                config.image.as_mut().unwrap().image = image;
            },
        )
        .await;
    let mut config = pod.container_config("out", &["true"]);
    config.image.as_mut().unwrap().image = out;
    // Refused, or made within: what counts is what is outside.
    let _any = daemon
        .runtime()
        .create_container(pod.create_request(config))
        .await;

    assert!(
        output.contains("\nclimbed\n") && output.contains("\nin\n"),
        "{output}"
    );
    assert!(!Path::new("/var/in").exists() && !Path::new("/climbed").exists());
    let left = fs::read_dir(&outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["secret"]);
    pod.remove().await;
}

async fn a_node_in_an_image_opens_no_device() {
    let daemon = shared().await;
    let pod = Pod::run(daemon, "nodes").await;
    // Memory, the first loop device, and for comparison one that everyone may use.
    let image = imported(
        daemon,
        &Recipe {
            top: Some(nodes(&[
                ("mem", EntryType::Char, 1, 1),
                ("loop", EntryType::Block, 7, 0),
                ("null", EntryType::Char, 1, 3),
            ])),
            ..Recipe::default()
        },
    )
    .await;

    let output = pod.output_with(
        "main",
        "for n in mem loop null; do head -c 1 /$n 2>&1; done; echo end",
        |config| {
            config.image.as_mut().unwrap().image = image.clone();
        },
    );
    let output = output.await;

    assert_eq!(
        output,
        "head: /mem: Operation not permitted\nhead: /loop: Operation not permitted\nend\n"
    );
    pod.remove().await;
}
