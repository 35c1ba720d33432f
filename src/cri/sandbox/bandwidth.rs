//! How fast a sandbox's network may be, as annotations say it: quantities of Kubernetes, in bits a second.

use std::collections::BTreeMap;

use crate::model::{Error, Result};

/// To the sandbox.
const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
/// From it.
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// What Kubernetes takes for a bandwidth: from 1k to 1P.
const RANGE: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;
/// More digits than these no quantity has.
const MAX_DIGITS: usize = 24;

/// Limits in bits a second; absent is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cri) struct Bandwidth {
    /// Of what comes to the sandbox.
    pub(in crate::cri) ingress: Option<u64>,
    /// Of what it sends.
    pub(in crate::cri) egress: Option<u64>,
}

/// The limits of these annotations, if there are any.
///
/// # Errors
/// `InvalidArgument`, naming the annotation.
pub(in crate::cri) fn bandwidth(annotations: &BTreeMap<String, String>) -> Result<Option<Bandwidth>> {
    let rate = |name: &str| -> Result<Option<u64>> {
        let Some(text) = annotations.get(name) else {
            return Ok(None);
        };
        let Some(value) = quantity(text) else {
            let problem = format!("annotation {name} {text:?} is not a quantity");
            return Err(Error::invalid(problem));
        };
        match u64::try_from(value).ok().filter(|value| RANGE.contains(value)) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::invalid(format!(
                "annotation {name} {text:?} is not between 1k and 1P"
            ))),
        }
    };
    let limits = Bandwidth {
        ingress: rate(INGRESS)?,
        egress: rate(EGRESS)?,
    };
    Ok(Some(limits).filter(|limits| *limits != Bandwidth::default()))
}

/// A quantity as Kubernetes writes it (`apimachinery`, "Quantity"), rounded up to a whole number. What no number has room
/// for is the greatest, what is below zero is zero.
fn quantity(text: &str) -> Option<u128> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = unsigned.split_at(number.unwrap_or(unsigned.len()));
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{part}");
    if digits.is_empty() || digits.len() > MAX_DIGITS || part.contains('.') {
        return None;
    }
    let digits: u128 = digits.parse().ok()?;
    let (binary, decimal) = scale(suffix)?;
    let decimal = decimal - i32::try_from(part.len()).ok()?;
    if negative || digits == 0 {
        return Some(0);
    }
    let power = |exponent: u32| 10_u128.checked_pow(exponent);
    let exponent = decimal.unsigned_abs();
    Some(match decimal {
        0.. => power(exponent)
            .and_then(|power| digits.checked_mul(power)?.checked_mul(1 << binary))
            .unwrap_or(u128::MAX),
        _ => match (digits.checked_mul(1 << binary), power(exponent)) {
            (Some(digits), Some(power)) => digits.div_ceil(power),
            (None, _) => u128::MAX,
            // So small a part of one that it is one, rounded up.
            (_, None) => 1,
        },
    })
}

/// What a suffix multiplies by, as exponents of two and of ten.
fn scale(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "" => (0, 0),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || digits.len() > 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (0, exponent.parse().ok()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let check = |text: &str, expected: Option<u128>| assert_eq!(quantity(text), expected, "{text:?}");

        check("10M", Some(10_000_000));
        check("1.5k", Some(1500));
        check(".5Ki", Some(512));
        check("5.", Some(5));
        check("+1Gi", Some(1 << 30));
        check("1e3", Some(1000));
        check("1E", Some(1_000_000_000_000_000_000));
        check("12E-1", Some(2));
        check("100m", Some(1));
        check("1n", Some(1));
        check("1e-999", Some(1));
        check("1e999", Some(u128::MAX));
        check("-3M", Some(0));
        check("0", Some(0));
        for text in [
            "", "M", ".", "1.2.3", "1 M", "1MM", "1e", "1e+", "1ee3", "--1", "1kb", "0x1", "١M",
        ] {
            check(text, None);
        }
        check(&"9".repeat(MAX_DIGITS + 1), None);
    }

    fn limits(pairs: &[(&str, &str)]) -> std::result::Result<Option<Bandwidth>, String> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        bandwidth(&pairs.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn either_direction_may_be_limited_alone() {
        let egress = Bandwidth {
            ingress: None,
            egress: Some(1_000),
        };

        assert_eq!(limits(&[]), Ok(None));
        assert_eq!(limits(&[(EGRESS, "1k")]), Ok(Some(egress)));
    }

    #[test]
    fn what_is_no_bandwidth_is_refused_by_the_annotations_name() {
        for (text, why) in [
            ("fast", "is not a quantity"),
            ("999", "is not between 1k and 1P"),
            ("-1M", "is not between 1k and 1P"),
            ("1001T", "is not between 1k and 1P"),
            ("1e999", "is not between 1k and 1P"),
        ] {
            let refusal = limits(&[(INGRESS, text)]).unwrap_err();

            assert_eq!(refusal, format!("annotation {INGRESS} {text:?} {why}"));
        }
    }
}
