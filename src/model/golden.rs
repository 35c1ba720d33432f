//! Golden files of the JSON.
