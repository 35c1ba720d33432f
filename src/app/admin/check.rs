//! Requests and reports of the audit, to and from the wire.

use super::wire;
use crate::app::check::{Report, Request};
use crate::model::audit::Finding;

impl From<wire::CheckRequest> for Request {
    fn from(request: wire::CheckRequest) -> Request {
        Request {
            repair: request.repair,
            deep: request.deep,
        }
    }
}

impl From<Report> for wire::CheckResponse {
    /// One entry a finding: one whose repair failed, or did not help, is told once, with the reason.
    fn from(report: Report) -> wire::CheckResponse {
        let mut findings: Vec<wire::Finding> = report.left.iter().map(wire::Finding::from).collect();
        for repaired in report.repaired {
            let left = report.left.iter().position(|left| left.is(&repaired.finding));
            let error = repaired
                .outcome
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            match left {
                Some(place) if error.is_empty() => findings[place].error = "it is there again".to_owned(),
                Some(place) => findings[place].error = error,
                None => findings.push(wire::Finding {
                    repaired: true,
                    ..wire::Finding::from(&repaired.finding)
                }),
            }
        }
        wire::CheckResponse {
            findings,
            unverifiable: report.unverifiable,
        }
    }
}

impl From<&Finding> for wire::Finding {
    fn from(finding: &Finding) -> wire::Finding {
        wire::Finding {
            class: finding.class.name().to_owned(),
            thing: finding.thing.to_string(),
            expected: finding.expected.clone(),
            repairable: finding.repairable,
            repaired: false,
            error: String::new(),
        }
    }
}
