//! Planted faults: places where the product does wrong on purpose, to show that a test notices.
//!
//! Compiled in with the feature `planted` alone; without it [`planted`] is `false` and nothing is left. The list, with the
//! test that each must fail, is `e2e/planted/faults.tsv`.

/// Whether the fault of this name is switched on, by the environment variable `CORACLE_PLANTED`.
#[inline(always)]
pub fn planted(name: &'static str) -> bool {
    #[cfg(feature = "planted")]
    return driven::planted(name);
    #[cfg(not(feature = "planted"))]
    {
        let _ = name;
        false
    }
}

#[cfg(feature = "planted")]
mod driven {
    use std::sync::OnceLock;

    /// Read once: forks inherit the answer, and the last stage asks after the environment is gone.
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();

    pub(super) fn planted(name: &'static str) -> bool {
        let wanted = PLANTED.get_or_init(|| std::env::var("CORACLE_PLANTED").ok());
        wanted.as_deref() == Some(name)
    }
}
