//! Lists of processors and memory nodes, as `0-2,4`: cpuset(7), "List format".

/// The ranges of a list, first and last of each, in its order; none in the place of what is no range.
pub fn ranges(list: &str) -> impl Iterator<Item = Option<(u32, u32)>> {
    let parts = list.trim().split(',').filter(|part| !part.is_empty());
    parts.map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some((first, last))
    })
}

/// Tells whether two lists have the same numbers in them.
pub(super) fn same(one: &str, other: &str) -> bool {
    merged(one) == merged(other)
}

/// The ranges in order, those that touch as one.
fn merged(list: &str) -> Vec<(u32, u32)> {
    let mut ranges: Vec<_> = ranges(list).flatten().collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u32, u32)> = vec![];
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_ranges_of_numbers() {
        let check = |list: &str, expected: &[Option<(u32, u32)>]| {
            assert_eq!(ranges(list).collect::<Vec<_>>(), expected, "{list}");
        };

        check("0-2, 9\n", &[Some((0, 2)), Some((9, 9))]);
        check("", &[]);
        check("1,,2", &[Some((1, 1)), Some((2, 2))]);
        check("1, ,2", &[Some((1, 1)), None, Some((2, 2))]);
        for odd in ["2-1", "a", "1-", "0-1-2"] {
            check(odd, &[None]);
        }
    }

    #[test]
    fn lists_are_the_same_by_their_numbers() {
        assert!(same("0,1,2", "0-2"));
        assert!(same("4,0-4294967295", "0-4294967295"));
        assert!(!same("0,1", "0"));
        assert!(!same("0,2", "0-2"));
    }
}
