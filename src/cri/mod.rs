//! The CRI adapter: the only code that knows pods and gRPC.
//!
//! A request is decoded whole into values of the model (`convert`), then acted on by one call of the model's traits,
//! whose answer is converted back. What the model leaves out, the pod, is here: a trivial sandbox (`sandbox`) that is
//! a record, pinned namespaces and a network attachment.
//!
//! | concept of a pod | where it lives | what the model receives |
//! | --- | --- | --- |
//! | id, name, attempt, state | `sandbox::record` | an opaque tag |
//! | network, IPC, UTS namespaces, sysctls | `sandbox::namespaces`, pinned | `Namespace::Join(path)` |
//! | shared PID namespace | a process that reaps | `Namespace::Join(path)` |
//! | PID namespace of a target container | `containers`, by its process number | `Namespace::Join(path)` |
//! | addresses, port mappings | `sandbox::network` | nothing |
//! | `/etc/hosts` and the like, `/dev/shm` | `sandbox::files` | mounts |
//! | log directory, cgroup parent | `convert::container` | parts of the configuration |
//! | privileges of the pod | `convert::security` | plain security settings |
//! | its handler (RuntimeClass) | `handlers`, kept in `sandbox::record` | parts of the configuration |

mod adapter;
pub mod client;
mod containers;
mod convert;
mod dump;
mod events;
mod flights;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handlers;
mod images;
mod metrics;
mod node;
mod pods;
mod runtime;
mod sandbox;
pub mod server;
mod stats;
pub(crate) mod status;
mod stream_urls;
mod streams;
pub mod v1alpha2;
pub mod wire;

#[cfg(test)]
mod tests;

pub use adapter::{Runtime, Settings, Standing};
pub use convert::owner;
pub use handlers::{Handler, Handlers};
pub(crate) use sandbox::audit;
pub use sandbox::{AttachRequest, Held, Network, PinRequest, Pinner, ZygotePinner};
