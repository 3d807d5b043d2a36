//! The network of several processes, held against the reference and against what it promises.
//!
//! Each test has a folder of its own for its networks, and a limit: what waits for ever is a
//! failure, and must not be a test that hangs.

mod accept_turns;
mod acceptor_recording;
mod conformance;
mod dialer_recording;
mod file_owners;
mod host_names;
mod hostile_input;
mod joining;
mod parser_recording;
mod processes;
mod python_peer;
mod secrets;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use async_io::Timer;
use futures::future::{Either, select};
use rusqlite::Connection;
use tempfile::TempDir;
use virtnet::SubNetwork;
use virtnet::lonet::Config;

use crate::support::TwoHosts;

/// How long a test may take; on a machine that is busy much is slow.
pub(crate) const TEST_LIMIT: Duration = Duration::from_secs(60);

/// A place for networks that is gone after the test.
pub(crate) struct TempNetworks(TempDir);

impl TempNetworks {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn config(&self) -> Config {
        Config::new().folder(self.networks_folder())
    }

    /// The folder of all networks.
    pub(crate) fn networks_folder(&self) -> PathBuf {
        self.0.path().join("lonet")
    }

    /// What the recording calls `<tmp>`.
    pub(crate) fn temp_path(&self) -> String {
        self.0.path().to_str().unwrap().to_string()
    }

    /// The registry of a network.
    pub(crate) fn registry_file(&self, network: &str) -> PathBuf {
        self.networks_folder().join(network).join("registry.db")
    }
}

/// Opens the registry of a network, as a process would that is none of ours.
pub(crate) fn open_registry(temp: &TempNetworks, network: &str) -> Connection {
    let connection = Connection::open(temp.registry_file(network)).unwrap();
    connection.busy_timeout(TEST_LIMIT).unwrap();
    connection
}

/// Where the process of a host listens.
pub(crate) fn os_address(temp: &TempNetworks, network: &str, host: &str) -> SocketAddr {
    let sql = "SELECT osladdr FROM hosts WHERE hostname = ?";
    let address = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let address = open_registry(temp, network).query_row(sql, [host], address).unwrap();
    address.parse().unwrap()
}

/// Says that the process of a host listens there, whatever is known of it.
pub(crate) fn announce(temp: &TempNetworks, network: &str, host: &str, osladdr: &str) {
    let sql = "INSERT OR REPLACE INTO hosts (hostname, osladdr) VALUES (?, ?)";
    open_registry(temp, network).execute(sql, [host, osladdr]).unwrap();
}

/// Waits for something that must come.
pub(crate) async fn within_limit<T>(future: impl Future<Output = T>) -> T {
    match select(pin!(future), Timer::after(TEST_LIMIT)).await {
        Either::Left((output, _)) => output,
        Either::Right(_) => panic!("it waits for something that never comes"),
    }
}

/// Runs a test.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    async_io::block_on(within_limit(future))
}

/// The fixture of two hosts, on one subnetwork or on two.
pub(crate) async fn two_hosts(net: SubNetwork, other_net: &SubNetwork) -> TwoHosts {
    let (a, b) = (net.new_host("α").await.unwrap(), other_net.new_host("β").await.unwrap());
    let (la, lb) = (a.listen("").await.unwrap(), b.listen("").await.unwrap());
    let (ab, ba) = futures::join!(a.dial("β:1"), lb.accept());
    TwoHosts { net, a, b, la, lb, ab: ab.unwrap(), ba: ba.unwrap() }
}

/// Leaves out the ports of the system, as the recording does.
pub(crate) fn without_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        text + "127.0.0.1:<osport>" + &part[digits..]
    })
}
