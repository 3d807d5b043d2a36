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

/// The number of hosts up to which names are searched linearly.
const LINEAR_SEARCH_LIMIT: usize = 4;

/// All hosts that a network has had, each with a number that it keeps.
#[derive(Default)]
pub(crate) struct HostTable {
    /// By number; behind those of this run are such of runs before.
    hosts: Vec<SimHost>,
    /// The number of hosts of this run.
    len: usize,
    /// Of all in use, unless these are few.
    by_name: BTreeMap<HostName, u32>,
}

impl HostTable {
    /// Finds a host by its name.
    #[inline(always)]
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        if self.len > LINEAR_SEARCH_LIMIT {
            return cold(|| self.by_name.get(name).copied());
        }
        let hash = hash_name(name);
        let matches = |host: &SimHost| host.name_hash == hash && host.name() == name;
        self.iter().position(matches).map(|number| number as u32)
    }

    /// An address, with port 0, for a host that is to be.
    #[inline(always)]
    pub(crate) fn addr_for(&self, network: &str, name: &str) -> Addr {
        match self.hosts.get(self.len) {
            Some(next) if next.name() == name => next.addr.clone(),
            _ => Addr::from_parts(network, name, 0),
        }
    }

    /// Finds a host by its name, or adds one that is not up yet.
    #[inline(always)]
    pub(crate) fn find_or_add(&mut self, network: &str, name: &str, region: u32) -> u32 {
        self.find(name).unwrap_or_else(|| self.add(network, name, region))
    }

    #[inline(always)]
    fn add(&mut self, network: &str, name: &str, region: u32) -> u32 {
        let number = self.len as u32;
        if self.hosts.get(self.len).is_none_or(|next| next.name() != name) {
            cold(|| {
                let host = SimHost::new(Addr::from_parts(network, name, 0));
                match self.hosts.get_mut(self.len) {
                    Some(next) => *next = host,
                    None => self.hosts.push(host),
                }
            });
        }
        self.len += 1;
        self[number].region = region;
        if self.len > LINEAR_SEARCH_LIMIT {
            self.build_index();
        }
        number
    }

    /// Enters the names of those that have been added since.
    #[cold]
    fn build_index(&mut self) {
        let indexed = self.by_name.len();
        let added = self.hosts[indexed..self.len].iter().zip(indexed as u32..);
        self.by_name.extend(added.map(|(host, number)| (HostName::new(host), number)));
    }

    /// Goes through all hosts, by number.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &SimHost> {
        self.hosts[..self.len].iter()
    }

    /// The same, to change them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut SimHost> {
        self.hosts[..self.len].iter_mut()
    }

    /// The names of all hosts, sorted.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.iter().map(SimHost::name).collect();
        names.sort_unstable();
        names
    }

    /// The numbers of all hosts, sorted by their names.
    pub(crate) fn sorted_by_name(&self) -> Vec<u32> {
        let mut hosts: Vec<(&str, u32)> = self.iter().map(SimHost::name).zip(0..).collect();
        hosts.sort_unstable();
        hosts.into_iter().map(|(_, host)| host).collect()
    }

    /// Forgets what has become of the hosts of this run; and those hosts of runs before that have
    /// not come again.
    pub(crate) fn clear(&mut self, nodes: &mut Vec<NodeInfo>) {
        const MAX_CAPACITY: usize = 64;
        self.hosts.truncate(self.len);
        self.hosts.iter_mut().for_each(|host| host.recycle(nodes));
        self.hosts.truncate(MAX_CAPACITY);
        self.hosts.shrink_to(MAX_CAPACITY);
        self.len = 0;
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
    fn host_table_of_any_size_finds_hosts_and_reuses_slots() {
        let mut table = HostTable::default();
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
                assert_eq!(table.find(name), None);
                assert_eq!(table.find_or_add("net", name, number + 7), number);
                assert_eq!(table.find_or_add("net", name, 0), number, "it is there already");
                assert_eq!((table[number].name(), table[number].region), (&**name, number + 7));
            }
            assert!(names.iter().zip(0..).all(|(name, number)| table.find(name) == Some(number)));
            let mut sorted = names;
            sorted.sort();
            assert_eq!(table.names(), sorted);
            assert_eq!(table.iter().len(), count as usize);
            table.clear(&mut Vec::new());
            assert_eq!((table.find("h00"), table.iter().len()), (None, 0));
        }
    }

    #[test]
    fn host_made_again_in_next_run_keeps_its_address() {
        let mut table = HostTable::default();
        let make_hosts = |names: [&str; 2]| {
            let addrs = names.map(|name| {
                let number = table.find_or_add("net", name, 0);
                table[number].addr.clone()
            });
            table.clear(&mut Vec::new());
            addrs
        };
        let [first, again, other] = [["a", "b"], ["a", "b"], ["b", "a"]].map(make_hosts);
        assert!(first.iter().zip(&again).all(|(first, again)| first.shares_host_name(again)));
        assert!(first.iter().all(|first| other.iter().all(|other| !first.shares_host_name(other))));
    }
}
