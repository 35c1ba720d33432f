//! Generates types, clients and servers from `proto/`: CRI and our admin service, with the descriptors that reflection
//! answers from and the tests compare. Has a release's functions placed as they are used.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, error::Error};

/// Answers that hold one list, field 1, whose items are kept as they are sent (`wire/encoded.rs`).
const ENCODED: [&str; 4] = [
    "ListContainersResponse",
    "StreamContainersResponse",
    "ListPodSandboxResponse",
    "StreamPodSandboxesResponse",
];

/// Which functions run on a node, in the order in which they are to lie: `hack/functions.sh` writes it.
const FUNCTIONS: &str = "hack/functions.txt";

fn main() -> Result<(), Box<dyn Error>> {
    // Of nothing else: without these, a change of the documents would have all be built anew.
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed={FUNCTIONS}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let cri = ENCODED
        .iter()
        .fold(tonic_prost_build::configure(), |cri, answer| {
            cri.extern_path(format!(".runtime.v1.{answer}"), "crate::cri::wire::Encoded")
        });
    // Labels and annotations go out in the order of their keys: the same list is the same bytes.
    cri.btree_map(".")
        .file_descriptor_set_path(out.join("cri-v1.bin"))
        .compile_protos(&["proto/runtime/v1/api.proto"], &["proto"])?;
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("admin-v1.bin"))
        .compile_protos(&["proto/coracle/admin/v1/admin.proto"], &["proto"])?;
    if env::var("PROFILE")? == "release" && linked_by_lld()? {
        let list = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join(FUNCTIONS);
        // Names that are gone are no errors: the list is older than the program.
        let option = format!("--symbol-ordering-file={}", list.display());
        for argument in ["-Xlinker", "--no-warn-symbol-ordering", "-Xlinker", &option] {
            println!("cargo::rustc-link-arg-bin=coracle={argument}");
        }
    }
    Ok(())
}

/// Whether the linker is the one that rustup's compilers bring along and use for this target, unless told otherwise. No
/// other takes the list as it is.
fn linked_by_lld() -> Result<bool, Box<dyn Error>> {
    let told = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let otherwise = env::var_os("RUSTC_LINKER").is_some() || told.contains("link");
    if otherwise || env::var("TARGET")? != "x86_64-unknown-linux-gnu" {
        return Ok(false);
    }
    let asked = Command::new(env::var("RUSTC")?)
        .args(["--print", "sysroot"])
        .output()?;
    let sysroot = PathBuf::from(String::from_utf8(asked.stdout)?.trim());
    Ok(sysroot
        .join("lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld/ld.lld")
        .exists())
}
