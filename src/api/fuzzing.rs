//! A door for fuzzing: takes bytes, and panics at what must not come of them. Not in an ordinary build.

use std::path::Path;

use super::{Call, decode, defaults};
use crate::model::CreateContainerRequest;

/// A call's number, and a body. What can be read is written so that it reads the same; what is completed has an owner's
/// word nowhere, and a log inside its directory if it is the daemon's.
pub fn call(data: &[u8]) {
    let Some((number, body)) = data.split_first() else {
        return;
    };
    let call = Call::ALL[usize::from(*number) % Call::ALL.len()];
    if let Ok(written) = call.echo(body) {
        let again = call.echo(&written).expect("what was written can be read");
        assert_eq!(written, again);
    }
    let Ok(mut request) = decode::decode::<CreateContainerRequest>(body) else {
        return;
    };
    let logs = Path::new("/logs");
    if defaults::complete(&mut request, body, logs).is_ok() {
        let config = request.config.expect("a request without one is refused");
        assert!(config.tags.is_empty());
        assert!(!request.container_id.is_empty());
    }
}
