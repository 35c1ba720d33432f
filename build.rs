//! Generates types, clients and servers from `proto/`: CRI and our admin service, with the descriptors that reflection
//! answers from and the tests compare.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    tonic_prost_build::configure()
        // Labels and annotations go out in the order of their keys: the same list is the same bytes.
        .btree_map(".")
        .file_descriptor_set_path(out.join("cri-v1.bin"))
        .compile_protos(&["proto/runtime/v1/api.proto"], &["proto"])?;
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("admin-v1.bin"))
        .compile_protos(&["proto/coracle/admin/v1/admin.proto"], &["proto"])?;
    Ok(())
}
