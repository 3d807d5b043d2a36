//! Assignment of records, choices and faults to hosts, one lane a host.
//!
//! The host is read from the path of a task that lives on a node, or from the path of one
//! direction of a connection. Everything else is in the lane `world`: the main task, the tasks
//! that it spawned, and faults.

use std::collections::BTreeMap;

use crate::sim::{NODE_PATH, Record, RecordKind, unescape};

/// The lane of what belongs to no host.
pub(crate) const WORLD_LANE: usize = 0;

/// The name of a host or node, as a path writes it with the number of its life behind.
fn host_name(segment: &str) -> String {
    let without_index =
        segment.rsplit_once('#').filter(|(_, number)| number.parse::<u32>().is_ok());
    unescape(without_index.map_or(segment, |(name, _)| name))
}

/// The host on which a task lives.
fn task_host(task: &str) -> Option<String> {
    let mut segments = task.split('/');
    (segments.next() == Some(NODE_PATH)).then(|| segments.next().map(host_name)).flatten()
}

/// The hosts between which something travels in a direction: from, to.
fn direction_hosts(direction: &str) -> Option<[String; 2]> {
    let segments: Vec<&str> = direction.split('/').collect();
    match segments[..] {
        [_, dialer, acceptor] => Some([host_name(dialer), host_name(acceptor)]),
        [_, dialer, acceptor, "reverse"] => Some([host_name(acceptor), host_name(dialer)]),
        _ => None,
    }
}

/// Where a record is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LanePosition {
    pub(crate) lane: usize,
    /// Where it was sent from, if it is about something that was.
    pub(crate) source_lane: Option<usize>,
}

/// The hosts of some runs, in the order in which anything happens there; first of all the world.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    pub(crate) names: Vec<String>,
    by_host: BTreeMap<String, usize>,
}

impl Lanes {
    /// No hosts yet.
    pub(crate) fn new() -> Self {
        Self { names: vec!["world".into()], by_host: BTreeMap::new() }
    }

    fn get_or_insert(&mut self, host: String) -> usize {
        *self.by_host.entry(host).or_insert_with_key(|host| {
            self.names.push(host.clone());
            self.names.len() - 1
        })
    }

    /// Where a record is drawn; its hosts get lanes if they had none.
    pub(crate) fn position(&mut self, record: &Record) -> LanePosition {
        let is_segment = matches!(record.kind, RecordKind::Deliver | RecordKind::Drop);
        if let Some([from, to]) = direction_hosts(&record.subject).filter(|_| is_segment) {
            let (from, to) = (self.get_or_insert(from), self.get_or_insert(to));
            // Who gives up has nothing that was sent: it happens where it waits.
            let is_give_up = record.kind == RecordKind::Drop && record.causes.is_empty();
            return LanePosition {
                lane: if is_give_up { from } else { to },
                source_lane: Some(from),
            };
        }
        LanePosition {
            lane: task_host(&record.subject).map_or(WORLD_LANE, |host| self.get_or_insert(host)),
            source_lane: None,
        }
    }

    /// The lane of a choice, by the second word of its subject.
    pub(crate) fn choice_lane(&self, subject: &str) -> usize {
        let path = subject.split(' ').nth(1).unwrap_or_default();
        let host = task_host(path).or_else(|| direction_hosts(path).map(|[from, _]| from));
        host.and_then(|host| self.by_host.get(&host).copied()).unwrap_or(WORLD_LANE)
    }

    /// The lanes of the hosts that the text of a fault names; none if it is about all.
    pub(crate) fn fault_lanes(&self, text: &str) -> Vec<usize> {
        // Behind the names may stand by how much.
        let text = text.split_once(": ").map_or(text, |(names, _)| names);
        let named = |word: &str| self.by_host.get(word).copied();
        let lanes = text.split(' ').skip(1).filter_map(named);
        // A host whose name has a space in it is all that is said behind the first word.
        let single_host = text.split_once(' ').and_then(|(_, rest)| named(rest));
        single_host.map_or_else(|| lanes.collect(), |lane| vec![lane])
    }
}

#[cfg(test)]
mod tests {
    use super::{Lanes, direction_hosts, task_host};

    #[test]
    fn lane_of_a_path_is_its_host() {
        for (task, host) in [
            ("node/β", Some("β")),
            ("node/β#2/serve#7", Some("β")),
            ("node/a%2Fb%231", Some("a/b#1")),
            ("main/node/β", None),
            ("main", None),
        ] {
            assert_eq!(task_host(task).as_deref(), host, "{task}");
        }
        let hosts = |from: &str, to: &str| Some([from.to_string(), to.to_string()]);
        assert_eq!(direction_hosts("simt/α/β"), hosts("α", "β"));
        assert_eq!(direction_hosts("simt/α/β#3/reverse"), hosts("β", "α"));
        assert_eq!(direction_hosts("simt/α"), None);
    }

    #[test]
    fn fault_lanes_are_the_named_hosts_or_none() {
        let mut lanes = Lanes::new();
        for host in ["α", "β", "γ", "two words"] {
            lanes.get_or_insert(host.into());
        }
        assert_eq!(lanes.fault_lanes("partition α | γ"), [1, 3]);
        assert_eq!(lanes.fault_lanes("crash two words"), [4]);
        assert_eq!(lanes.fault_lanes("heal"), Vec::<usize>::new());
        assert_eq!(lanes.fault_lanes("latency α γ: undone, 1ms to 10ms"), [1, 3]);
        assert_eq!(lanes.fault_lanes("clock two words: offset 5s, drift 0 ppm"), [4]);
        assert_eq!(lanes.choice_lane("latency simt/β/α/reverse"), 1);
        assert_eq!(lanes.choice_lane("priority node/γ timer"), 3);
        assert_eq!(lanes.choice_lane("choose main coin"), 0);
    }
}
