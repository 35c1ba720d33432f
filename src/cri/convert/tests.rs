//! Tables over conversion.
