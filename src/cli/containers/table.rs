//! Tables for people: columns as wide as their widest entry, two blanks between them. And the few figures in them.

use std::time::Duration;

use clap::ValueEnum;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// The API's own.
    Json,
}

/// Lays out rows, the first one the head.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths);
        let line: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// An id as far as people read it.
pub(super) fn short(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}

/// How long ago something was, in its largest unit.
pub(super) fn ago(nanoseconds: i64, now: i64) -> String {
    let seconds = Duration::from_nanos(u64::try_from(now - nanoseconds).unwrap_or(0)).as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_entry() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];

        let text = table(&[row("NAME", "STATE"), row("a", "up"), row("longer", "")]);

        assert_eq!(text, "NAME    STATE\na       up\nlonger\n");
    }

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let second = 1_000_000_000;
        for (seconds, expected) in [
            (0, "0 seconds ago"),
            (1, "1 second ago"),
            (119, "1 minute ago"),
            (7200, "2 hours ago"),
            (200_000, "2 days ago"),
            (-5, "0 seconds ago"),
        ] {
            assert_eq!(ago(0, seconds * second), expected);
        }
    }
}
