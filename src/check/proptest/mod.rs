//! Tests with an input: drawn by proptest strategies, and shrunk together with the run. Feature
//! `proptest`.
//!
//! The input of a run is a function of its seed and its tape, as everything else is. Seeds, tapes,
//! determinism checks and sweeps on many threads therefore work unchanged, no file of regressions
//! is needed, and the replay line of a report restores the input as well.
//!
//! ```
//! use proptest::prelude::*;
//! use virtnet::check::Check;
//! use virtnet::proptest::operations;
//!
//! /// An operation on a stack.
//! #[derive(Clone, Debug)]
//! enum Op {
//!     Push(u8),
//!     Pop,
//! }
//!
//! let ops = || operations(prop_oneof![Just(Op::Pop), any::<u8>().prop_map(Op::Push)], 1..30);
//! let report = Check::new("stack").run_with(ops, |sim, ops| async move {
//!     let mut stack = Vec::new();
//!     for op in ops {
//!         match op {
//!             Op::Push(value) => stack.push(value),
//!             // The bug: on a bad day it pops from an empty stack.
//!             Op::Pop if sim.choose("weather", 4) == 0 => drop(stack.pop()),
//!             Op::Pop => drop(stack.pop().expect("an empty stack")),
//!         }
//!     }
//! });
//! assert_eq!(report.input(), Some("[Pop]"));
//! assert_eq!(report.choices().map(|(matter, _)| matter), Some(1));
//! ```
//!
//! # How the two shrinkers work together
//!
//! A failing run has two parts: the input, which proptest can simplify, and the choices, which
//! [`check`](crate::check) can remove. The input is first: a simpler input is run with the same
//! seed, and is kept if that run fails in the same way. This works because choices are keyed: a
//! choice that is still made after operations were removed has the same value as before. The
//! choices are shrunk next, with the remaining input. The tape has both, the input as the steps of
//! proptest's tree.
//!
//! Inputs therefore become simpler the less an operation depends on those before it. If each
//! operation has its own instant, it still meets the same fault when others are removed. If hosts
//! and tasks have names that describe them, their choices remain theirs.
//!
//! An update of proptest, or an edit of the strategy, may draw another input from the same seed.
//! So does `PROPTEST_MAX_DEFAULT_SIZE_RANGE`, alone among its variables, where a size is left to
//! proptest.
//!
//! # Inside proptest's own macro
//!
//! `proptest! { fn test(ops in ops(), seed in any::<u64>().no_shrink()) { .. } }` with a [`Run`]
//! of that seed in it works, too. Proptest simplifies the input, and runs remain comparable for
//! the same reason. The choices are not shrunk.

use std::future::Future;

use proptest::sample::subsequence;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::check::{Check, Report, RunResult, TestFn, TestInput, run_once};
use crate::sim::{Run, Sim};
use crate::simnet::{Faults, NodeOutput};

mod operations;
pub use operations::{Operations, OperationsTree, operations};

impl Check {
    /// Executes all of it as [`Check::run`] does, with an input for each run: `inputs` makes the
    /// strategy by which it is drawn from the run's seed. A note in the trace says what it was.
    ///
    /// If a run fails, its input is made simpler first, and then its choices are left out: see
    /// `virtnet::proptest`, which has an example. [`Report::input`] says what is left.
    ///
    /// A strategy that gives up, because its filters refuse nearly everything, or that panics,
    /// fails the run as a panic of the test does.
    pub fn run_with<M, S, F, Fut>(self, inputs: M, test: F) -> Report
    where
        M: Fn() -> S + Sync,
        S: Strategy<Tree: 'static>,
        F: Fn(Sim, S::Value) -> Fut + Sync,
        Fut: Future<Output: NodeOutput> + 'static,
    {
        self.run_test_fn(&TestWithInput { inputs, test })
    }
}

/// A test that is given an input.
struct TestWithInput<M, F> {
    inputs: M,
    test: F,
}

impl<M, S, F, Fut> TestFn for TestWithInput<M, F>
where
    M: Fn() -> S + Sync,
    S: Strategy<Tree: 'static>,
    F: Fn(Sim, S::Value) -> Fut + Sync,
    Fut: Future<Output: NodeOutput> + 'static,
{
    fn execute(&self, run: Run) -> RunResult {
        run_once(run, |sim| {
            let mut tree = draw_tree(&(self.inputs)(), sim.seed());
            let words = (0..).map(|ordinal| sim.input_word(ordinal));
            replay_steps(&mut tree, words.take_while(|word| *word != 0));
            let input = tree.current();
            let text = format!("input {input:?}");
            let test = (self.test)(sim, input);
            async move {
                sim.note(text);
                test.await
            }
        })
    }

    fn input(&self, seed: u64, words: &[u64]) -> Option<Box<dyn TestInput>> {
        // The strategy is gone when this returns, and its tree knows nothing of it.
        let mut tree = draw_tree(&(self.inputs)(), seed);
        let steps = replay_steps(&mut tree, words.iter().copied());
        let text = format!("{:?}", tree.current());
        Some(Box::new(InputTree { tree, steps, failing_text: text }))
    }
}

/// Draws what a run of that seed is given.
fn draw_tree<S: Strategy>(strategy: &S, seed: u64) -> S::Tree {
    // Another stream than any task's.
    let mut key = *b"........ is the seed of an input";
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &key);
    // The rest of the settings is for proptest's own runs. These are its defaults, said here
    // because it would ask the environment for them.
    let config = Config {
        max_local_rejects: 65_536,
        max_flat_map_regens: 1_000_000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    strategy.new_tree(&mut runner).unwrap_or_else(|reason| {
        // The runner tells which filter has refused how much.
        panic!("virtnet: the strategy has made no input of seed {seed:#x}: {reason}\n{runner}")
    })
}

/// The number of steps in a word of a tape, each in two bits, the first in the lowest.
const STEPS_PER_WORD: usize = 31;
/// A step: what was given before has failed, and is made simpler; anything else: it has not, and
/// half of the last step is undone.
const SIMPLIFY: u64 = 1;
const COMPLICATE: u64 = 2;

/// Takes the steps that a tape has of a tree.
fn replay_steps(tree: &mut impl ValueTree, words: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut steps = Vec::new();
    for mut word in words {
        while word != 0 {
            let step = word & 3;
            word >>= 2;
            _ = if step == SIMPLIFY { tree.simplify() } else { tree.complicate() };
            steps.push(step);
        }
    }
    steps
}

/// A tree of proptest's, and the steps it has taken.
struct InputTree<T> {
    tree: T,
    steps: Vec<u64>,
    /// The last that is known to fail.
    failing_text: String,
}

impl<T: ValueTree> TestInput for InputTree<T> {
    fn simplify(&mut self, mut failed: bool) -> Option<Vec<u64>> {
        if failed {
            self.failing_text = format!("{:?}", self.tree.current());
        }
        loop {
            let changed = if failed { self.tree.simplify() } else { self.tree.complicate() };
            if !changed {
                return None;
            }
            self.steps.push(if failed { SIMPLIFY } else { COMPLICATE });
            // Often a step back leads to what was there before.
            failed = format!("{:?}", self.tree.current()) == self.failing_text;
            if !failed {
                let word = |steps: &[u64]| steps.iter().rfold(0, |word, step| word << 2 | step);
                return Some(self.steps.chunks(STEPS_PER_WORD).map(word).collect());
            }
        }
    }

    fn text(&self) -> String {
        self.failing_text.clone()
    }
}

/// Which faults a plan may draw: any of all families, and none when it is simplest.
///
/// The faults themselves are choices of the run: see
/// [`Network::fault_plan`](crate::simnet::Network::fault_plan).
pub fn faults() -> impl Strategy<Value = Faults> {
    faults_among(Faults::all())
}

/// Which faults a plan may draw: any of those families. Whether they swarm, and how many nodes may
/// be down, stays as it is.
///
/// ```
/// use virtnet::proptest::faults_among;
/// use virtnet::simnet::{FaultKind, Faults};
///
/// let faults = Faults::from([FaultKind::Crash, FaultKind::Partition]).max_down(1);
/// let strategy = faults_among(faults);
/// ```
pub fn faults_among(faults: Faults) -> impl Strategy<Value = Faults> {
    let families: Vec<_> = faults.kinds().collect();
    let count = 0..=families.len();
    let none = families.iter().fold(faults, |faults, family| faults.allow(*family, false));
    subsequence(families, count).prop_map(move |families| {
        families.iter().fold(none.clone(), |faults, family| faults.allow(*family, true))
    })
}
