//! Who the first process is.

use super::Fixture;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken:x\nwww:x:33:34::/var/www:/bin/false\n\
    default-user:x:1000:1000::/home/u:/bin/sh\n1234:x:77:78::relative:\n";
const GROUP: &str =
    "root:x:0:\nwheel:x:10:root\nwww:x:34:\nstaff:x:50:www,root\ngroup-in-image:x:50000:default-user\n";

/// Compares uid, gid, groups and home.
fn check(security: &str, image_user: &str, expected: (u32, u32, &[u32], &str)) {
    let mut f = fixture(security, image_user);
    f.config.log_path = "l".to_owned();

    let out = f.output();

    let process = &out.process;
    let home = String::from_utf8_lossy(process.env.iter().find(|e| e.starts_with(b"HOME=")).unwrap());
    assert_eq!(
        (process.uid, process.gid, process.groups.as_slice(), &home[5..]),
        expected,
        "{security} {image_user}"
    );
    assert_eq!(out.user.supplemental_groups, process.groups);
    assert_eq!((out.user.uid, out.user.gid), (process.uid, process.gid));
}

fn fixture(security: &str, image_user: &str) -> Fixture {
    let image = format!(r#"{{"User":"{image_user}","Cmd":["x"]}}"#);
    let mut f = Fixture::new(&format!(r#"{{"linux":{{"security":{{{security}}}}}}}"#)).image(&image);
    (f.passwd, f.group) = (PASSWD, GROUP);
    f
}

#[test]
fn the_image_names_the_user_in_each_form() {
    check("", "", (0, 0, &[0, 10, 50], "/root"));
    check("", "root", (0, 0, &[0, 10, 50], "/root"));
    check("", "www", (33, 34, &[34, 50], "/var/www"));
    check("", "33", (33, 34, &[34, 50], "/var/www"));
    check("", "www:staff", (33, 50, &[50], "/var/www"));
    check("", "www:7", (33, 7, &[7, 50], "/var/www"));
    check("", "9999", (9999, 0, &[0], "/"));
    check("", "9999:9998", (9999, 9998, &[9998], "/"));
    check("", "www:", (33, 34, &[34, 50], "/var/www"));
    check("", ":staff", (0, 50, &[50, 10], "/root"));
    // A name of digits is a name.
    check("", "1234", (77, 78, &[78], "/"));
}

#[test]
fn the_configuration_goes_before_the_image() {
    check(
        r#""user":{"id":33}"#,
        "9999:9998",
        (33, 34, &[34, 50], "/var/www"),
    );
    check(r#""user":{"id":1001}"#, "", (1001, 0, &[0], "/"));
    check(
        r#""user":{"id":1001},"group":1002"#,
        "",
        (1001, 1002, &[1002], "/"),
    );
    check(r#""user":{"name":"www"}"#, "", (33, 34, &[34, 50], "/var/www"));
    check(
        r#""user":{"name":"www"},"group":9"#,
        "",
        (33, 9, &[9, 50], "/var/www"),
    );
}

#[test]
fn groups_of_the_image_are_merged_unless_the_policy_is_strict() {
    let asked = r#""user":{"id":1000},"supplementalGroups":[1234,1000]"#;
    check(asked, "", (1000, 1000, &[1000, 1234, 50000], "/home/u"));
    let strict = format!(r#"{asked},"supplementalGroupsPolicy":"strict""#);
    check(&strict, "", (1000, 1000, &[1000, 1234], "/home/u"));
}

#[test]
fn a_user_that_cannot_be_had_is_refused_by_name() {
    let rows = [
        (
            r#""group":5"#,
            "www",
            "linux.security.group is set without a user",
        ),
        (
            r#""user":{"name":"nobody"}"#,
            "",
            r#"user "nobody" is not in the image's /etc/passwd"#,
        ),
        (
            r#""user":{"name":""}"#,
            "",
            "linux.security.user has an empty name",
        ),
        ("", "nobody", r#"user "nobody" is not in the image's /etc/passwd"#),
        (
            "",
            "www:nogroup",
            r#"group "nogroup" is not in the image's /etc/group"#,
        ),
        ("", "-1", r#"user "-1" is not in the image's /etc/passwd"#),
        // setresuid reads it as "no change", which would be root.
        ("", "4294967295", "linux.security.user is not a user number"),
        (
            r#""user":{"id":4294967295}"#,
            "",
            "linux.security.user is not a user number",
        ),
        (
            r#""supplementalGroups":[4294967295]"#,
            "",
            "linux.security.supplemental_groups or group is not a group number",
        ),
    ];
    for (security, image_user, expected) in rows {
        assert_eq!(
            fixture(security, image_user).refused(),
            expected,
            "{security} {image_user}"
        );
    }
}
