//! The images as a table.

use std::fmt::Write;

use indicatif::BinaryBytes;

use super::short;
use crate::app::admin::wire;
use crate::cli::client::{Admin, During};
use crate::cli::{CliError, print};

pub(super) async fn list(admin: &mut Admin, quiet: bool) -> Result<(), CliError> {
    let answer = admin
        .list_images(wire::ListImagesRequest {})
        .await
        .during("list images")?;
    if quiet {
        let ids: String = answer
            .images
            .iter()
            .map(|image| format!("{}\n", image.id))
            .collect();
        return print(&ids);
    }
    print(&table(&answer.images))
}

/// A row for each name; an image without a name has one as well.
fn table(images: &[wire::Image]) -> String {
    let mut rows = vec![["NAME".to_owned(), "ID".to_owned(), "SIZE".to_owned()]];
    for image in images {
        let (id, size) = (short(&image.id).to_owned(), BinaryBytes(image.size).to_string());
        for name in names(image) {
            rows.push([name.to_owned(), id.clone(), size.clone()]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (name, id) = (width(0), width(1));
    let mut text = String::new();
    for row in &rows {
        let _ = writeln!(text, "{:<name$}  {:<id$}  {}", row[0], row[1], row[2]);
    }
    text
}

/// The names with a tag; those with a digest only if there is no other.
fn names(image: &wire::Image) -> Vec<&str> {
    let tagged: Vec<_> = image
        .names
        .iter()
        .map(String::as_str)
        .filter(|name| !name.contains('@'))
        .collect();
    match (tagged.is_empty(), image.names.first()) {
        (false, _) => tagged,
        (true, Some(name)) => vec![name],
        (true, None) => vec!["<none>"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_has_a_row_and_every_image_at_least_one() {
        let image = |names: &[&str]| wire::Image {
            id: "sha256:0123456789abcdef".into(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            size: 3 << 20,
        };

        let text = table(&[
            image(&["a.example/x:1", "a.example/x:2", "a.example/x@sha256:1"]),
            image(&["a.example/y@sha256:2"]),
            image(&[]),
        ]);

        let expected = "\
NAME                  ID            SIZE
a.example/x:1         0123456789ab  3.00 MiB
a.example/x:2         0123456789ab  3.00 MiB
a.example/y@sha256:2  0123456789ab  3.00 MiB
<none>                0123456789ab  3.00 MiB
";
        assert_eq!(text, expected);
    }
}
