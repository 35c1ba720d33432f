//! The network: CNI configurations and plugins, as the CNI specification 1.1 has a runtime use them.
//!
//! A [`Network`] is the handle: it attaches namespaces (`ADD`), detaches them (`DEL`), and answers at once, from
//! memory, whether a network is ready. What names the attachments and owns the namespaces is the caller's; bringing
//! `lo` up is too.
//!
//! | file | what |
//! | --- | --- |
//! | `conflist`, `version` | configurations: loading, validating, deriving what one plugin is given |
//! | `exec` | one run of one plugin |
//! | `result` | what `ADD` answers, in each version of the format |
//! | `cache` | attachments on disk, so that `DEL` works after a restart and without the configuration |
//! | `network`, `attach`, `collect` | the handle, and its verbs; `request` and `error` are what goes in and comes out |
//! | `networks` | several handles, one a directory of configurations |
//! | `audit` | what plugins hold for nobody |
//! | `keeper` | the task that keeps the handle's view current |
//! | `template` | a configuration generated from address ranges |

mod attach;
mod audit;
mod cache;
mod collect;
mod conflist;
mod error;
mod exec;
#[cfg(test)]
mod fake;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod keeper;
mod network;
mod networks;
mod request;
mod result;
mod template;
mod version;

pub use audit::{Stray, audit};
pub use cache::CacheError;
pub use conflist::{ConfError, NetworkConf};
pub use error::NetworkError;
pub use exec::{ExecError, PluginReport, Verb};
pub use keeper::Keeper;
pub use network::{Network, PluginVersions, Settings, Status};
pub use networks::Networks;
pub use request::{
    AddRequest, Attachment, Bandwidth, Capabilities, Cidr, DelRequest, DnsConfig, PortMapping, Protocol,
    RequestError,
};
pub use result::{AddResult, Interface, ResultDns, ResultError, Route};
pub use template::{TemplateError, TemplateOutcome};
pub use version::Version;
