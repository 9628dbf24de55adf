//! The registers of QEMU's `virt` machine: serial port, interrupts, the switch that ends it; and its boot arguments.
//! Called by the board's other parts. Addresses are those of `hw/riscv/virt.c`, which guests may rely on.
#![allow(unsafe_code, reason = "registers are memory at fixed addresses of this one machine")]

use core::fmt::{self, Write};
use core::ptr;

use crate::tree;

const UART: *mut u8 = 0x1000_0000 as *mut u8;
const TEST_DEVICE: *mut u32 = 0x0010_0000 as *mut u32;
const PLIC: usize = 0x0C00_0000;
/// Interrupt enable bits of hart 0 in machine mode, its threshold, and claim and completion.
const PLIC_ENABLE: *mut u32 = (PLIC + 0x2000) as *mut u32;
const PLIC_THRESHOLD: *mut u32 = (PLIC + 0x20_0000) as *mut u32;
const PLIC_CLAIM: *mut u32 = (PLIC + 0x20_0004) as *mut u32;
/// Core local interruptor: the timer's comparison of hart 0, and the time.
const MTIMECMP: *mut u32 = 0x0200_4000 as *mut u32;
const MTIME: *mut u32 = 0x0200_BFF8 as *mut u32;

/// How the machine ends.
pub(super) enum Exit {
    Success,
    /// With this status of QEMU.
    Failure(u16),
}

/// Ends QEMU.
pub(super) fn exit(how: Exit) -> ! {
    let word = match how {
        Exit::Success => 0x5555,
        Exit::Failure(status) => u32::from(status) << 16 | 0x3333,
    };
    // SAFETY: the test device takes any word at any time.
    unsafe { ptr::write_volatile(TEST_DEVICE, word) };
    loop {
        core::hint::spin_loop();
    }
}

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: the transmitter's register; QEMU takes bytes as fast as they come.
            unsafe { ptr::write_volatile(UART, byte) };
        }
        Ok(())
    }
}

/// To the serial port.
pub(super) fn print(text: fmt::Arguments<'_>) {
    // It cannot fail: `write_str` does not.
    let _always_ok = Serial.write_fmt(text);
}

/// What QEMU was given as `-append`; `None` without a device tree, or with no arguments in it.
pub(super) fn boot_arguments(device_tree: usize) -> Option<&'static str> {
    if device_tree == 0 {
        return None;
    }
    let start = device_tree as *const u8;
    // SAFETY: the reset code passes the address of the tree that QEMU made, which is longer than its header; it lies behind the
    // memory that this image uses, and nothing writes there.
    let header = unsafe { core::slice::from_raw_parts(start, 8) };
    let length = tree::length(header)?;
    // SAFETY: as above; this is what the tree says of its length.
    tree::boot_arguments(unsafe { core::slice::from_raw_parts(start, length) })
}

/// The time in ticks of 10 MHz.
pub(super) fn time() -> u64 {
    loop {
        // SAFETY: both halves can be read at any time; a carry between them is noticed.
        let (high, low, again) = unsafe {
            (ptr::read_volatile(MTIME.add(1)), ptr::read_volatile(MTIME), ptr::read_volatile(MTIME.add(1)))
        };
        if high == again {
            return u64::from(high) << 32 | u64::from(low);
        }
    }
}

/// The timer's interrupt comes at this time, or at once when it has passed.
pub(super) fn set_alarm(at: u64) {
    let [a, b, c, d, e, f, g, h] = at.to_be_bytes();
    let (high, low) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    // SAFETY: its own registers; the low half is out of reach while the high one changes, so that no alarm comes early.
    unsafe {
        ptr::write_volatile(MTIMECMP, u32::MAX);
        ptr::write_volatile(MTIMECMP.add(1), high);
        ptr::write_volatile(MTIMECMP, low);
    }
}

/// Lets the timer interrupt.
pub(super) fn enable_timer() {
    // SAFETY: its handler is `clock`'s, which is ready from the start.
    unsafe {
        riscv::register::mie::set_mtimer();
        riscv::interrupt::enable();
    }
}

/// Lets one device interrupt.
pub(super) fn enable_interrupt(number: u32) {
    let priority = (PLIC + 4 * number as usize) as *mut u32;
    // SAFETY: the interrupt controller's registers of this source and hart; before interrupts are on.
    unsafe {
        ptr::write_volatile(priority, 1);
        ptr::write_volatile(PLIC_ENABLE, 1 << number);
        ptr::write_volatile(PLIC_THRESHOLD, 0);
        riscv::register::mie::set_mext();
    }
}

/// Takes the interrupt that is pending, has it handled and gives it back.
pub(super) fn serve_interrupt(handle: impl FnOnce()) {
    // SAFETY: claim and completion, called by the one handler there is.
    unsafe {
        let number = ptr::read_volatile(PLIC_CLAIM);
        handle();
        ptr::write_volatile(PLIC_CLAIM, number);
    }
}
