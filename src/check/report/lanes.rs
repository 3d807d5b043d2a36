//! Assignment of records, choices and faults to hosts, one lane a host.
//!
//! The host is read from the path of a task that lives on a node, or from the path of one
//! direction of a connection. Everything else is in the lane `world`: the main task, the tasks
//! that it spawned, and faults.

use std::collections::BTreeMap;

use crate::sim::{FaultTarget, NODE_PATH, Record, RecordKind, unescape};

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

/// The position of a record in the drawing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LanePosition {
    pub(crate) lane: usize,
    /// The lane of the sender, if the record is about a segment.
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

    /// The lane of a host, which gets one if it had none.
    fn lane(&mut self, host: &str) -> usize {
        if let Some(lane) = self.by_host.get(host) {
            return *lane;
        }
        self.names.push(host.into());
        self.by_host.insert(host.into(), self.names.len() - 1);
        self.names.len() - 1
    }

    /// The position of a record. Its hosts get lanes if they had none.
    pub(crate) fn position(&mut self, record: &Record) -> LanePosition {
        match &record.kind {
            RecordKind::Deliver(segment) | RecordKind::Drop(segment, _) => {
                let (from, to) = (self.lane(&segment.from.host), self.lane(&segment.to.host));
                LanePosition { lane: to, source_lane: Some(from) }
            }
            RecordKind::GiveUp { from, .. } => {
                let lane = self.lane(&from.host);
                LanePosition { lane, source_lane: Some(lane) }
            }
            _ => {
                let host = task_host(&record.subject);
                let lane = host.map_or(WORLD_LANE, |host| self.lane(&host));
                LanePosition { lane, source_lane: None }
            }
        }
    }

    /// The lane of a choice, by the second word of its subject.
    pub(crate) fn choice_lane(&self, subject: &str) -> usize {
        let path = subject.split(' ').nth(1).unwrap_or_default();
        let host = task_host(path).or_else(|| direction_hosts(path).map(|[from, _]| from));
        host.and_then(|host| self.by_host.get(&host).copied()).unwrap_or(WORLD_LANE)
    }

    /// The lanes of the hosts that a fault is about; none if it is about the whole network.
    pub(crate) fn fault_lanes(&self, target: &FaultTarget) -> Vec<usize> {
        let lane = |host: &str| self.by_host.get(host).copied();
        target.hosts().into_iter().filter_map(lane).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{FaultTarget, Lanes, direction_hosts, task_host};

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
            lanes.lane(host);
        }
        let groups = FaultTarget::Groups(vec!["α".into()], vec!["γ".into(), "unseen".into()]);
        assert_eq!(lanes.fault_lanes(&groups), [1, 3]);
        assert_eq!(lanes.fault_lanes(&FaultTarget::Host("two words".into())), [4]);
        assert_eq!(lanes.fault_lanes(&FaultTarget::Network), Vec::<usize>::new());
        assert_eq!(lanes.fault_lanes(&FaultTarget::OneWayLink("γ".into(), "α".into())), [3, 1]);
        assert_eq!(lanes.choice_lane("latency simt/β/α/reverse"), 1);
        assert_eq!(lanes.choice_lane("priority node/γ timer"), 3);
        assert_eq!(lanes.choice_lane("choose main coin"), 0);
    }
}
