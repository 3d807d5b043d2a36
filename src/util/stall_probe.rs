//! Stall probes: what a pending operation waits for, and how it is kept pending meanwhile.
//!
//! A stalled run is explained by one more poll of each of its parked tasks. During that poll no
//! operation of this crate completes: each reports what it waits for and returns
//! `AcceptResponder`, so the poll takes no program past the point at which it had stopped. An
//! operation that could complete, or that the program begins only now, is evidence that its task
//! was not woken when it should have been.
//!
//! The network describes its operations and the simulator asks for the descriptions. Neither
//! depends on the other; both depend on this file.

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::task::Poll;
use std::time::{Duration, Instant};

/// The maximum number of descriptions of one task.
const MAX_REASONS: usize = 16;
/// The maximum number of operations of one poll. A poll that tries more is in an endless loop, or
/// as good as.
const MAX_OPERATIONS: u32 = 100_000;
/// The maximum real time for the explanation of one stall.
const MAX_REAL_TIME: Duration = Duration::from_secs(2);

thread_local! {
    static EXPLAINING: Cell<bool> = const { Cell::new(false) };
    static INQUIRY: RefCell<ProbeState> = const { RefCell::new(ProbeState::new()) };
}

/// The findings of one poll so far.
struct ProbeState {
    reasons: Vec<String>,
    /// The first operation that could complete, or the first act on the world.
    progress: Option<String>,
    /// Operations that the task began in this poll and still holds, by their address. The
    /// addresses are compared with each other and reach nothing else.
    begun: Vec<(usize, String)>,
    operations: u32,
    deadline: Option<Instant>,
    stopped: bool,
}

impl ProbeState {
    const fn new() -> Self {
        Self {
            reasons: Vec::new(),
            progress: None,
            begun: Vec::new(),
            operations: 0,
            deadline: None,
            stopped: false,
        }
    }

    fn add_reason(&mut self, reason: String) {
        if self.reasons.len() < MAX_REASONS && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Counts an operation. Returns whether the poll has to be ended.
    fn count(&mut self) -> bool {
        self.operations += 1;
        let late = || self.deadline.is_some_and(|until| until <= Instant::now());
        // Reading the clock takes longer than an operation.
        self.stopped |=
            self.operations > MAX_OPERATIONS || (self.operations.is_multiple_of(64) && late());
        self.stopped
    }
}

/// Says what the caller waits for, if a stall is being explained.
///
/// Call it where an operation is about to return `Poll::Pending`. It costs one look at a
/// thread-local flag; `describe` runs only for a stall report. Describe an operation on a thing, in
/// the words of its error: `accept pipet α:1`.
///
/// ```
/// # use std::task::{Context, Poll};
/// # fn poll(cx: &mut Context<'_>) -> Poll<()> {
/// virtnet::waiting_for(|| "a permit of the semaphore `jobs`".to_string());
/// Poll::Pending
/// # }
/// ```
///
/// # Panics
///
/// A stall report ends a poll that calls this without end by unwinding it.
#[inline]
pub fn waiting_for(describe: impl FnOnce() -> String) {
    if is_probing() {
        let _: Poll<()> = report_pending(Operation::Waiting, describe);
    }
}

/// Returns whether a stall is being explained on this thread, so that no operation may complete.
#[inline]
pub(crate) fn is_probing() -> bool {
    EXPLAINING.try_with(Cell::get).unwrap_or(false)
}

/// The state of an operation that is polled while a stall is explained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    /// It was pending before and still is.
    Waiting,
    /// It could complete by what had happened before.
    Ready,
    /// It begins now.
    New,
    /// The same of one at an address, which says so with [`forget_operation`] when it is dropped:
    /// a task that makes it anew in each poll has not gone on.
    NewAt(usize),
}

/// Tells an operation from others of the same poll, for [`Operation::NewAt`].
pub(crate) fn address_of<T>(operation: &T) -> usize {
    std::ptr::from_ref(operation).addr()
}

/// Keeps an operation pending while a stall is explained, and notes what that shows.
#[cold]
pub(crate) fn report_pending<T>(
    operation: Operation,
    describe: impl FnOnce() -> String,
) -> Poll<T> {
    // Actions of the program after it has gone on say nothing about what it had waited for.
    if !has_progressed() {
        let text = describe();
        INQUIRY.with_borrow_mut(|inquiry| match operation {
            Operation::Waiting => inquiry.add_reason(text),
            Operation::Ready => {
                inquiry.add_reason(text);
                inquiry.progress = Some("gets what it waited for".into());
            }
            Operation::New => inquiry.begun.push((0, text)),
            Operation::NewAt(address) => {
                if inquiry.begun.iter().all(|(begun, _)| *begun != address) {
                    inquiry.begun.push((address, text));
                }
            }
        });
    }
    count_operation();
    Poll::Pending
}

/// Counts an operation that may complete although a stall is explained, because it has told the
/// program the same before.
#[cold]
pub(crate) fn count_operation() {
    if INQUIRY.with_borrow_mut(ProbeState::count) && !std::thread::panicking() {
        // Without the message of a panic: it is none of the program's.
        resume_unwind(Box::new(ProbeStopped));
    }
}

/// Takes back that an operation at this address has begun: it is dropped in the same poll.
#[cold]
pub(crate) fn forget_operation(address: usize) {
    INQUIRY.with_borrow_mut(|inquiry| {
        if let Some(at) = inquiry.begun.iter().position(|(begun, _)| *begun == address) {
            let (_, reason) = inquiry.begun.swap_remove(at);
            inquiry.add_reason(reason);
        }
    });
}

/// Notes that the program does something with an effect, which it would not have done had it not
/// gone on.
#[inline]
pub(crate) fn report_effect(describe: impl FnOnce() -> String) {
    if is_probing() && !has_progressed() {
        let text = describe();
        INQUIRY.with_borrow_mut(|inquiry| inquiry.progress = Some(text));
    }
}

/// Returns whether the task that is polled is known to have gone on.
#[cold]
pub(crate) fn has_progressed() -> bool {
    INQUIRY.with_borrow(|inquiry| inquiry.progress.is_some())
}

/// The payload that unwinds a poll that does not end. It is not a panic of the program.
pub(crate) struct ProbeStopped;

/// The real time that explaining one stall may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbeDeadline(Instant);

impl ProbeDeadline {
    pub(crate) fn begin() -> Self {
        Self(Instant::now() + MAX_REAL_TIME)
    }

    pub(crate) fn is_over(self) -> bool {
        self.0 <= Instant::now()
    }
}

/// The findings of one more poll of a task.
pub(crate) struct Probe<R> {
    pub(crate) polled: R,
    /// The texts that were given to [`waiting_for`] meanwhile.
    pub(crate) reasons: Vec<String>,
    /// The action by which the task showed that it no longer waits.
    pub(crate) progress: Option<String>,
    /// The number of operations that the poll had tried when it was ended, if it did not end by
    /// itself.
    pub(crate) stopped: Option<u32>,
}

/// Runs `poll` while no operation completes, and returns what it has shown.
pub(crate) fn probe<R>(deadline: ProbeDeadline, poll: impl FnOnce() -> R) -> Probe<R> {
    struct Quiet;
    impl Drop for Quiet {
        fn drop(&mut self) {
            EXPLAINING.set(false);
        }
    }
    INQUIRY.replace(ProbeState { deadline: Some(deadline.0), ..ProbeState::new() });
    EXPLAINING.set(true);
    let quiet = Quiet;
    let polled = poll();
    drop(quiet);
    let ProbeState { reasons, progress, begun, operations, stopped, .. } =
        INQUIRY.replace(ProbeState::new());
    let begun = || begun.into_iter().next().map(|(_, text)| format!("goes on to {text}"));
    Probe {
        polled,
        reasons,
        progress: progress.or_else(begun),
        stopped: stopped.then_some(operations),
    }
}
