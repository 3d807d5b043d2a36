//! A zero-sized future that is ready with `Ok(T::default())`, so that boxing it allocates nothing.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

/// Is ready at once with `Ok(T::default())`.
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
