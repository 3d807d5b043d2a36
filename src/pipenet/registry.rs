//! A registry in memory: a map from names to what was announced with them.
//!
//! Knows names. Does not know networks, apart from the trait by which it is asked.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, ready};

use crate::lock::{Lock, shelved};
use crate::net::{Args, Cause, Few, Registry, RegistryError};

/// A registry in memory; it answers at once.
#[derive(Debug)]
pub(crate) struct Ram {
    /// The network that it is for; it calls itself `ram(pipet)`.
    network: String,
    hosts: Lock<Names>,
}

/// What was announced by which host; `None` once the registry is closed.
#[derive(Debug)]
struct Names(Option<Few<String, String>>);

shelved!(Names);

impl Ram {
    pub(crate) fn new(network: String) -> Self {
        Self { network, hosts: Lock::new(|| Names(Some(Few::default()))) }
    }

    #[cold]
    fn error(&self, op: &'static str, args: &[&str], cause: Cause) -> RegistryError {
        let args = Args::List(args.iter().map(|arg| (*arg).to_string()).collect());
        RegistryError { registry: format!("ram({})", self.network), op, args, cause }
    }
}

/// Says yes at once, and no more than that; a box of it takes no memory.
pub(crate) struct Granted<T, E>(PhantomData<fn() -> (T, E)>);

impl<T: Default + 'static, E: 'static> Granted<T, E> {
    pub(crate) fn boxed<'a>() -> BoxFuture<'a, Result<T, E>> {
        Box::pin(Self(PhantomData))
    }
}

impl<T: Default, E> Future for Granted<T, E> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(T::default()))
    }
}

impl Registry for Ram {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        let announced = self.hosts.with(|Names(hosts)| match hosts {
            None => Err(Cause::RegistryDown),
            Some(hosts) => {
                let is_new = hosts.insert(hostname.to_string(), hostdata.to_string());
                is_new.then_some(()).ok_or(Cause::HostExists)
            }
        });
        match announced {
            Ok(()) => Granted::boxed(),
            Err(cause) => {
                Box::pin(ready(Err(self.error("announce", &[hostname, hostdata], cause))))
            }
        }
    }

    fn query<'a>(&'a self, hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        let found = self.hosts.with(|Names(hosts)| match hosts {
            None => Err(Cause::RegistryDown),
            Some(hosts) => {
                hosts.get(hostname).map(|(_, data)| data.clone()).ok_or(Cause::NoSuchHost)
            }
        });
        match found {
            Ok(hostdata) if hostdata.is_empty() => Granted::boxed(),
            Ok(hostdata) => Box::pin(ready(Ok(hostdata))),
            Err(cause) => Box::pin(ready(Err(self.error("query", &[hostname], cause)))),
        }
    }

    fn withdraw(&self, hostname: &str) {
        self.hosts.try_with(|Names(hosts)| hosts.as_mut()?.remove(hostname));
    }

    fn close(&self) -> Result<(), RegistryError> {
        self.hosts.try_with(|Names(hosts)| *hosts = None);
        Ok(())
    }
}
