//! A registry in memory: a map from names to what was announced with them.
//!
//! Knows names. Does not know networks, apart from the trait by which it is asked.

use std::collections::BTreeMap;

use futures::future::{BoxFuture, ready};

use crate::lock::{Lock, shelved};
use crate::net::{Args, Cause, Registry, RegistryError};

/// A registry in memory; it answers at once.
#[derive(Debug)]
pub(crate) struct Ram {
    /// What it calls itself: `ram(pipet)`.
    name: String,
    hosts: Lock<Names>,
}

/// What was announced by which host; `None` once the registry is closed.
#[derive(Debug)]
struct Names(Option<BTreeMap<String, String>>);

shelved!(Names);

impl Ram {
    pub(crate) fn new(network: &str) -> Self {
        Self { name: format!("ram({network})"), hosts: Lock::new(Names(Some(BTreeMap::new()))) }
    }

    fn error(&self, op: &'static str, args: &[&str], cause: Cause) -> RegistryError {
        let args = Args::List(args.iter().map(|arg| (*arg).to_string()).collect());
        RegistryError { registry: self.name.clone(), op, args, cause }
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
            Some(hosts) if hosts.contains_key(hostname) => Err(Cause::HostExists),
            Some(hosts) => {
                hosts.insert(hostname.to_string(), hostdata.to_string());
                Ok(())
            }
        });
        let fail = |cause| self.error("announce", &[hostname, hostdata], cause);
        Box::pin(ready(announced.map_err(fail)))
    }

    fn query<'a>(&'a self, hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        let found = self.hosts.with(|Names(hosts)| match hosts {
            None => Err(Cause::RegistryDown),
            Some(hosts) => hosts.get(hostname).cloned().ok_or(Cause::NoSuchHost),
        });
        Box::pin(ready(found.map_err(|cause| self.error("query", &[hostname], cause))))
    }

    fn withdraw(&self, hostname: &str) {
        self.hosts.try_with(|Names(hosts)| hosts.as_mut()?.remove(hostname));
    }

    fn close(&self) -> Result<(), RegistryError> {
        self.hosts.try_with(|Names(hosts)| *hosts = None);
        Ok(())
    }
}
