//! The device on QEMU's `virt` machine: the firmware of the chips but for their radio and sensor, under a real network stack.
//! `qemu-system-riscv32 -M virt -kernel ... -append "broker=10.0.2.2:1883 client_id=attic"`. Its sensor is simulated.
//!
//! Its exit status is 0 when it has done as many readings as configured, and 2 for a configuration that cannot be used.
#![cfg_attr(target_arch = "riscv32", no_std, no_main)]

#[cfg(target_arch = "riscv32")]
mod board;
#[cfg(any(target_arch = "riscv32", test))]
mod tree;

/// On any other machine there is nothing that could run.
#[cfg(not(target_arch = "riscv32"))]
fn main() {
    eprintln!("this is firmware: build it for riscv32imac-unknown-none-elf, see the README");
}
