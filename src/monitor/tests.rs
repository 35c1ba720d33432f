//! The whole life of containers through the client, with a real zygote and busybox. Needs root; a machine without it or
//! without busybox skips them with a word.
//!
//! The zygote is this test binary, which the ignored test `zygote_process` turns into one.

mod attach;
mod exec;
mod fixture;
mod isolation;
mod lifecycle;
mod log;
mod namespaces;

use crate::monitor::zygote;
use crate::sys::fork;

#[test]
#[ignore = "not a test: the zygote's main function"]
fn zygote_process() {
    fork::in_single_thread(|| zygote::zygote_main());
}
