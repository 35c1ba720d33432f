//! Stop signals: the wire numbers them, the model names them as signal(7) does.

use crate::cri::wire::v1::Signal;
use crate::model::Result;

use super::known;

/// The model's name of a signal; empty for the default.
pub(super) fn name(value: i32, field: &str) -> Result<String> {
    let signal: Signal = known(value, field)?;
    if signal == Signal::RuntimeDefault {
        return Ok(String::new());
    }
    let name = signal.as_str_name().trim_start_matches("SIGNAL_");
    Ok(name.replace("PLUS", "+").replace("MINUS", "-"))
}

/// The wire's number of a signal; that of the default for a name it does not have.
pub(super) fn number(name: &str) -> i32 {
    let wire = format!("SIGNAL_{}", name.replace('+', "PLUS").replace('-', "MINUS"));
    Signal::from_str_name(&wire).unwrap_or(Signal::RuntimeDefault) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_name_that_leads_back_to_it() {
        for value in 1..=Signal::Sigrtmax as i32 {
            let name = name(value, "stop_signal").unwrap();

            assert!(name.starts_with("SIG"), "{name}");
            assert_eq!(number(&name), value, "{name}");
        }
        assert_eq!(name(0, "stop_signal").unwrap(), "");
        assert_eq!(name(51, "stop_signal").unwrap(), "SIGRTMAX-14");
        assert_eq!(name(36, "stop_signal").unwrap(), "SIGRTMIN+1");
        assert_eq!(number(""), 0);
    }
}
