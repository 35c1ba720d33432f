//! The OpenAPI document, made of the table of calls and of the types themselves: it cannot say what the code does not.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::sessions::Session;
use super::{Call, Refusal};

/// Where a schema of a name is.
const SCHEMAS: &str = "#/components/schemas/";

/// What it means to force.
const FORCE: &str = "Does it to a container that another client of the runtime owns, too. Default: false.";

/// The document as JSON text.
pub fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", build()));
    &TEXT
}

pub(super) fn build() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = SCHEMAS
            .trim_start_matches('#')
            .trim_end_matches('/')
            .to_owned()
            .into();
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    let mut asked = vec![];
    let refusal = generator.subschema_for::<Refusal>();
    for call in Call::ALL {
        let (request, response) = call.schemas(&mut generator);
        asked.extend(reference(request.as_value()));
        paths.insert(
            format!("/v1/{}", call.name()),
            path(*call, &request, &response, &refusal),
        );
    }
    for session in Session::ALL {
        let path = paths
            .entry(format!("/v1/{}", session.name()))
            .or_insert(json!({}));
        path["get"] = upgrade(session, &refusal);
    }
    let mut schemas = generator.take_definitions(true);
    close(&mut schemas, asked);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Coracle's reduced API",
            "description": "Containers and images, and nothing around them.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn path(call: Call, request: &Schema, response: &Schema, refusal: &Schema) -> Value {
    let content = |schema: &Schema| json!({"application/json": {"schema": schema}});
    let mut operation = json!({
        "operationId": call.name(),
        "description": call.about(),
        "requestBody": {"content": content(request)},
        "responses": {
            "200": {"description": "It is done.", "content": content(response)},
            "default": {"description": "It is not done.", "content": content(refusal)},
        },
    });
    if call.is_owned() {
        operation["parameters"] = json!([{
            "name": "force",
            "in": "query",
            "description": FORCE,
            "schema": {"type": "boolean"},
        }]);
    }
    json!({"post": operation})
}

/// A session: what is asked for is in the query.
fn upgrade(session: Session, refusal: &Schema) -> Value {
    let parameter = |name: &str, schema: Value, about: &str| {
        let required = name == "containerID" || name == "cmd";
        json!({"name": name, "in": "query", "required": required, "schema": schema, "description": about})
    };
    let flag = |name: &str, about: &str| parameter(name, json!({"type": "boolean"}), about);
    let mut parameters = vec![
        parameter(
            "containerID",
            json!({"type": "string"}),
            "Which container: its id, or the unique beginning of it.",
        ),
        flag("stdin", "The caller writes. Default: false."),
        flag("stdout", "The caller reads the output. Default: true."),
        flag(
            "stderr",
            "The caller reads the errors. Default: true without a terminal, which has one output.",
        ),
        flag(
            "tty",
            "There is a terminal, whose size the caller tells. Default: false.",
        ),
        flag("force", FORCE),
    ];
    if session == Session::Exec {
        let words = json!({"type": "array", "items": {"type": "string"}});
        parameters.push(parameter("cmd", words, "A word of the command; once for each."));
    }
    json!({
        "operationId": format!("{}Streams", session.name()),
        "description": session.about(),
        "parameters": parameters,
        "responses": {
            "101": {"description": "The connection is a WebSocket from here on."},
            "default": {
                "description": "It is not done.",
                "content": {"application/json": {"schema": refusal}},
            },
        },
    })
}

/// Lets the objects that requests are made of have no fields but those that are told: others are refused.
fn close(schemas: &mut Map<String, Value>, asked: Vec<String>) {
    let (mut open, mut seen) = (asked, BTreeSet::new());
    while let Some(name) = open.pop() {
        if let Some(schema) = schemas.get_mut(&name).filter(|_| seen.insert(name)) {
            shut(schema);
            references(schema, &mut open);
        }
    }
}

/// Takes further fields away from every object in a schema that tells its fields.
pub(super) fn shut(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") || fields.get("type") == Some(&json!("object")) {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            fields.values_mut().for_each(shut);
        }
        Value::Array(items) => items.iter_mut().for_each(shut),
        _ => {}
    }
}

fn references(schema: &Value, found: &mut Vec<String>) {
    found.extend(reference(schema));
    match schema {
        Value::Object(fields) => fields.values().for_each(|value| references(value, found)),
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn reference(schema: &Value) -> Option<String> {
    let name = schema.get("$ref")?.as_str()?.strip_prefix(SCHEMAS)?;
    Some(name.to_owned())
}
