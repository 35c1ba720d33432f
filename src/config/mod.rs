//! Settings: TOML files merged over built-in defaults.
