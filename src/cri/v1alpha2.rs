//! CRI v1alpha2, for kubelets before 1.23 and tools of that time, on top of the v1 services.
//!
//! v1 is a superset of v1alpha2 on the wire: each call has the name, and each field the number and type, that
//! it has in v1 (a test holds both definitions against each other). So [`V1Alpha2Layer`] rewrites the path of
//! a request and leaves its body alone; the v1 services decode, answer and encode. An [`ApiVersion`] among
//! the request's extensions tells them which name the client used.
//!
//! The fields that v1alpha2 clients fill and later ones do not, `seccomp_profile_path` (sandbox and
//! container) and `apparmor_profile` (container), arrive in the v1 messages' fields of the same names.
//! [`profile`] reads them.

use std::task::{Context, Poll};

use http::{Request, Uri, uri::PathAndQuery};
use tower::{Layer, Service};

use crate::cri::wire::v1::{SecurityProfile, security_profile::ProfileType};

const OLD: &str = "/runtime.v1alpha2.";
const NEW: &str = "/runtime.v1.";

/// The version of the API a request was made in. Every request that passed [`V1Alpha2Layer`] has one among
/// its extensions; `Version` answers with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ApiVersion {
    /// Package `runtime.v1`, and every service that is not CRI's.
    V1,
    /// Package `runtime.v1alpha2`.
    V1Alpha2,
}

impl ApiVersion {
    /// The version's name, as `VersionResponse.runtime_api_version` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1Alpha2 => "v1alpha2",
        }
    }
}

/// Makes v1 services answer v1alpha2 requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct V1Alpha2Layer;

impl<S> Layer<S> for V1Alpha2Layer {
    type Service = V1Alpha2<S>;

    fn layer(&self, inner: S) -> V1Alpha2<S> {
        V1Alpha2 { inner }
    }
}

/// The service [`V1Alpha2Layer`] makes.
#[derive(Clone, Debug)]
pub struct V1Alpha2<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for V1Alpha2<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let version = match rewritten(request.uri()) {
            Some(uri) => {
                *request.uri_mut() = uri;
                ApiVersion::V1Alpha2
            }
            None => ApiVersion::V1,
        };
        request.extensions_mut().insert(version);
        self.inner.call(request)
    }
}

/// The calls that came after v1alpha2: under its name they stay what they were, unknown.
pub(super) const LATER: [&str; 14] = [
    "StreamPodSandboxes",
    "StreamContainers",
    "StreamContainerStats",
    "StreamPodSandboxStats",
    "StreamPodSandboxMetrics",
    "StreamImages",
    "CheckpointContainer",
    "CheckpointPod",
    "RestorePod",
    "GetContainerEvents",
    "ListMetricDescriptors",
    "ListPodSandboxMetrics",
    "RuntimeConfig",
    "UpdatePodSandboxResources",
];

/// The v1 address of a call to a v1alpha2 service, whether or not v1 has the method: the service refuses
/// those it lacks, by name. `None` for any other address, which no service has.
fn rewritten(uri: &Uri) -> Option<Uri> {
    let rest = uri.path().strip_prefix(OLD)?;
    let (service, method) = rest.split_once('/')?;
    if !matches!(service, "RuntimeService" | "ImageService") || LATER.contains(&method) {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = PathAndQuery::try_from(format!("{NEW}{rest}{query}")).ok()?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}

/// Reads a security profile that a client stated in the current field, in the deprecated one, or in both; the
/// current one wins. `None` when neither says anything.
///
/// The deprecated text is `runtime/default` (`docker/default` before that), `unconfined`, or `localhost/`
/// followed by what `localhost_ref` holds today: the path of a seccomp profile, the name of an AppArmor one.
///
/// # Errors
///
/// [`UnknownProfile`] for any other deprecated text.
pub fn profile(
    current: Option<&SecurityProfile>,
    deprecated: &str,
) -> Result<Option<SecurityProfile>, UnknownProfile> {
    if let Some(profile) = current {
        return Ok(Some(profile.clone()));
    }
    let (kind, reference) = match deprecated {
        "" => return Ok(None),
        "runtime/default" | "docker/default" => (ProfileType::RuntimeDefault, ""),
        "unconfined" => (ProfileType::Unconfined, ""),
        text => match text.strip_prefix("localhost/") {
            Some(reference) if !reference.is_empty() => (ProfileType::Localhost, reference),
            _ => return Err(UnknownProfile(text.to_owned())),
        },
    };
    Ok(Some(SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: reference.to_owned(),
    }))
}

/// A deprecated profile field held text that names no profile.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("security profile {0:?} is none of runtime/default, unconfined, localhost/<reference>")]
pub struct UnknownProfile(String);

#[cfg(test)]
mod tests;
