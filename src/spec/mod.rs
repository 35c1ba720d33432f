//! Pure translation of a container configuration into an OCI runtime specification.
