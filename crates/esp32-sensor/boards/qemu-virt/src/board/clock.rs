//! Time: embassy's driver over the machine's timer, in microseconds since the start.
//! Used by everything that waits. Its interrupt wakes the executor and does nothing else.

use core::cell::RefCell;
use core::task::Waker;

use critical_section::Mutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use super::machine;

/// The machine counts at 10 MHz.
const TICKS_PER_US: u64 = 10;

struct Clock {
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static CLOCK: Clock = Clock { queue: Mutex::new(RefCell::new(Queue::new())) });

impl Clock {
    /// Wakes what is due, and sets the alarm for what is next.
    fn turn(&self) {
        critical_section::with(|cs| {
            let next = self.queue.borrow_ref_mut(cs).next_expiration(self.now());
            machine::set_alarm(next.saturating_mul(TICKS_PER_US));
        });
    }
}

impl Driver for Clock {
    fn now(&self) -> u64 {
        machine::time() / TICKS_PER_US
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        let is_first = critical_section::with(|cs| self.queue.borrow_ref_mut(cs).schedule_wake(at, waker));
        if is_first {
            self.turn();
        }
    }
}

/// Before anything waits.
pub(super) fn start() {
    machine::set_alarm(u64::MAX);
    machine::enable_timer();
}

#[riscv_rt::core_interrupt(riscv::interrupt::Interrupt::MachineTimer)]
fn timer() {
    CLOCK.turn();
}
