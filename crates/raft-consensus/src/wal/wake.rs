//! How the log's workers hear that there is something to do: a thread that blocks, or a task that awaits. One worker
//! for each `Wake`. It carries no data and loses no wake-up.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// What a worker was woken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Nothing: the time was up.
    #[default]
    None,
    /// Something that can wait until the log goes quiet.
    Later,
    /// Something that somebody waits for.
    Now,
    /// The worker is to finish.
    Stop,
}

#[derive(Debug, Default)]
pub(crate) struct Wake {
    call: Mutex<Call>,
    thread: Condvar,
    task: Notify,
}

impl Wake {
    /// Wakes the worker. Calls that were not taken yet add up to the most pressing; a stop stays.
    pub(crate) fn call(&self, call: Call) {
        {
            let mut waiting = self.call.lock();
            if *waiting >= call {
                return;
            }
            *waiting = call;
        }
        self.thread.notify_one();
        self.task.notify_one();
    }

    /// Waits for a call, as long as is said; for ever where nothing is said.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Call {
        let mut call = self.call.lock();
        match timeout {
            _ if *call != Call::None => {}
            None => self.thread.wait_while(&mut call, |c| *c == Call::None),
            Some(timeout) => {
                self.thread.wait_while_for(&mut call, |c| *c == Call::None, timeout);
            }
        }
        take(&mut call)
    }

    /// Lets the time pass, but for a stop. Other calls stay for later.
    pub(crate) fn pause(&self, time: Duration) {
        let mut call = self.call.lock();
        self.thread.wait_while_for(&mut call, |c| *c != Call::Stop, time);
    }

    /// Waits for a call without blocking the thread.
    pub(crate) async fn called(&self) -> Call {
        loop {
            let call = take(&mut self.call.lock());
            if call != Call::None {
                return call;
            }
            self.task.notified().await;
        }
    }
}

fn take(call: &mut Call) -> Call {
    match *call {
        Call::Stop => Call::Stop,
        _ => std::mem::take(call),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_pressing_call_is_taken_once_and_a_stop_stays() {
        let wake = Wake::default();
        wake.call(Call::Now);
        wake.call(Call::Later);
        assert_eq!(wake.wait(None), Call::Now);
        assert_eq!(wake.wait(Some(Duration::ZERO)), Call::None);
        wake.call(Call::Stop);
        wake.call(Call::Now);
        assert_eq!((wake.wait(None), wake.wait(None)), (Call::Stop, Call::Stop));
    }

    #[tokio::test]
    async fn a_task_hears_a_call_made_before_it_waits() {
        let wake = Wake::default();
        wake.call(Call::Later);
        assert_eq!(wake.called().await, Call::Later);
    }
}
