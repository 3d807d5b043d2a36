//! Hand-off of acceptor work between tasks that wait in an accept and the acceptor thread.
//!
//! A task that waits in an accept does the work in its own poll, which saves two switches to
//! other threads. But there may be no such task, or it may not be polled. So the thread checks
//! that the work is done within [`HANDOFF_TIMEOUT`]. If it is not, the thread does it, and
//! continues to do so until an accept is polled again. The thread sleeps while there is no
//! work.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::Duration;

use crate::net::Notifier;

/// The time for which the thread leaves work to tasks.
const HANDOFF_TIMEOUT: Duration = Duration::from_millis(2);

/// Calls those who work, and lets only one of them do so at a time.
#[derive(Debug, Default)]
pub(crate) struct AcceptSignal {
    /// The pending work, as the bits below; 0 is none.
    state: AtomicU8,
    /// The number of times that work was begun, modulo 2^32.
    epoch: AtomicU32,
    /// The thread was the last to work, and goes on.
    owned_by_thread: AtomicBool,
    /// The thread sleeps until it is called, or is about to.
    is_asleep: AtomicBool,
    thread_and_notifier: OnceLock<(Thread, Notifier)>,
}

/// It was rung, and who was called has not come yet.
const NOTIFIED: u8 = 1;
/// The last worker stopped before all was done, and may not have signalled that.
const UNFINISHED: u8 = 2;
/// The thread is to come at once.
const THREAD: u8 = 4;
/// Somebody works.
const BUSY: u8 = 8;

impl AcceptSignal {
    /// Says that this is the thread, and how others are called.
    pub(crate) fn attach_thread(&self, notifier: Notifier) {
        // It starts once.
        let _ = self.thread_and_notifier.set((thread::current(), notifier));
    }

    /// Says that there is something to do.
    pub(crate) fn notify(&self) {
        if self.state.fetch_or(NOTIFIED, SeqCst) & (NOTIFIED | BUSY) != 0 {
            // The task that was woken will come, and the current worker will look again.
            return;
        }
        let Some((_, notifier)) = self.thread_and_notifier.get() else { return };
        if !self.owned_by_thread.load(SeqCst) && notifier.wake_accept() {
            self.schedule_check();
        } else {
            self.wake_thread();
        }
    }

    /// Has the thread come at once.
    pub(crate) fn wake_thread(&self) {
        self.state.fetch_or(THREAD, SeqCst);
        if let Some((thread, _)) = self.thread_and_notifier.get() {
            thread.unpark();
        }
    }

    /// Has the thread look before long whether all is done: who was called may be gone by now, or
    /// is not polled.
    fn schedule_check(&self) {
        if self.is_asleep.swap(false, SeqCst)
            && let Some((thread, _)) = self.thread_and_notifier.get()
        {
            thread.unpark();
        }
    }

    /// Begins to work. Returns false if another worker is at it, which will look again.
    pub(crate) fn try_begin_work(&self, is_thread: bool) -> bool {
        if self.state.fetch_or(BUSY | NOTIFIED, SeqCst) & BUSY != 0 {
            return false;
        }
        // The work that was signalled until now is looked at now. But the thread may have been
        // signalled for more: the end of the network.
        let retained = if is_thread { BUSY } else { BUSY | THREAD };
        self.state.fetch_and(retained, SeqCst);
        self.owned_by_thread.store(is_thread, SeqCst);
        self.epoch.fetch_add(1, SeqCst);
        true
    }

    /// Ends to work, and says whether it was rung for meanwhile; then one has to begin again.
    ///
    /// If something is `left` it is for others who wait in an accept, or for the next one.
    pub(crate) fn end_work(&self, is_unfinished: bool) -> bool {
        if is_unfinished {
            self.state.fetch_or(UNFINISHED, SeqCst);
        }
        let notified = self.state.fetch_and(!BUSY, SeqCst) & NOTIFIED != 0;
        if is_unfinished && let Some((_, notifier)) = self.thread_and_notifier.get() {
            notifier.wake_accept();
        }
        if is_unfinished || notified {
            self.schedule_check();
        }
        notified
    }

    /// Waits until there is something to do for the thread, which is this one.
    pub(crate) fn wait_for_work(&self) {
        loop {
            let epoch = self.epoch.load(SeqCst);
            if self.state.load(SeqCst) & THREAD == 0 {
                thread::park_timeout(HANDOFF_TIMEOUT);
            }
            match self.state.load(SeqCst) {
                state if state & THREAD != 0 => return,
                // The others are at it.
                _ if self.epoch.load(SeqCst) != epoch => {}
                0 => self.sleep(),
                state if state & BUSY != 0 => {}
                _ => return,
            }
        }
    }

    /// Sleeps until there is work.
    fn sleep(&self) {
        self.is_asleep.store(true, SeqCst);
        if self.state.load(SeqCst) == 0 {
            thread::park();
        }
        self.is_asleep.store(false, SeqCst);
    }
}

impl Wake for AcceptSignal {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}
