//! The adapter over the fake.
