//! Compiles the services of `proto/` with a compiler that is a Rust library: no `protoc` is needed.

use std::error::Error;
use std::path::{Path, PathBuf};

use tonic_prost_build::Config;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    // What others say to each other is passed on as it is: only their services are made, over bytes.
    for name in ["cluster", "node", "raft", "session"] {
        let opaque = tonic_prost_build::configure()
            .extern_path(format!(".quelea.{name}.v1"), "crate::opaque")
            .codec_path("crate::opaque::Opaque");
        compile(opaque, &folder, &format!("{name}.proto"))?;
    }
    compile(tonic_prost_build::configure(), &folder, "routing.proto")
}

fn compile(builder: tonic_prost_build::Builder, folder: &PathBuf, file: &str) -> Result<(), Box<dyn Error>> {
    let file = folder.join(file);
    println!("cargo::rerun-if-changed={}", file.display());
    let descriptors = protox::compile([&file], [folder])?;
    let mut config = Config::new();
    config.bytes(["."]);
    builder.build_transport(false).compile_fds_with_config(descriptors, config)?;
    Ok(())
}
