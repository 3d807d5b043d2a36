//! A zero-sized future that is ready with `Ok(T::default())`.
//!
//! Boxing it does not allocate. `poll_ready_ok` recognises it by its size, polls it once, and
//! leaves every other future alone.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;

/// Says yes at once, and no more than that; a box of it takes no memory.
pub(crate) struct ReadyOk<T, E>(PhantomData<fn() -> (T, E)>);

impl<T: Default + 'static, E: 'static> ReadyOk<T, E> {
    pub(crate) fn boxed<'a>() -> BoxFuture<'a, Result<T, E>> {
        Box::pin(Self(PhantomData))
    }
}

impl<T: Default, E> Future for ReadyOk<T, E> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(T::default()))
    }
}

/// Says whether a future is a yes that can be had at once, and was had if so.
///
/// Only one without any memory is asked: it has nowhere to keep that it was asked before its time.
pub(crate) fn poll_ready_ok<T, E>(future: &mut BoxFuture<'_, Result<T, E>>) -> bool {
    if size_of_val(&**future) > 0 {
        return false;
    }
    // Looked at where it lies: to be moved, it is too large.
    let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    matches!(polled, Poll::Ready(Ok(_)))
}
