//! Where a record happened: on which host, or nowhere in particular.
//!
//! Knows how paths are written: those of tasks that live on a node, and those of the directions of
//! connections. Everything else is the world's: the main task, what it spawned, and faults.

use std::collections::BTreeMap;

use crate::sim::{NODE, Record, RecordKind, unescape};

/// The lane of what belongs to no host.
pub(crate) const WORLD: usize = 0;

/// The name of a host or node, as a path writes it with the number of its life behind.
fn name(step: &str) -> String {
    let numbered = step.rsplit_once('#').filter(|(_, number)| number.parse::<u32>().is_ok());
    unescape(numbered.map_or(step, |(name, _)| name))
}

/// The host on which a task lives.
fn host_of(task: &str) -> Option<String> {
    let mut steps = task.split('/');
    (steps.next() == Some(NODE)).then(|| steps.next().map(name)).flatten()
}

/// The hosts between which something travels in a direction: from, to.
fn way_of(direction: &str) -> Option<[String; 2]> {
    let steps: Vec<&str> = direction.split('/').collect();
    match steps[..] {
        [_, near, far] => Some([name(near), name(far)]),
        [_, near, far, "reverse"] => Some([name(far), name(near)]),
        _ => None,
    }
}

/// Where a record is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spot {
    pub(crate) lane: usize,
    /// Where it was sent from, if it is about something that was.
    pub(crate) from: Option<usize>,
}

/// The hosts of some runs, in the order in which anything happens there; first of all the world.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    pub(crate) names: Vec<String>,
    places: BTreeMap<String, usize>,
}

impl Lanes {
    /// No hosts yet.
    pub(crate) fn new() -> Self {
        Self { names: vec!["world".into()], places: BTreeMap::new() }
    }

    fn of(&mut self, host: String) -> usize {
        *self.places.entry(host).or_insert_with_key(|host| {
            self.names.push(host.clone());
            self.names.len() - 1
        })
    }

    /// Where a record is drawn; its hosts get lanes if they had none.
    pub(crate) fn spot(&mut self, record: &Record) -> Spot {
        let travels = matches!(record.kind, RecordKind::Deliver | RecordKind::Lose);
        if let Some([from, to]) = way_of(&record.subject).filter(|_| travels) {
            let (from, to) = (self.of(from), self.of(to));
            // Who gives up has nothing that was sent: it happens where it waits.
            let gives_up = record.kind == RecordKind::Lose && record.causes.is_empty();
            return Spot { lane: if gives_up { from } else { to }, from: Some(from) };
        }
        Spot { lane: host_of(&record.subject).map_or(WORLD, |host| self.of(host)), from: None }
    }

    /// The lane of a choice, by the second word of its subject.
    pub(crate) fn of_choice(&self, subject: &str) -> usize {
        let who = subject.split(' ').nth(1).unwrap_or_default();
        let host = host_of(who).or_else(|| way_of(who).map(|[from, _]| from));
        host.and_then(|host| self.places.get(&host).copied()).unwrap_or(WORLD)
    }

    /// The lanes of the hosts that the text of a fault names; none if it is about all.
    pub(crate) fn of_fault(&self, text: &str) -> Vec<usize> {
        // Behind the names may stand by how much.
        let text = text.split_once(": ").map_or(text, |(names, _)| names);
        let named = |word: &str| self.places.get(word).copied();
        let lanes = text.split(' ').skip(1).filter_map(named);
        // A host whose name has a space in it is all that is said behind the first word.
        let whole = text.split_once(' ').and_then(|(_, rest)| named(rest));
        whole.map_or_else(|| lanes.collect(), |lane| vec![lane])
    }
}

#[cfg(test)]
mod tests {
    use super::{Lanes, host_of, way_of};

    #[test]
    fn paths_say_where_something_happens() {
        for (task, host) in [
            ("node/β", Some("β")),
            ("node/β#2/serve#7", Some("β")),
            ("node/a%2Fb%231", Some("a/b#1")),
            ("main/node/β", None),
            ("main", None),
        ] {
            assert_eq!(host_of(task).as_deref(), host, "{task}");
        }
        let way = |from: &str, to: &str| Some([from.to_string(), to.to_string()]);
        assert_eq!(way_of("simt/α/β"), way("α", "β"));
        assert_eq!(way_of("simt/α/β#3/reverse"), way("β", "α"));
        assert_eq!(way_of("simt/α"), None);
    }

    #[test]
    fn a_fault_concerns_those_it_names_or_all() {
        let mut lanes = Lanes::new();
        for host in ["α", "β", "γ", "two words"] {
            lanes.of(host.into());
        }
        assert_eq!(lanes.of_fault("partition α | γ"), [1, 3]);
        assert_eq!(lanes.of_fault("crash two words"), [4]);
        assert_eq!(lanes.of_fault("heal"), []);
        assert_eq!(lanes.of_fault("latency α γ: undone, 1ms to 10ms"), [1, 3]);
        assert_eq!(lanes.of_fault("clock two words: offset 5s, drift 0 ppm"), [4]);
        assert_eq!(lanes.of_choice("latency simt/β/α/reverse"), 1);
        assert_eq!(lanes.of_choice("priority node/γ timer"), 3);
        assert_eq!(lanes.of_choice("choose main coin"), 0);
    }
}
