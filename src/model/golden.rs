//! Holds the model's JSON to what Go makes of the API it mirrors.
//!
//! `testdata/` is written by `e2e/tools/golden` (Go, with the API's own tags): of every type the zero value and one
//! with all fields set. To write it anew: `cd e2e/tools/golden && go run . -out ../../../src/model/testdata`.

use std::fmt::Debug;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/model/testdata")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The zero value writes Go's zero value. Go's full value comes back unchanged: a field we lack would be lost, one
/// that is named or typed otherwise would be lost or refused, one too many would appear.
fn check<T: Serialize + DeserializeOwned + Default + Debug>(name: &str) {
    let zero = golden(&format!("{name}.zero.json"));
    assert_eq!(serde_json::to_value(T::default()).unwrap(), zero, "{name}, zero");
    let parsed: T = serde_json::from_value(zero.clone()).unwrap();
    assert_eq!(serde_json::to_value(parsed).unwrap(), zero, "{name}, zero read");

    let full = golden(&format!("{name}.full.json"));
    let parsed: T = serde_json::from_value(full.clone()).unwrap_or_else(|e| panic!("{name}, full: {e}"));
    assert_eq!(serde_json::to_value(&parsed).unwrap(), full, "{name}, full");
}

macro_rules! check_all {
    ($($type:ident)*) => {{
        $(check::<$type>(stringify!($type));)*
        [$(stringify!($type)),*]
    }};
}

#[test]
fn every_type_of_the_reduced_api_has_its_json() {
    let checked = check_all! {
        AuthConfig Container ContainerConfig ContainerFilter ContainerMetadata ContainerStateValue ContainerStatus
        ContainerStatusRequest ContainerStatusResponse CreateContainerRequest CreateContainerResponse Device
        ExecRequest ExecResponse HugepageLimit Image ImageFilter ImageSpec ImageStatusRequest ImageStatusResponse
        KeyValue LinuxContainerConfig LinuxContainerResources ListContainersRequest ListContainersResponse
        ListImagesRequest ListImagesResponse Mount PullImageRequest PullImageResponse RemoveContainerRequest
        RemoveImageRequest ReopenContainerLogRequest RuntimeCondition StartContainerRequest StatusRequest
        StatusResponse StopContainerRequest UpdateContainerResourcesRequest VersionRequest VersionResponse
    };

    // A type added to the Go program must be checked here as well.
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/testdata");
    let mut emitted: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".zero.json").map(str::to_owned))
        .collect();
    emitted.sort();
    assert_eq!(emitted, checked);
}

#[test]
fn full_values_land_in_the_fields_of_their_names() {
    let status: ContainerStatus = serde_json::from_value(golden("ContainerStatus.full.json")).unwrap();
    let exec: ExecRequest = serde_json::from_value(golden("ExecRequest.full.json")).unwrap();
    let answer: ExecResponse = serde_json::from_value(golden("ExecResponse.full.json")).unwrap();

    assert_eq!(status.state, ContainerState::Exited);
    assert!(status.image_ref.starts_with("ContainerStatus.ImageRef "));
    assert!(status.log_path.starts_with("ContainerStatus.LogPath "));
    assert_eq!(status.mounts[0].propagation, MountPropagation::Bidirectional);
    assert_eq!(exec.timeout.as_nanos(), (1 << 40) + 6);
    assert_eq!(answer.exit_code, 137);
}

#[test]
fn the_names_of_states_are_those_of_both_maps() {
    let names = golden("ContainerStateName.json");
    let values = golden("ContainerStateValues.json");

    let ours = CONTAINER_STATE_NAMES.map(|(value, name)| (value.to_string(), Value::from(name)));
    assert_eq!(Value::Object(ours.into_iter().collect()), names);
    let values = values.as_object().unwrap();
    assert_eq!(values.len(), CONTAINER_STATE_NAMES.len());
    for (name, value) in values {
        let number = container_state_value(name).unwrap();
        assert_eq!(Value::from(number), *value);
        assert_eq!(ContainerState::from(number).name(), name);
    }
    assert_eq!(container_state_value("CONTAINER_PAUSED"), None);
}

#[test]
fn what_goes_beyond_the_reduced_api_is_absent_while_unset_and_kept_when_set() {
    let mut config = ContainerConfig::default();
    assert_eq!(
        serde_json::to_string(&config).unwrap(),
        r#"{"logDirectory":"","logPath":""}"#
    );

    config.stop_signal = "SIGUSR1".to_owned();
    config.linux = Some(LinuxContainerConfig {
        namespaces: Namespaces {
            network: Namespace::Join("/run/n".into()),
            pid: Namespace::Host,
            ..Namespaces::default()
        },
        security: Security {
            user: Some(User::Name("www".to_owned())),
            seccomp: Profile::Localhost("/p.json".to_owned()),
            ..Security::default()
        },
        ..LinuxContainerConfig::default()
    });
    config.envs = vec![KeyValue::new("A", &[0xff, 0x41])];

    let text = serde_json::to_string(&config).unwrap();

    assert_eq!(serde_json::from_str::<ContainerConfig>(&text).unwrap(), config);
}
