//! Tests of `conflist`.
