//! What names and values of a file must be like (CDI specification, "CDI JSON Specification").

use super::{CdiError, Edits, Hook, Mount, NO_ACCESS, Node, Written, version};

/// Steps of a container's life at which a program can run (OCI runtime specification, "POSIX-platform Hooks").
const STEPS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// Takes a device's full name apart, `vendor/class=name`, into kind and name; nothing when it is none.
pub fn qualified(name: &str) -> Option<(&str, &str)> {
    let (kind, device) = name.split_once('=')?;
    (kind_problem(kind).is_none() && is_device(device)).then_some((kind, device))
}

/// Checks all of a file but its syntax.
pub(super) fn document(file: &Written) -> Result<(), CdiError> {
    if let Some(problem) = kind_problem(&file.kind) {
        return Err(CdiError::field("kind", format!("{:?} {problem}", file.kind)));
    }
    version::check(file)?;
    if file.devices.is_empty() {
        return Err(CdiError::field("devices", "is empty"));
    }
    edits(&file.container_edits, "containerEdits")?;
    for (n, device) in file.devices.iter().enumerate() {
        let field = format!("devices[{n}]");
        if !is_device(&device.name) {
            let problem = format!(
                "{:?} is not made of letters, digits, '_', '-', '.' and ':' between two letters or digits",
                device.name
            );
            return Err(CdiError::field(format!("{field}.name"), problem));
        }
        if device.container_edits.is_empty() {
            return Err(CdiError::field(format!("{field}.containerEdits"), "is empty"));
        }
        edits(&device.container_edits, &format!("{field}.containerEdits"))?;
    }
    Ok(())
}

fn kind_problem(kind: &str) -> Option<&'static str> {
    let Some((vendor, class)) = kind.split_once('/') else {
        return Some("is not vendor/class");
    };
    let word = |word: &str| is_word(word, |c| c.is_ascii_alphabetic(), "_-.");
    if !word(vendor) {
        return Some("has a vendor that is not a letter, then letters, digits, '_', '-' and '.'");
    }
    (!word(class)).then_some("has a class that is not a letter, then letters, digits, '_', '-' and '.'")
}

fn is_device(name: &str) -> bool {
    is_word(name, |c| c.is_ascii_alphanumeric(), "_-.:")
}

/// Ends with a letter or a digit, and has `others` in between only.
fn is_word(word: &str, first: fn(char) -> bool, others: &str) -> bool {
    word.starts_with(first)
        && word.ends_with(|c: char| c.is_ascii_alphanumeric())
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

fn edits(edits: &Edits, field: &str) -> Result<(), CdiError> {
    env(&edits.env, field)?;
    for (n, wanted) in edits.device_nodes.iter().enumerate() {
        node(wanted, &format!("{field}.deviceNodes[{n}]"))?;
    }
    for (n, wanted) in edits.mounts.iter().enumerate() {
        mount(wanted, &format!("{field}.mounts[{n}]"))?;
    }
    for (n, wanted) in edits.hooks.iter().enumerate() {
        hook(wanted, &format!("{field}.hooks[{n}]"))?;
    }
    Ok(())
}

fn env(env: &[String], field: &str) -> Result<(), CdiError> {
    let odd = |entry: &&String| entry.contains('\0') || entry.find('=').is_none_or(|at| at == 0);
    match env.iter().find(odd) {
        Some(odd) => Err(CdiError::field(
            format!("{field}.env"),
            format!("{odd:?} is not NAME=value"),
        )),
        None => Ok(()),
    }
}

fn node(node: &Node, field: &str) -> Result<(), CdiError> {
    let problem = |name: &str, problem: String| Err(CdiError::field(format!("{field}.{name}"), problem));
    path(&node.path, &format!("{field}.path"))?;
    if !node.host_path.is_empty() {
        path(&node.host_path, &format!("{field}.hostPath"))?;
    }
    if !["", "b", "c", "u", "p"].contains(&node.kind.as_str()) {
        return problem("type", format!("{:?} is none of b, c, u and p", node.kind));
    }
    if node.permissions != NO_ACCESS && node.permissions.contains(|c| !"rwm".contains(c)) {
        return problem(
            "permissions",
            format!(
                "{:?} is neither made of r, w and m nor {NO_ACCESS}",
                node.permissions
            ),
        );
    }
    if node.major < 0 || node.minor < 0 {
        return problem("major or minor", "is negative".to_owned());
    }
    Ok(())
}

fn mount(mount: &Mount, field: &str) -> Result<(), CdiError> {
    // Of another type than a bind it need be no path.
    if mount.host_path.is_empty() || mount.host_path.contains('\0') {
        return Err(CdiError::field(
            format!("{field}.hostPath"),
            "is empty, or contains a NUL character",
        ));
    }
    path(&mount.container_path, &format!("{field}.containerPath"))
}

fn hook(hook: &Hook, field: &str) -> Result<(), CdiError> {
    if !STEPS.contains(&hook.hook_name.as_str()) {
        let problem = format!("{:?} is none of {}", hook.hook_name, STEPS.join(", "));
        return Err(CdiError::field(format!("{field}.hookName"), problem));
    }
    path(&hook.path, &format!("{field}.path"))?;
    if hook.args.iter().any(|argument| argument.contains('\0')) {
        return Err(CdiError::field(
            format!("{field}.args"),
            "contains a NUL character",
        ));
    }
    if hook.timeout.is_some_and(|seconds| seconds <= 0) {
        return Err(CdiError::field(format!("{field}.timeout"), "is not positive"));
    }
    env(&hook.env, field)
}

/// Absolute and without `..`: what is written is where it goes.
fn path(path: &str, field: &str) -> Result<(), CdiError> {
    let climbs = path.split('/').any(|part| part == "..");
    match path.starts_with('/') && !climbs && !path.contains('\0') {
        true => Ok(()),
        false => Err(CdiError::field(
            field,
            format!("{path:?} is not an absolute path without .."),
        )),
    }
}
