//! Tests of `attach`.
