//! An in-memory registry: a map from host names to the data announced with them.

use std::sync::Arc;

use futures::future::{BoxFuture, ready};

use crate::net::{Args, Cause, ReadyOk, Registry, RegistryError};
use crate::util::run_cell::{RunCell, run_local};
use crate::util::small_map::SmallMap;

/// A registry in memory; it answers at once.
#[derive(Debug)]
pub(crate) struct InMemoryRegistry {
    /// The network that it is for; it calls itself `ram(pipet)`.
    network: Arc<str>,
    hosts: RunCell<HostDataMap>,
}

/// The announced data, by host; `None` once the registry is closed.
#[derive(Debug)]
struct HostDataMap(Option<SmallMap<String, String>>);

run_local!(HostDataMap);

impl InMemoryRegistry {
    pub(crate) fn new(network: Arc<str>) -> Self {
        Self { network, hosts: RunCell::new(|| HostDataMap(Some(SmallMap::default()))) }
    }

    #[cold]
    fn error(&self, op: &'static str, args: &[&str], cause: Cause) -> RegistryError {
        let args = Args::List(args.iter().map(|arg| (*arg).to_string()).collect());
        RegistryError { registry: format!("ram({})", self.network), op, args, cause }
    }
}

impl Registry for InMemoryRegistry {
    fn announce<'a>(
        &'a self,
        hostname: &'a str,
        hostdata: &'a str,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        // One word, because more would be moved just after it was written.
        let entry = &(hostname, hostdata);
        let is_new = self.hosts.with(|HostDataMap(hosts)| {
            let (hostname, hostdata) = *entry;
            Some(hosts.as_mut()?.insert(hostname, || (hostname.into(), hostdata.into())))
        });
        let cause = match is_new {
            Some(true) => return ReadyOk::boxed(),
            Some(false) => Cause::HostExists,
            None => Cause::RegistryDown,
        };
        Box::pin(ready(Err(self.error("announce", &[hostname, hostdata], cause))))
    }

    fn query<'a>(&'a self, hostname: &'a str) -> BoxFuture<'a, Result<String, RegistryError>> {
        let hostdata_of_name = self.hosts.with(|HostDataMap(hosts)| {
            Some(hosts.as_ref()?.get(hostname).map(|(_, hostdata)| hostdata.clone()))
        });
        let cause = match hostdata_of_name {
            Some(Some(hostdata)) if hostdata.is_empty() => return ReadyOk::boxed(),
            Some(Some(hostdata)) => return Box::pin(ready(Ok(hostdata))),
            Some(None) => Cause::NoSuchHost,
            None => Cause::RegistryDown,
        };
        Box::pin(ready(Err(self.error("query", &[hostname], cause))))
    }

    fn withdraw(&self, hostname: &str) {
        self.hosts.try_with(|HostDataMap(hosts)| hosts.as_mut()?.remove(hostname));
    }

    fn close(&self) -> Result<(), RegistryError> {
        self.hosts.try_with(|HostDataMap(hosts)| *hosts = None);
        Ok(())
    }
}
