//! The reduced, sandbox-free container model: types, service traits and the error every layer speaks.
