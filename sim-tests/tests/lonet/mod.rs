//! The network of several processes, held against the reference and against what it promises.
//!
//! Each test has a folder of its own for its networks, and a limit: what waits for ever is a
//! failure, and must not be a test that hangs.

mod wire;
mod conforms;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_io::Timer;
use futures::future::{Either, select};
use tempfile::TempDir;
use virtnet::lonet::Config;

/// How long a test may take; on a machine that is busy much is slow.
const LIMIT: Duration = Duration::from_secs(60);

/// A place for networks that is gone after the test.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn config(&self) -> Config {
        Config::new().folder(self.0.path().join("lonet"))
    }
}

/// Waits for something that must come.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    match select(pin!(future), Timer::after(LIMIT)).await {
        Either::Left((output, _)) => output,
        Either::Right(_) => panic!("it waits for something that never comes"),
    }
}

/// Runs a test.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    async_io::block_on(soon(future))
}
