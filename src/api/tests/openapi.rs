//! The document says what the code does: every call, its types, and the reduced API's own JSON.

use std::path::Path;

use boon::{Compiler, Draft, SchemaIndex, Schemas};

use super::*;
use crate::api::openapi::{build, shut};

/// The document as schemas to check values by, all of them without further fields.
struct Document {
    schemas: Schemas,
    compiler: Compiler,
    text: Value,
}

impl Document {
    fn new() -> Document {
        let text = build();
        let mut strict = text.clone();
        shut(&mut strict["components"]["schemas"]);
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler
            .add_resource("https://coracle.test/api.json", strict)
            .unwrap();
        Document {
            schemas: Schemas::new(),
            compiler,
            text,
        }
    }

    fn schema(&mut self, name: &str) -> SchemaIndex {
        let place = format!("https://coracle.test/api.json#/components/schemas/{name}");
        self.compiler.compile(&place, &mut self.schemas).unwrap()
    }

    fn refusal(&mut self, name: &str, value: &Value) -> Option<String> {
        let schema = self.schema(name);
        self.schemas
            .validate(value, schema)
            .err()
            .map(|error| error.to_string())
    }

    #[track_caller]
    fn check(&mut self, name: &str, value: &Value) {
        let refusal = self.refusal(name, value);
        assert_eq!(refusal, None, "{name}: {value}");
    }

    /// The names of the schemas of a call's request and its answer.
    fn types(&self, call: Call) -> (String, String) {
        let operation = &self.text["paths"][format!("/v1/{}", call.name())]["post"];
        let of = |place: &str| {
            let schema = operation.pointer(&format!("{place}/content/application~1json/schema/$ref"));
            let name = schema
                .and_then(Value::as_str)
                .unwrap_or_else(|| panic!("{call:?} {place}"));
            name.rsplit('/').next().unwrap().to_owned()
        };
        (of("/requestBody"), of("/responses/200"))
    }
}

#[test]
fn every_call_is_told_with_the_types_that_it_takes_and_gives() {
    let document = Document::new();
    let told = document.text["paths"].as_object().unwrap();

    for call in Call::ALL {
        let (request, answer) = document.types(*call);
        let given = match call {
            Call::ExecSync => "ExecRequest".to_owned(),
            call => format!("{}Request", call.name()),
        };
        assert_eq!(request, given);
        let expected = [
            format!("{}Response", call.name()),
            "Empty".into(),
            "ExecOutput".into(),
            "ImageFilesystems".into(),
        ];
        assert!(expected.contains(&answer), "{call:?}: {answer}");
        let description = told[&format!("/v1/{}", call.name())]["post"]["description"]
            .as_str()
            .unwrap();
        assert!(description.ends_with('.') && description.len() > 10, "{call:?}");
    }
    for session in ["ExecSync", "Attach"] {
        assert!(told[&format!("/v1/{session}")]["get"]["responses"]["101"].is_object());
    }
    assert_eq!(told.len(), Call::ALL.len() + 1);
}

#[test]
fn the_reduced_api_s_own_json_is_what_the_document_describes() {
    let mut document = Document::new();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/testdata");
    let mut checked = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some((name, "zero.json" | "full.json")) = file.split_once('.') else {
            continue;
        };
        // Said by `ExecOutput` here, which has its fields and more.
        let name = if name == "ExecResponse" {
            "ExecOutput"
        } else {
            name
        };
        let value: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        document.check(name, &value);
        checked += 1;
    }

    assert!(checked > 70, "{checked}");
}

#[test]
fn a_value_that_is_not_what_is_described_is_told() {
    let mut document = Document::new();

    for (name, value) in [
        ("StopContainerRequest", json!({"containerId": "a"})),
        ("StopContainerRequest", json!({"timeout": "5"})),
        ("Mount", json!({"propagation": 3})),
        (
            "ContainerConfig",
            json!({"envs": [{"key": 1}], "logPath": "", "logDirectory": ""}),
        ),
    ] {
        assert!(document.refusal(name, &value).is_some(), "{name}: {value}");
    }
}

#[test]
fn requests_have_no_fields_that_are_not_told() {
    let document = Document::new();
    for name in [
        "CreateContainerRequest",
        "ContainerConfig",
        "Mount",
        "LinuxContainerResources",
        "StopContainerRequest",
    ] {
        let schema = &document.text["components"]["schemas"][name];
        assert_eq!(schema["additionalProperties"], false, "{name}");
    }
    assert!(
        document.text["components"]["schemas"]["ContainerStatus"]
            .get("additionalProperties")
            .is_none()
    );
}

#[tokio::test]
async fn what_the_calls_answer_is_what_the_document_describes() {
    let mut document = Document::new();
    let api = Api::new().await;
    let id = api.create().await;
    let of = json!({"containerID": id});
    let image = json!({"image": {"image": IMAGE}, "verbose": true});
    for (call, body) in [
        (Call::StartContainer, of.clone()),
        (Call::Version, json!({})),
        (Call::Status, json!({"verbose": true})),
        (Call::ListContainers, json!({})),
        (Call::ContainerStatus, json!({"containerID": id, "verbose": true})),
        (Call::ExecSync, json!({"containerID": id, "cmd": ["true"]})),
        (Call::ContainerStats, of.clone()),
        (Call::ListContainerStats, json!({})),
        (Call::ListImages, json!({})),
        (Call::ImageStatus, image),
        (Call::PullImage, json!({"image": {"image": IMAGE}})),
        (Call::ImageFsInfo, json!({})),
        (Call::StopContainer, of.clone()),
        (Call::RemoveContainer, of),
    ] {
        let answer = api.ok(call, body).await;
        document.check(&document.types(call).1, &answer);
    }
    let (_, refusal) = api
        .ask(Call::ContainerStatus, "", &json!({"containerID": "x"}))
        .await;
    document.check("Refusal", &refusal);
}

#[tokio::test]
async fn the_document_is_served() {
    let api = Api::new().await;

    let (status, document) = api.send(Method::GET, "/v1/openapi.json", &[], "").await;

    assert_eq!(status, StatusCode::OK);
    assert_eq!(document["openapi"], "3.1.0");
}
