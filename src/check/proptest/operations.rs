//! Sequences of operations as a strategy of proptest's.
//!
//! Knows how to leave operations out; each is drawn and made simpler by a strategy of its own.

use std::fmt;

use proptest::collection::SizeRange;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// Sequences of so many operations; of what is left, each is made simpler by itself.
///
/// Like `proptest::collection::vec`, but stretches are left out before single ones, and single ones
/// again until none can be: fewer runs, and fewer operations in the end.
pub fn operations<S: Strategy>(operation: S, count: impl Into<SizeRange>) -> Operations<S> {
    Operations { operation, count: count.into() }
}

/// The strategy that [`operations`] makes.
#[derive(Clone, Debug)]
#[must_use = "strategies do nothing unless used"]
pub struct Operations<S> {
    operation: S,
    count: SizeRange,
}

impl<S: Strategy> Strategy for Operations<S> {
    type Tree = OperationsTree<S::Tree>;
    type Value = Vec<S::Value>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let (least, most) = self.count.start_end_incl();
        let count = (least..=most).new_tree(runner)?.current();
        let operations = (0..count).map(|_| self.operation.new_tree(runner));
        let operations: Vec<_> = operations.collect::<Result<_, _>>()?;
        let kept = (0..count).collect();
        let leave_out = Pass::LeaveOut { at: 0, length: count.div_ceil(2), better: false };
        Ok(OperationsTree { operations, kept, least, pass: leave_out, last: Last::Nothing })
    }
}

/// What is being tried.
#[derive(Clone, Copy, Debug)]
enum Pass {
    /// To leave out so many of those kept, from that one on.
    LeaveOut { at: usize, length: usize, better: bool },
    /// To make that one simpler, of those kept.
    Simplify { at: usize, better: bool },
}

/// What was tried last.
#[derive(Clone, Debug)]
enum Last {
    Nothing,
    /// These, from that place on, were left out.
    LeftOut(usize, Vec<usize>),
    Simplified(usize),
}

/// The tree of [`Operations`].
#[derive(Clone)]
pub struct OperationsTree<T> {
    operations: Vec<T>,
    /// Which are left, in order.
    kept: Vec<usize>,
    least: usize,
    pass: Pass,
    last: Last,
}

impl<T: ValueTree> OperationsTree<T> {
    /// Leaves out the next stretch; if there is none, all stretches are done.
    fn leave_out(&mut self) -> bool {
        if let Last::LeftOut(..) = std::mem::replace(&mut self.last, Last::Nothing)
            && let Pass::LeaveOut { better, .. } = &mut self.pass
        {
            // It was not put back.
            *better = true;
        }
        while let Pass::LeaveOut { at, length, better } = self.pass {
            let spare = self.kept.len() - self.least;
            let some = length.min(spare).min(self.kept.len().saturating_sub(at));
            if some > 0 {
                let gone = self.kept.drain(at..at + some).collect();
                self.last = Last::LeftOut(at, gone);
                return true;
            }
            self.pass = match length {
                0 | 1 if !better || spare == 0 => Pass::Simplify { at: 0, better: false },
                0 | 1 => Pass::LeaveOut { at: 0, length: 1, better: false },
                _ => Pass::LeaveOut { at: 0, length: length.div_ceil(2), better },
            };
        }
        false
    }
}

impl<T: ValueTree> ValueTree for OperationsTree<T> {
    type Value = Vec<T::Value>;

    fn current(&self) -> Self::Value {
        self.kept.iter().map(|place| self.operations[*place].current()).collect()
    }

    fn simplify(&mut self) -> bool {
        loop {
            if self.leave_out() {
                return true;
            }
            let Pass::Simplify { at, better } = &mut self.pass else { return false };
            // Whatever was tried last has failed, or has been undone step by step.
            *better |= matches!(self.last, Last::Simplified(_));
            match self.kept.get(*at) {
                Some(place) if self.operations[*place].simplify() => {
                    self.last = Last::Simplified(*place);
                    return true;
                }
                Some(_) => (*at, self.last) = (*at + 1, Last::Nothing),
                // Where others are simpler, one may be left out that could not be before.
                None if *better => {
                    self.pass = Pass::LeaveOut { at: 0, length: 1, better: false };
                }
                None => return false,
            }
        }
    }

    fn complicate(&mut self) -> bool {
        match std::mem::replace(&mut self.last, Last::Nothing) {
            Last::Nothing => false,
            Last::LeftOut(from, gone) => {
                if let Pass::LeaveOut { at, .. } = &mut self.pass {
                    *at = from + gone.len();
                }
                self.kept.splice(from..from, gone);
                true
            }
            Last::Simplified(place) => {
                let moved = self.operations[place].complicate();
                if moved {
                    self.last = Last::Simplified(place);
                }
                moved
            }
        }
    }
}

impl<T: ValueTree> fmt::Debug for OperationsTree<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OperationsTree").field(&self.current()).finish()
    }
}
