//! Tables over the whole translation.
