//! [`HostTable`]: the hosts of a network, by number and by name.
//!
//! Most runs on a thread are of one program, which makes the same hosts in the same order. So a
//! host of the previous run keeps its slot and its address until a host of another name takes the
//! slot.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use crate::net::Addr;
use crate::sim::hash_name;
use crate::util::cold::cold;

use crate::simnet::host::sim_host::{HostName, NodeInfo, SimHost};

/// Up to so many are looked through for a name.
const LINEAR_SEARCH_LIMIT: usize = 4;

/// All hosts that a network has had, each with a number that it keeps.
#[derive(Default)]
pub(crate) struct HostTable {
    /// By number; behind those of this run are such of runs before.
    hosts: Vec<SimHost>,
    /// How many are of this run.
    used: usize,
    /// Of all in use, unless these are few.
    by_name: BTreeMap<HostName, u32>,
}

impl HostTable {
    /// Finds a host by its name.
    #[inline(always)]
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        if self.used > LINEAR_SEARCH_LIMIT {
            return cold(|| self.by_name.get(name).copied());
        }
        let hash = hash_name(name);
        let is_it = |machine: &SimHost| machine.hash == hash && machine.name() == name;
        self.iter().position(is_it).map(|number| number as u32)
    }

    /// An address, with port 0, for a host that is to be.
    #[inline(always)]
    pub(crate) fn addr_for(&self, network: &str, name: &str) -> Addr {
        match self.hosts.get(self.used) {
            Some(next) if next.name() == name => next.addr.clone(),
            _ => Addr::from_parts(network, name, 0),
        }
    }

    /// Finds the host of an address, or adds one that is not up yet.
    #[inline(always)]
    pub(crate) fn find_or_add(&mut self, addr: &Addr, region: u32) -> u32 {
        self.find(addr.host()).unwrap_or_else(|| self.add(addr, region))
    }

    #[inline(always)]
    fn add(&mut self, addr: &Addr, region: u32) -> u32 {
        let number = self.used as u32;
        if !self.hosts.get(self.used).is_some_and(|next| next.addr.is_same_host(addr)) {
            cold(|| {
                let machine = SimHost::new(addr.with_port(0));
                match self.hosts.get_mut(self.used) {
                    Some(next) => *next = machine,
                    None => self.hosts.push(machine),
                }
            });
        }
        self.used += 1;
        self[number].region = region;
        if self.used > LINEAR_SEARCH_LIMIT {
            self.build_index();
        }
        number
    }

    /// Enters the names of those that have been added since.
    #[cold]
    fn build_index(&mut self) {
        let entered = self.by_name.len();
        let added = self.hosts[entered..self.used].iter().zip(entered as u32..);
        self.by_name.extend(added.map(|(machine, number)| (HostName::new(machine), number)));
    }

    /// Goes through all hosts, by number.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &SimHost> {
        self.hosts[..self.used].iter()
    }

    /// The same, to change them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut SimHost> {
        self.hosts[..self.used].iter_mut()
    }

    /// The names of all hosts, sorted.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.iter().map(SimHost::name).collect();
        names.sort_unstable();
        names
    }

    /// Forgets what has become of the hosts of this run; and those hosts of runs before that have
    /// not come again.
    pub(crate) fn clear(&mut self, nodes: &mut Vec<NodeInfo>) {
        const KEPT: usize = 64;
        self.hosts.truncate(self.used);
        self.hosts.iter_mut().for_each(|machine| machine.recycle(nodes));
        self.hosts.truncate(KEPT);
        self.hosts.shrink_to(KEPT);
        self.used = 0;
        if !self.by_name.is_empty() {
            cold(|| self.by_name.clear());
        }
    }

    /// Forgets the hosts of the last run: the network is another.
    pub(crate) fn recycle(&mut self) {
        self.hosts.clear();
    }
}

impl Index<u32> for HostTable {
    type Output = SimHost;

    #[inline]
    fn index(&self, number: u32) -> &SimHost {
        &self.hosts[number as usize]
    }
}

impl IndexMut<u32> for HostTable {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut SimHost {
        &mut self.hosts[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::{HostTable, LINEAR_SEARCH_LIMIT};

    #[test]
    fn hosts_few_or_many_are_found_and_come_again() {
        let mut machines = HostTable::default();
        for count in [
            LINEAR_SEARCH_LIMIT as u32 - 1,
            LINEAR_SEARCH_LIMIT as u32,
            LINEAR_SEARCH_LIMIT as u32 + 1,
            100,
            2,
        ] {
            // Prime to all of these: so that each name comes once, in no order.
            let names: Vec<String> =
                (0..count).map(|n| format!("h{:02}", n * 37 % count)).collect();
            for (name, number) in names.iter().zip(0..) {
                assert_eq!(machines.find(name), None);
                let addr = machines.addr_for("net", name);
                assert_eq!(machines.find_or_add(&addr, number + 7), number);
                assert_eq!(machines.find_or_add(&addr, 0), number, "it is there already");
                assert_eq!(
                    (machines[number].name(), machines[number].region),
                    (&**name, number + 7)
                );
                assert!(machines[number].addr.is_same_host(&addr));
            }
            assert!(
                names.iter().zip(0..).all(|(name, number)| machines.find(name) == Some(number))
            );
            let mut sorted = names;
            sorted.sort();
            assert_eq!(machines.names(), sorted);
            assert_eq!(machines.iter().len(), count as usize);
            machines.clear(&mut Vec::new());
            assert_eq!((machines.find("h00"), machines.iter().len()), (None, 0));
        }
    }

    #[test]
    fn a_host_that_comes_again_has_its_address_of_before() {
        let mut machines = HostTable::default();
        let come = |names: [&str; 2]| {
            let addrs = names.map(|name| {
                let addr = machines.addr_for("net", name);
                machines.find_or_add(&addr, 0);
                addr
            });
            machines.clear(&mut Vec::new());
            addrs
        };
        let [first, again, other] = [["a", "b"], ["a", "b"], ["b", "a"]].map(come);
        assert!(first.iter().zip(&again).all(|(first, again)| first.is_same_host(again)));
        assert!(first.iter().all(|first| other.iter().all(|other| !first.is_same_host(other))));
    }
}
