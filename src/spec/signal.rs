//! The signal that asks a container to end, by the names people write.

use super::error::SpecError;

/// Names and numbers that are the same on every architecture this runs on.
const SIGNALS: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];
/// Other names of the same signals.
const ALIASES: [(&str, &str); 5] = [
    ("IOT", "ABRT"),
    ("CLD", "CHLD"),
    ("POLL", "IO"),
    ("UNUSED", "SYS"),
    ("INFO", "PWR"),
];
/// The first and last real-time signals an application may use: the C libraries keep those below for threads.
const REAL_TIME: (i32, i32) = (34, 64);

/// A signal by name and number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    name: String,
    number: i32,
}

impl Signal {
    /// Reads what [`Signal::name`] wrote.
    ///
    /// # Errors
    /// Names the text.
    pub fn from_name(name: &str) -> Result<Signal, SpecError> {
        Signal::parse("stop_signal", name)
    }

    /// Reads `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `SIGRTMINPLUS3`, `SIGRTMAX-2`.
    ///
    /// # Errors
    /// Names `field` and the text.
    pub(super) fn parse(field: &str, text: &str) -> Result<Signal, SpecError> {
        let upper = text.trim().to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = match bare.parse::<i32>() {
            Ok(number) => Some(number),
            Err(_) => named(bare).or_else(|| real_time(bare)),
        };
        number
            .and_then(Signal::of)
            .ok_or_else(|| SpecError::invalid(field, format!("{text:?} is not a signal")))
    }

    fn of(number: i32) -> Option<Signal> {
        let name = match SIGNALS.iter().find(|(_, n)| *n == number) {
            Some((name, _)) => format!("SIG{name}"),
            None if number == REAL_TIME.0 => "SIGRTMIN".to_owned(),
            None if number == REAL_TIME.1 => "SIGRTMAX".to_owned(),
            None if number > REAL_TIME.0 && number < REAL_TIME.1 => {
                format!("SIGRTMIN+{}", number - REAL_TIME.0)
            }
            None => return None,
        };
        Some(Signal { name, number })
    }

    /// The name, as in `SIGTERM` or `SIGRTMIN+3`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's number.
    pub fn number(&self) -> i32 {
        self.number
    }
}

fn named(bare: &str) -> Option<i32> {
    let name = ALIASES
        .iter()
        .find(|(alias, _)| *alias == bare)
        .map_or(bare, |(_, name)| name);
    SIGNALS
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, number)| *number)
}

fn real_time(bare: &str) -> Option<i32> {
    let offset = |rest: &str, marks: [&str; 2]| {
        if rest.is_empty() {
            return Some(0);
        }
        let digits = marks.iter().find_map(|mark| rest.strip_prefix(mark))?;
        digits.parse::<i32>().ok().filter(|n| (0..=30).contains(n))
    };
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        return Some(REAL_TIME.0 + offset(rest, ["+", "PLUS"])?);
    }
    let rest = bare.strip_prefix("RTMAX")?;
    Some(REAL_TIME.1 - offset(rest, ["-", "MINUS"])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_in_every_form_people_write() {
        let rows = [
            ("SIGTERM", "SIGTERM", 15),
            ("term", "SIGTERM", 15),
            ("9", "SIGKILL", 9),
            ("SIGPOLL", "SIGIO", 29),
            ("SIGRTMIN+3", "SIGRTMIN+3", 37),
            ("SIGRTMINPLUS3", "SIGRTMIN+3", 37),
            ("RTMAX-30", "SIGRTMIN", 34),
            ("SIGRTMAXMINUS1", "SIGRTMIN+29", 63),
            ("64", "SIGRTMAX", 64),
        ];

        for (text, name, number) in rows {
            let signal = Signal::parse("f", text).unwrap();
            assert_eq!((signal.name(), signal.number()), (name, number), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused_by_field_and_text() {
        for text in [
            "",
            "0",
            "-1",
            "32",
            "33",
            "65",
            "SIG",
            "SIGRTMIN+31",
            "RTMIN-1",
            "NOPE",
        ] {
            let error = Signal::parse("stop_signal", text).unwrap_err();
            assert_eq!(error.to_string(), format!("stop_signal {text:?} is not a signal"));
        }
    }
}
