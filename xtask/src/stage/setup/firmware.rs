//! What the sensor's firmware is built and run with: Debian's own Rust, whose source is packaged too, a linker, an emulator and
//! a dissector of packets. Called by the setup. Never touches rustup's toolchains.

use anyhow::Result;

use super::debian::{self, Tool};
use crate::gate::Gate;
use crate::report::Outcome;

/// By full path what rustup has under the same name. Apart from the other packages: not every Debian has these, and one that
/// is unknown would keep all of them from being installed.
const TOOLS: &[Tool] = &[
    Tool { program: "/usr/bin/rustc", package: "rustc-web" },
    Tool { program: "/usr/bin/cargo", package: "cargo-web" },
    // Packages of the source have no program.
    Tool { program: "/usr/lib/rustlib/src/rust/library/core/Cargo.toml", package: "rust-web-src" },
    Tool { program: "ld.lld-22", package: "lld-22" },
    Tool { program: "qemu-system-riscv32", package: "qemu-system-misc" },
    Tool { program: "tshark", package: "tshark" },
];

pub(super) fn check(gate: &Gate, outcome: &mut Outcome) -> Result<()> {
    debian::check_all(gate, TOOLS, debian::missing(gate, TOOLS), outcome)
}
