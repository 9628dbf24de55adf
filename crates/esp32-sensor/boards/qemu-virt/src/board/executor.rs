//! Runs the board's one future: polled when something has happened, asleep otherwise.
//! Called once, by `main`. It has no tasks and no queue: whatever wakes it has the whole future polled.
#![allow(unsafe_code, reason = "a waker without an allocator is made of functions")]

use core::future::Future;
use core::pin::pin;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// Something has happened since the last poll.
static WOKEN: AtomicBool = AtomicBool::new(true);

static FUNCTIONS: RawWakerVTable =
    RawWakerVTable::new(|_| RawWaker::new(ptr::null(), &FUNCTIONS), |_| wake(), |_| wake(), |_| {});

/// Has the future polled again; also called by interrupts.
pub(super) fn wake() {
    WOKEN.store(true, Ordering::Release);
}

/// Runs it to its end.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    // SAFETY: its functions take no notice of the pointer.
    let waker = unsafe { Waker::from_raw(RawWaker::new(ptr::null(), &FUNCTIONS)) };
    let mut context = Context::from_waker(&waker);
    loop {
        if WOKEN.swap(false, Ordering::Acquire)
            && let Poll::Ready(output) = future.as_mut().poll(&mut context)
        {
            return output;
        }
        // With interrupts off, one that comes after the look ends the sleep all the same, and is served behind it.
        critical_section::with(|_| {
            if !WOKEN.load(Ordering::Acquire) {
                riscv::asm::wfi();
            }
        });
    }
}
