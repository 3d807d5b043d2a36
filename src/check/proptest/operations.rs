//! Sequences of operations as a proptest strategy.
//!
//! Shrinking removes operations; each remaining operation is simplified by its own strategy.

use std::fmt;

use proptest::collection::SizeRange;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// Sequences of `count` operations. Shrinking leaves operations out, and makes each remaining one
/// simpler by itself.
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
        let (min_count, max_count) = self.count.start_end_incl();
        let count = (min_count..=max_count).new_tree(runner)?.current();
        let operations = (0..count).map(|_| self.operation.new_tree(runner));
        let operations: Vec<_> = operations.collect::<Result<_, _>>()?;
        let active = (0..count).collect();
        let first_pass = Pass::Remove { at: 0, length: count.div_ceil(2), improved: false };
        Ok(OperationsTree {
            operations,
            active,
            min_count,
            pass: first_pass,
            last_change: LastChange::Unchanged,
        })
    }
}

/// The current pass.
#[derive(Clone, Copy, Debug)]
enum Pass {
    /// Leaves out `length` of the kept operations, from `at` on.
    Remove { at: usize, length: usize, improved: bool },
    /// To make that one simpler, of those kept.
    Simplify { at: usize, improved: bool },
}

/// The last attempt.
#[derive(Clone, Debug)]
enum LastChange {
    Unchanged,
    /// These, from that place on, were left out.
    Removed(usize, Vec<usize>),
    Simplified(usize),
}

/// The tree of [`Operations`].
#[derive(Clone)]
pub struct OperationsTree<T> {
    operations: Vec<T>,
    /// Which are left, in order.
    active: Vec<usize>,
    min_count: usize,
    pass: Pass,
    last_change: LastChange,
}

impl<T: ValueTree> OperationsTree<T> {
    /// Leaves out the next stretch; if there is none, all stretches are done.
    fn remove_next(&mut self) -> bool {
        if let LastChange::Removed(..) =
            std::mem::replace(&mut self.last_change, LastChange::Unchanged)
            && let Pass::Remove { improved, .. } = &mut self.pass
        {
            // It was not put back.
            *improved = true;
        }
        while let Pass::Remove { at, length, improved } = self.pass {
            let removable = self.active.len() - self.min_count;
            let removed_count = length.min(removable).min(self.active.len().saturating_sub(at));
            if removed_count > 0 {
                let removed = self.active.drain(at..at + removed_count).collect();
                self.last_change = LastChange::Removed(at, removed);
                return true;
            }
            self.pass = match length {
                0 | 1 if !improved || removable == 0 => Pass::Simplify { at: 0, improved: false },
                0 | 1 => Pass::Remove { at: 0, length: 1, improved: false },
                _ => Pass::Remove { at: 0, length: length.div_ceil(2), improved },
            };
        }
        false
    }
}

impl<T: ValueTree> ValueTree for OperationsTree<T> {
    type Value = Vec<T::Value>;

    fn current(&self) -> Self::Value {
        self.active.iter().map(|index| self.operations[*index].current()).collect()
    }

    fn simplify(&mut self) -> bool {
        loop {
            if self.remove_next() {
                return true;
            }
            let Pass::Simplify { at, improved } = &mut self.pass else { return false };
            // Whatever was tried last has failed, or has been undone step by step.
            *improved |= matches!(self.last_change, LastChange::Simplified(_));
            match self.active.get(*at) {
                Some(index) if self.operations[*index].simplify() => {
                    self.last_change = LastChange::Simplified(*index);
                    return true;
                }
                Some(_) => (*at, self.last_change) = (*at + 1, LastChange::Unchanged),
                // If others are simpler, an operation may be left out that could not be before.
                None if *improved => {
                    self.pass = Pass::Remove { at: 0, length: 1, improved: false };
                }
                None => return false,
            }
        }
    }

    fn complicate(&mut self) -> bool {
        match std::mem::replace(&mut self.last_change, LastChange::Unchanged) {
            LastChange::Unchanged => false,
            LastChange::Removed(start, removed) => {
                if let Pass::Remove { at, .. } = &mut self.pass {
                    *at = start + removed.len();
                }
                self.active.splice(start..start, removed);
                true
            }
            LastChange::Simplified(index) => {
                let changed = self.operations[index].complicate();
                if changed {
                    self.last_change = LastChange::Simplified(index);
                }
                changed
            }
        }
    }
}

impl<T: ValueTree> fmt::Debug for OperationsTree<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OperationsTree").field(&self.current()).finish()
    }
}
