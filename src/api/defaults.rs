//! What a container is given that its request says nothing of: confinement, an id, a log.

use std::path::Path;

use serde_json::Value;

use crate::model::{ContainerConfig, CreateContainerRequest, Error, Profile, Result, Security};

/// Completes a request that was read from `body`; `logs` is the directory of the logs that nobody asked for.
///
/// # Errors
/// `InvalidArgument`: the request says what only an adapter may.
pub(super) fn complete(request: &mut CreateContainerRequest, body: &[u8], logs: &Path) -> Result<()> {
    let missing = || Error::invalid("config is missing");
    let config = request.config.as_mut().ok_or_else(missing)?;
    if !config.tags.is_empty() {
        return Err(Error::invalid(
            "config.tags are the runtime's own: use labels or annotations",
        ));
    }
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    confine(
        config,
        said.pointer("/config/linux/security").unwrap_or(&Value::Null),
    );
    if request.container_id.is_empty() {
        request.container_id = new_id();
    }
    if config.log_directory.is_empty() && config.log_path.is_empty() {
        config.log_directory = logs.to_string_lossy().into_owned();
        config.log_path = log_name(&request.container_id);
    }
    Ok(())
}

/// The model confines nothing by itself, since what asks it says all. `said` is the part of the request about it.
fn confine(config: &mut ContainerConfig, said: &Value) {
    let security = &mut config.linux.get_or_insert_default().security;
    if security.privileged {
        return;
    }
    let silent = |field: &str| said.get(field).is_none();
    let owned = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
    if silent("seccomp") {
        security.seccomp = Profile::RuntimeDefault;
    }
    if silent("apparmor") {
        security.apparmor = Profile::RuntimeDefault;
    }
    if silent("maskedPaths") {
        security.masked_paths = owned(&Security::MASKED_PATHS);
    }
    if silent("readonlyPaths") {
        security.readonly_paths = owned(&Security::READONLY_PATHS);
    }
}

fn new_id() -> String {
    let bits: [u8; 32] = rand::random();
    bits.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file in the directory of logs that is a container's.
pub(super) fn log_name(id: &str) -> String {
    format!("{id}.log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::decode::decode;

    fn completed(body: &str) -> Result<CreateContainerRequest> {
        let mut request = decode(body.as_bytes())?;
        complete(&mut request, body.as_bytes(), Path::new("/logs"))?;
        Ok(request)
    }

    fn security(said: &str) -> Security {
        let body = format!(r#"{{"config":{{"linux":{{"security":{said}}}}}}}"#);
        completed(&body).unwrap().config.unwrap().linux.unwrap().security
    }

    #[test]
    fn what_is_not_said_of_confinement_is_its_default_and_what_is_said_stays() {
        let silent = completed(r#"{"config":{}}"#)
            .unwrap()
            .config
            .unwrap()
            .linux
            .unwrap()
            .security;
        let partial = security(r#"{"user":{"id":5},"seccomp":"unconfined","maskedPaths":[]}"#);
        let privileged = security(r#"{"privileged":true}"#);

        assert_eq!(silent.seccomp, Profile::RuntimeDefault);
        assert_eq!(silent.apparmor, Profile::RuntimeDefault);
        assert!(silent.masked_paths.contains(&"/proc/kcore".to_owned()));
        assert!(silent.readonly_paths.contains(&"/proc/sys".to_owned()));
        assert_eq!(
            (partial.seccomp, partial.masked_paths.len()),
            (Profile::Unconfined, 0)
        );
        assert_eq!(partial.apparmor, Profile::RuntimeDefault);
        assert_eq!(privileged.seccomp, Profile::Unconfined);
        assert!(privileged.masked_paths.is_empty());
    }

    #[test]
    fn a_container_without_a_log_of_its_own_has_one_by_its_id() {
        let silent = completed(r#"{"config":{}}"#).unwrap();
        let config = silent.config.unwrap();
        let named = completed(r#"{"config":{"logDirectory":"/l","logPath":"a"}}"#).unwrap();

        assert_eq!(silent.container_id.len(), 64);
        assert_eq!(config.log_directory, "/logs");
        assert_eq!(config.log_path, format!("{}.log", silent.container_id));
        assert_eq!(named.config.unwrap().log_path, "a");
    }

    #[test]
    fn the_words_of_adapters_are_refused() {
        let error = completed(r#"{"config":{"tags":{"a":"b"}}}"#).unwrap_err();

        assert!(error.to_string().starts_with("config.tags"), "{error}");
    }
}
