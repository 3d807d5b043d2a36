//! A host as the network sees it: a name, a life, and whether anybody is at home.
//!
//! Knows what outlives a crash: the name, the place in a region, the program that is started
//! again. Refuses to know sockets and what runs.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayString;

use crate::net::{Gate, Host};
use crate::sim::{TaskId, World, hash_name};

use super::ledger::{Fault, Lasting, Ledger};

/// What a node's program comes to: nothing, or why it failed.
pub(crate) type Life = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// What a node runs, in each of its lives.
pub(crate) type Program = Rc<dyn Fn(Host) -> Life>;

/// Whether anybody is at home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Power {
    /// It answers.
    Up,
    /// It answers everything with a reset: not started yet, or crashed.
    Down,
    /// It answers nothing.
    Silent,
}

impl Power {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Silent => "without power",
        }
    }
}

/// What the registry knows of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announced {
    /// In which life it stands.
    pub(crate) life: u32,
    /// In which it stood before, until when somebody may still be told so.
    pub(crate) stale: Option<(u32, u64)>,
}

/// A host as the network sees it.
pub(crate) struct Machine {
    pub(crate) name: Arc<str>,
    /// The hash of the name, of which the names of its connections are made.
    pub(crate) hash: u64,
    pub(crate) region: u32,
    pub(crate) power: Power,
    /// How many times it has been restarted.
    pub(crate) life: u32,
    /// `None` while the registry does not know it.
    pub(crate) announced: Option<Announced>,
    /// The life in which it was last dialed, and its host then.
    pub(crate) gate: Option<(u32, Gate)>,
    /// The host of the present life, once it is announced.
    pub(crate) host: Option<Host>,
    /// What makes it a node, if it is one.
    pub(crate) node: Option<NodePart>,
}

/// What a node is, beyond being a host.
pub(crate) struct NodePart {
    /// Its number among the nodes of the run.
    pub(crate) number: u16,
    pub(crate) program: Program,
    /// The task that runs the program in the present life.
    pub(crate) root: Option<TaskId>,
    /// Whether it is meant to run: what has been asked for, even if it has yet to be done.
    pub(crate) is_up: bool,
    /// Its pause, while it is paused.
    pub(crate) pause: Option<Lasting>,
    /// How many deaths and births of it were asked for and have yet to come.
    pub(crate) in_transition: u32,
    /// Where it was made, which is where its tasks are said to be spawned.
    pub(crate) spawned_at: &'static Location<'static>,
    /// What was set by hand: the offset and drift of its clock, and what a poll costs it.
    pub(crate) own_clock: (i64, i32),
    pub(crate) own_cost: Duration,
    /// Whether these faults, if they are on, have been felt.
    pub(crate) clock_felt: Option<bool>,
    pub(crate) slow_felt: Option<bool>,
}

impl NodePart {
    pub(crate) fn new(
        number: u16,
        program: Program,
        spawned_at: &'static Location<'static>,
    ) -> Self {
        Self {
            number,
            program,
            root: None,
            is_up: true,
            pause: None,
            in_transition: 0,
            spawned_at,
            own_clock: (0, 0),
            own_cost: Duration::ZERO,
            clock_felt: None,
            slow_felt: None,
        }
    }

    /// Notes which faults have been felt by now.
    pub(crate) fn feel(&mut self, ledger: &mut Ledger, world: &World) {
        let [held_up, misled, slow] = world.felt(self.number);
        let pause_felt = self.pause.as_mut().map(|pause| &mut pause.felt);
        let felt = [
            (Fault::Pause, pause_felt, held_up),
            (Fault::Clock, self.clock_felt.as_mut(), misled),
            (Fault::SlowNode, self.slow_felt.as_mut(), slow),
        ];
        for (family, felt, now) in felt {
            if let Some(felt) = felt.filter(|_| now) {
                ledger.felt(family, felt);
            }
        }
    }
}

impl Machine {
    pub(crate) fn new(name: Arc<str>, region: u32) -> Self {
        let (hash, power) = (hash_name(&name), Power::Down);
        Self {
            name,
            hash,
            region,
            power,
            life: 0,
            announced: None,
            gate: None,
            host: None,
            node: None,
        }
    }
}

/// A [`Place`] as it is written: two numbers of at most ten digits, and a point.
pub(crate) type Hostdata = ArrayString<21>;

/// What the registry tells of a host: which machine, and in which life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) machine: u32,
    pub(crate) life: u32,
}

impl Place {
    /// Writes it as a host's data in the registry.
    pub(crate) fn to_hostdata(self) -> Hostdata {
        let mut text = Hostdata::new();
        push_decimal(&mut text, self.machine);
        text.push('.');
        push_decimal(&mut text, self.life);
        text
    }

    /// Reads what [`Place::to_hostdata`] has written, in one pass: it is read for every dial.
    pub(crate) fn of_hostdata(text: &str) -> Option<Self> {
        let mut numbers = [None; 2];
        let mut which = 0;
        for byte in text.bytes() {
            match byte {
                b'.' => which += 1,
                b'0'..=b'9' => {
                    let number = numbers.get_mut(which)?;
                    let before = number.unwrap_or(0_u32).checked_mul(10)?;
                    *number = Some(before.checked_add(u32::from(byte - b'0'))?);
                }
                _ => return None,
            }
        }
        Some(Self { machine: numbers[0]?, life: numbers[1]? }).filter(|_| which == 1)
    }
}

/// Writes a number; `format!` would be a twentieth of a dial.
fn push_decimal(text: &mut Hostdata, number: u32) {
    if number >= 10 {
        push_decimal(text, number / 10);
    }
    let digit = (number % 10) as usize;
    text.push_str(&"0123456789"[digit..=digit]);
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_place_survives_being_written_and_nothing_else_is_one() {
        for place in [(0, 0), (7, 10), (u32::MAX, 1_234_567_890)] {
            let place = Place { machine: place.0, life: place.1 };
            assert_eq!(Place::of_hostdata(&place.to_hostdata()), Some(place));
        }
        assert_eq!(Place { machine: 70, life: 105 }.to_hostdata().as_str(), "70.105");
        let longest = Place { machine: u32::MAX, life: u32::MAX }.to_hostdata();
        assert!(longest.is_full(), "{longest}");
        assert_eq!(["", "1", "1.", ".1", "1.x"].map(Place::of_hostdata), [None; 5]);
    }
}
