//! `BoxedTask`: a task's future and then its output, in one allocation.
//!
//! The output replaces the future in the same box. A join handle is therefore only a task id, and
//! a task takes one allocation.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::util::prefetch::prefetch;

/// A task's box, whatever type its future has.
pub(crate) type BoxedTask = Pin<Box<dyn ErasedFuture>>;

/// The operations on a task's box, whatever type its future has.
pub(crate) trait ErasedFuture {
    /// Polls the future, which is dropped once it has returned.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Has the processor load the box.
    fn prefetch(&self);

    /// The output of the future: an `Option` of its type, which is taken once.
    fn output(self: Pin<&mut Self>) -> Option<&mut dyn Any>;
}

pin_project! {
    #[repr(C)]
    struct Task<F: Future> {
        // The first byte: the rest is counted from it, which is no business of a future.
        start: u8,
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = Pinned]
    enum State<F: Future> {
        Running {
            #[pin]
            future: F,
        },
        Done {
            output: Option<F::Output>,
        },
    }
}

impl<F: Future + 'static> ErasedFuture for Task<F> {
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.project().state;
        if let Pinned::Running { future } = state.as_mut().project() {
            let output = ready!(future.poll(cx));
            state.set(State::Done { output: Some(output) });
        }
        Poll::Ready(())
    }

    fn prefetch(&self) {
        /// The prefetched bytes of a large task: it is unknown which of them a poll needs.
        const MUCH: usize = 512;
        prefetch(&self.start, size_of::<Self>().min(MUCH));
    }

    fn output(self: Pin<&mut Self>) -> Option<&mut dyn Any> {
        match self.project().state.project() {
            Pinned::Running { .. } => None,
            Pinned::Done { output } => Some(output),
        }
    }
}

/// Puts a future into the box of a task.
pub(crate) fn box_task<F: Future + 'static>(future: F) -> BoxedTask {
    Box::pin(Task { start: 0, state: State::Running { future } })
}

/// Takes out what the future has returned.
#[inline(always)]
pub(crate) fn take_output<T: 'static>(mut task: BoxedTask) -> T {
    let output = task.as_mut().output().and_then(|output| output.downcast_mut::<Option<T>>());
    match output.and_then(Option::take) {
        Some(output) => output,
        None => unreachable!("a task leaves what its handle was made for"),
    }
}
