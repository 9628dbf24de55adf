//! Compiles the messages of the admin API with a compiler that is a Rust library: no `protoc` is needed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    for name in ["admin.proto", "node.proto"] {
        println!("cargo::rerun-if-changed={}", folder.join(name).display());
    }
    // First, since a file is written for what it imports too. Its service is made by the crate that carries it.
    let node = protox::compile([folder.join("node.proto")], [&folder])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_client(false)
        .extern_path(".quelea.admin.v1", "crate::admin::proto")
        .compile_fds(node)?;
    let admin = protox::compile([folder.join("admin.proto")], [&folder])?;
    // What the service of reflection tells of the API.
    fs::write(out.join("admin.descriptors"), admin.encode_to_vec())?;
    tonic_prost_build::configure().build_transport(false).compile_fds(admin)?;
    Ok(())
}
