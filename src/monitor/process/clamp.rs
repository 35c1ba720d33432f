//! Fits limits to what the kernel lets this process set, instead of failing the container.
//!
//! Without CAP_SYS_RESOURCE (nested containers, hardened hosts) a hard limit cannot be raised and an oom_score_adj
//! cannot be lowered.

use crate::monitor::protocol::Process;
use crate::sys::{caps, proc, rlimit};

/// Adjusts the process and returns a sentence per adjustment.
pub(super) fn clamp(process: &mut Process) -> Vec<String> {
    // Unset means 0, not what the monitor has inherited from a protected daemon.
    process.oom_score_adj.get_or_insert(0);
    let privileged = caps::effective().is_ok_and(|mask| mask & 1 << caps::SYS_RESOURCE != 0);
    if privileged {
        return vec![];
    }
    let own_score = proc::oom_score_adj().unwrap_or(0);
    adjust(process, own_score, |resource| {
        rlimit::get(resource).map_or(u64::MAX, |(_, hard)| hard)
    })
}

fn adjust(process: &mut Process, own_score: i32, own_hard: impl Fn(u32) -> u64) -> Vec<String> {
    let mut warnings = vec![];
    for limit in &mut process.rlimits {
        let most = own_hard(limit.resource);
        if limit.hard > most {
            warnings.push(format!(
                "{} lowered from {} to {most}: no right to raise a hard limit",
                rlimit::name(limit.resource),
                limit.hard,
            ));
            limit.hard = most;
            limit.soft = limit.soft.min(most);
        }
    }
    if let Some(wanted) = process.oom_score_adj.filter(|wanted| *wanted < own_score) {
        warnings.push(format!(
            "oom_score_adj raised from {wanted} to {own_score}: no right to lower it"
        ));
        process.oom_score_adj = Some(own_score);
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::protocol::Rlimit;

    #[test]
    fn what_the_kernel_would_refuse_is_adjusted_and_told() {
        let limit = |soft, hard| Rlimit {
            resource: 7,
            soft,
            hard,
        };
        let mut process = Process {
            rlimits: vec![limit(10, 20), limit(2000, 3000)],
            oom_score_adj: Some(-998),
            ..Process::default()
        };

        let warnings = adjust(&mut process, 0, |_| 1000);

        assert_eq!(process.rlimits, [limit(10, 20), limit(1000, 1000)]);
        assert_eq!(process.oom_score_adj, Some(0));
        assert_eq!(warnings.len(), 2);
    }
}
