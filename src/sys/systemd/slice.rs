//! Names of slices and the paths that they mean, systemd.slice(5): `a-b.slice` lies in `a.slice`.

const SLICE: &str = ".slice";

/// The path of a slice, by its name. What is no such name comes back as it is.
pub fn expand(name: &str) -> String {
    let Some(stem) = name.strip_suffix(SLICE).filter(|stem| !stem.contains('/')) else {
        return name.to_owned();
    };
    let mut path = String::new();
    for (at, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
        path.push('/');
        path.push_str(&stem[..at]);
        path.push_str(SLICE);
    }
    path
}

/// The slice that a group's parent names: by its name alone, with a `/` before it, or by its whole path.
pub fn slice_of(parent: &str) -> Option<&str> {
    let name = parent.rsplit('/').next()?;
    let stem = name.strip_suffix(SLICE)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\".contains(c);
    let is_name =
        name.len() <= 255 && stem.chars().all(plain) && stem.split('-').all(|part| !part.is_empty());
    let before = &parent[..parent.len() - name.len()];
    let is_place = matches!(before, "" | "/") || parent == expand(name);
    (is_name && is_place).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_becomes_the_path_that_systemd_gives_it() {
        let check = |given: &str, expected: &str| assert_eq!(expand(given), expected);

        check("", "");
        check("/one/two/three", "/one/two/three");
        check("one.slice", "/one.slice");
        check(
            "one-two-three1_2.slice",
            "/one.slice/one-two.slice/one-two-three1_2.slice",
        );
        check("/a/b.slice", "/a/b.slice");
    }

    #[test]
    fn a_slice_is_named_alone_or_by_its_whole_path() {
        let check = |given: &str, expected: Option<&str>| assert_eq!(slice_of(given), expected, "{given}");

        check("a-b.slice", Some("a-b.slice"));
        check("/test.slice", Some("test.slice"));
        check("/a.slice/a-b.slice", Some("a-b.slice"));
        for other in [
            "",
            "/",
            "/a/b",
            ".slice",
            "-.slice",
            "a-.slice",
            "-a.slice",
            "a--b.slice",
            "a b.slice",
            "/b.slice/a.slice",
            "/a.slice/b",
            "a.slice/",
        ] {
            check(other, None);
        }
    }
}
