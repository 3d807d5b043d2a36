//! `Network::netstat`: the listeners and connections of a host as a printable table.

use std::fmt::Write;

use crate::net::Host;

use crate::simnet::network::Network;
use crate::simnet::state::enter;
use crate::simnet::tcp::connection::{Blocked, Endpoint, HalfConn};

impl Network {
    /// Prints the listeners and connections of a host: queues, windows, and what is the matter.
    ///
    /// `unread` has arrived and was not read, `unsent` was written and has not arrived, `window`
    /// can still be written; all in bytes.
    ///
    /// ```text
    /// β is up, in its second life
    ///   β:1  listens, 2 dials wait
    ///   β:2->α:1  open, unread 0, unsent 512, window 65024; lost on the way, sent 3 times
    /// ```
    #[track_caller]
    pub fn netstat(&self, host: &str) -> String {
        let (local, mut text) = self.host_and_status(host);
        for (addr, dials, accepts) in local.iter().flat_map(Host::listeners) {
            let _ =
                write!(text, "\n  {addr}  listens, {dials} dial(s) and {accepts} accept(s) wait");
        }
        enter(self.run, |state, world| {
            let window = state.nets[self.net as usize].config.window;
            let host_index = state.nets[self.net as usize].hosts.find(host);
            let net = &state.nets[self.net as usize];
            let addr = |end: &Endpoint| net.addr(end.host, end.port);
            for (_, conn) in state.conns.iter_mut().filter(|(_, conn)| conn.net == self.net) {
                for end in (0..2).filter(|end| Some(conn.endpoints[*end].host) == host_index) {
                    let (local, peer) = (&conn.endpoints[end], &conn.endpoints[1 - end]);
                    let _ =
                        write!(text, "\n  {}->{}  {}", addr(local), addr(peer), local.state.name());
                    let unread = conn.halves[1 - end].stream.readable_len();
                    let half = &mut conn.halves[end];
                    let unsent = half.stream.written - half.stream.arrived;
                    let space = half.stream.send_window(window, world.now());
                    let _ = write!(text, ", unread {unread}, unsent {unsent}, window {space}");
                    text += &describe_problems(half);
                }
            }
        });
        text
    }

    /// The host of a name, if it has one now, and how it is.
    #[track_caller]
    fn host_and_status(&self, name: &str) -> (Option<Host>, String) {
        let found = enter(self.run, |state, _| {
            let net = &state.nets[self.net as usize];
            let sim_host = &net.hosts[net.hosts.find(name)?];
            let subnetwork = net.regions.get(sim_host.region as usize)?.subnetwork.clone();
            let is_paused = sim_host.node.as_ref().is_some_and(|node| node.pause.is_some());
            let status = if is_paused { "paused" } else { sim_host.power.name() };
            Some((
                subnetwork,
                format!("{name} is {status}, restarted {} time(s)", sim_host.incarnation),
            ))
        });
        match found {
            Some((subnetwork, text)) => (subnetwork.host(name), text),
            None => {
                panic!("virtnet: no host {name:?} was ever made on the network {}", self.name())
            }
        }
    }
}

/// The problems of a direction, if it has any.
fn describe_problems(half: &HalfConn) -> String {
    let mut text = String::new();
    match half.blocked {
        Blocked::None => {}
        Blocked::Lost => text += &format!("; lost on the way, {} time(s)", half.losses),
        Blocked::Held => text += "; held on the way",
    }
    if let Some(since) = half.unacked_since {
        let since = std::time::Duration::from_nanos(since);
        text += &format!("; not acknowledged since {since:?}");
    }
    if half.fin_sent {
        text += "; writes no more";
    }
    text
}
