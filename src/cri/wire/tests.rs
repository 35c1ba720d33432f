//! Holds the wire to its contract.
