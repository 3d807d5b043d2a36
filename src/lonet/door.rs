//! How a thread sleeps until somebody knocks, or one of its tasks can go on.
//!
//! Knows a listening socket and a bell, and nothing of who comes. The system wakes this thread
//! itself when somebody connects: by way of the reactor, which is of the whole process, that would
//! take two turns, in two threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Token};

const LISTENER: Token = Token(0);
const BELL: Token = Token(1);

/// What there is to wait for.
#[derive(Debug)]
pub(crate) struct Door {
    poll: mio::Poll,
}

impl Door {
    pub(crate) fn of(listener: &mut TcpListener) -> io::Result<(Self, Arc<Bell>)> {
        let poll = mio::Poll::new()?;
        poll.registry().register(listener, LISTENER, Interest::READABLE)?;
        let waker = mio::Waker::new(poll.registry(), BELL)?;
        Ok((Self { poll }, Arc::new(Bell { waker, state: AtomicU8::new(AWAKE) })))
    }

    /// Works until there is nothing more to do, and sleeps whenever there is nothing to do yet.
    ///
    /// `work` is told whether somebody has knocked, and says when all have been let in.
    ///
    /// # Errors
    ///
    /// If the system cannot wait.
    pub(crate) fn wait(
        mut self,
        bell: &Arc<Bell>,
        mut work: impl FnMut(&mut bool, &mut Context<'_>) -> Poll<()>,
    ) -> io::Result<()> {
        let waker = Waker::from(bell.clone());
        let (mut events, mut knocked) = (Events::with_capacity(4), true);
        while work(&mut knocked, &mut Context::from_waker(&waker)).is_pending() {
            let limit = if bell.lie_down() { None } else { Some(Duration::ZERO) };
            match self.poll.poll(&mut events, limit) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            bell.get_up();
            knocked |= events.iter().any(|event| event.token() == LISTENER);
        }
        Ok(())
    }
}

/// Wakes the thread, if it sleeps.
#[derive(Debug)]
pub(crate) struct Bell {
    waker: mio::Waker,
    state: AtomicU8,
}

/// It works, and will look again if the bell rings meanwhile.
const AWAKE: u8 = 0;
/// The bell rang while it worked.
const RUNG: u8 = 1;
/// It sleeps, or is about to.
const ASLEEP: u8 = 2;

impl Bell {
    pub(crate) fn ring(&self) {
        if self.state.swap(RUNG, Ordering::SeqCst) == ASLEEP {
            // It fails only where there is nobody to be woken.
            let _ = self.waker.wake();
        }
    }

    /// Says whether it may sleep.
    fn lie_down(&self) -> bool {
        let order = Ordering::SeqCst;
        self.state.compare_exchange(AWAKE, ASLEEP, order, order).is_ok()
    }

    /// What rings from here on is for the next time: all that rang before is looked at now.
    fn get_up(&self) {
        self.state.swap(AWAKE, Ordering::SeqCst);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
