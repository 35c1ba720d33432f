//! Security contexts and their levels, as texts.

use std::fmt;
use std::str::FromStr;

/// The kernel takes a page for a whole label.
const LONGEST: usize = 2048;

/// A security context, `user:role:type` or `user:role:type:level`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// SELinux's user, not the system's.
    pub user: String,
    /// Role.
    pub role: String,
    /// Type, of a process also called its domain.
    pub kind: String,
    /// Level or range of levels; empty for a policy that has none.
    pub level: String,
}

/// A text is not a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoContext;

impl Context {
    /// Puts parts together; those that are empty are for [`Context::with`].
    pub fn of([user, role, kind, level]: [&str; 4]) -> Context {
        Context {
            user: user.to_owned(),
            role: role.to_owned(),
            kind: kind.to_owned(),
            level: level.to_owned(),
        }
    }

    /// This one, with the parts of another that are not empty in the place of its own.
    pub fn with(&self, asked: &Context) -> Context {
        let or = |asked: &String, own: &String| if asked.is_empty() { own } else { asked }.clone();
        Context {
            user: or(&asked.user, &self.user),
            role: or(&asked.role, &self.role),
            kind: or(&asked.kind, &self.kind),
            level: or(&asked.level, &self.level),
        }
    }
}

impl FromStr for Context {
    type Err = NoContext;

    fn from_str(text: &str) -> Result<Context, NoContext> {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let mut next = || parts.next().filter(|part| !part.is_empty());
        Ok(Context {
            user: next().ok_or(NoContext)?,
            role: next().ok_or(NoContext)?,
            kind: next().ok_or(NoContext)?,
            level: next().unwrap_or_default(),
        })
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.user, self.role, self.kind)?;
        match self.level.as_str() {
            "" => Ok(()),
            level => write!(f, ":{level}"),
        }
    }
}

/// Whether a text can be the user, the role or the type of a context. Whether the policy has it, the kernel knows.
pub fn is_part(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b':' | b',' | b'"');
    (1..=255).contains(&text.len()) && text.bytes().all(plain)
}

/// Whether a text is a level or a range of levels: `s0`, `s0:c1,c5.c9`, `s0-s15:c0.c1023`. Whether the policy has it, the
/// kernel knows.
pub fn is_level(text: &str) -> bool {
    if text.len() > LONGEST {
        return false;
    }
    let number = |text: &str, letter: char| {
        let digits = text.strip_prefix(letter).unwrap_or_default();
        (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    };
    let category = |text: &str| match text.split_once('.') {
        Some((first, last)) => number(first, 'c') && number(last, 'c'),
        None => number(text, 'c'),
    };
    let one = |text: &str| match text.split_once(':') {
        Some((sensitivity, categories)) => number(sensitivity, 's') && categories.split(',').all(category),
        None => number(text, 's'),
    };
    match text.split_once('-') {
        Some((low, high)) => one(low) && one(high),
        None => one(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_read_and_written_alike() {
        for text in [
            "u:r:t",
            "system_u:system_r:container_t:s0:c1,c2",
            "u:r:t:s0-s0:c0.c1023",
        ] {
            assert_eq!(text.parse::<Context>().unwrap().to_string(), text);
        }
        for text in ["", "u", "u:r", "u::t", ":r:t"] {
            assert_eq!(text.parse::<Context>(), Err(NoContext), "{text}");
        }
    }

    #[test]
    fn levels_are_told_from_other_texts() {
        for level in [
            "s0",
            "s15",
            "s0:c1",
            "s0:c1,c2",
            "s0-s0:c0.c1023",
            "s0:c1,c3.c5-s3:c1.c9",
        ] {
            assert!(is_level(level), "{level}");
        }
        for other in [
            "",
            "s",
            "0",
            "s0,c4,c5",
            "s0:",
            "s0:c",
            "s0:c1,",
            "s0:c1.",
            "s0-",
            "c1",
            "s0:c12345",
            "s0 ",
            "s0\n",
        ] {
            assert!(!is_level(other), "{other:?}");
        }
    }
}
