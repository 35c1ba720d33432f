//! Progress bars on standard error; nothing at all when that is not a terminal.

use std::collections::HashMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::short;
use crate::app::admin::wire;

/// A bar for each layer that is not in the store yet.
pub(super) struct Bars {
    all: MultiProgress,
    layers: HashMap<String, ProgressBar>,
    style: ProgressStyle,
}

impl Bars {
    pub(super) fn new() -> Bars {
        let style = ProgressStyle::with_template(
            "{prefix}  [{bar:30}]  {binary_bytes:>11} of {binary_total_bytes:<11} {msg}",
        )
        .expect("the template is a constant")
        .progress_chars("=> ");
        Bars {
            all: MultiProgress::new(),
            layers: HashMap::new(),
            style,
        }
    }

    /// Brings the bars up to date.
    pub(super) fn show(&mut self, layers: &[wire::Layer]) {
        for layer in layers {
            let known = self.layers.get(&layer.digest);
            if known.is_none() && layer.done {
                continue;
            }
            let bar = match known {
                Some(bar) => bar.clone(),
                None => self.add(layer),
            };
            bar.set_position(layer.received);
            if layer.done && !bar.is_finished() {
                bar.finish_with_message("done");
            } else if !layer.done && layer.received == layer.total && layer.total > 0 {
                bar.set_message("unpacking");
            }
        }
    }

    fn add(&mut self, layer: &wire::Layer) -> ProgressBar {
        let bar = ProgressBar::new(layer.total)
            .with_style(self.style.clone())
            .with_prefix(short(&layer.digest).to_owned());
        let bar = self.all.add(bar);
        self.layers.insert(layer.digest.clone(), bar.clone());
        bar
    }

    /// Takes the bars off the screen.
    pub(super) fn clear(&self) {
        // A terminal that has gone needs no clearing.
        let _ = self.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(digest: &str, received: u64, done: bool) -> wire::Layer {
        wire::Layer {
            digest: format!("sha256:{digest}"),
            total: 100,
            received,
            done,
        }
    }

    #[test]
    fn layers_in_the_store_have_no_bar_and_others_follow_the_pull() {
        let mut bars = Bars::new();

        bars.show(&[layer("a", 0, true), layer("b", 10, false), layer("c", 0, false)]);
        bars.show(&[layer("a", 0, true), layer("b", 100, false), layer("c", 100, true)]);

        assert!(!bars.layers.contains_key("sha256:a"));
        let (b, c) = (&bars.layers["sha256:b"], &bars.layers["sha256:c"]);
        assert_eq!(
            (b.position(), b.message(), b.is_finished()),
            (100, "unpacking".into(), false)
        );
        assert_eq!(
            (c.position(), c.message(), c.is_finished()),
            (100, "done".into(), true)
        );
    }
}
