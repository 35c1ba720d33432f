//! What happens to a life from outside: who is killed, and what its caller may see of that.

use std::sync::Mutex;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Victim {
    Daemon,
    Zygote,
    Monitor,
    Container,
    /// The short-lived process that has reached the point.
    Worker,
}

/// What happens to a life from outside.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    strikes: Mutex<Vec<Victim>>,
    /// The pod's cgroup, by which its processes are known.
    cgroup: Mutex<String>,
}

impl Fate {
    /// Notes a kill, before it is done.
    pub(crate) fn strike(&self, victim: Victim) {
        self.strikes.lock().unwrap().push(victim);
    }

    pub(crate) fn struck(&self) -> bool {
        !self.strikes.lock().unwrap().is_empty()
    }

    pub(crate) fn set_cgroup(&self, cgroup: &str) {
        cgroup.clone_into(&mut self.cgroup.lock().unwrap());
    }

    pub(crate) fn cgroup(&self) -> String {
        self.cgroup.lock().unwrap().clone()
    }

    fn count(&self, victims: &[Victim]) -> usize {
        self.strikes
            .lock()
            .unwrap()
            .iter()
            .filter(|strike| victims.contains(strike))
            .count()
    }

    pub(crate) fn struck_one_of(&self, victims: &[Victim]) -> bool {
        self.count(victims) > 0
    }

    /// How many calls may fail for it. The daemon's end and the zygote's are nobody's business.
    pub(crate) fn errors(&self) -> usize {
        2 * self.count(&[Victim::Monitor, Victim::Container, Victim::Worker])
    }

    /// The container may have ended though nobody asked it to.
    pub(crate) fn may_end_it(&self) -> bool {
        self.errors() > 0
    }
}
