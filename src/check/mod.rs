//! Many runs of one test: sweeps, determinism, shrinking, and a report that explains.
//!
//! A test is a function that is executed once a seed. When a seed fails it is first run twice more,
//! to see whether it is the same run at all; then its choices are left out one after the other, as
//! long as it fails in the same way; and what is left is told in words.
//!
//! ```
//! # // An example, and not a test of this library: it is not executed here.
//! #[virtnet::test(seeds = 1000, time_limit = "5min")]
//! async fn replicas_agree(sim: virtnet::Sim) -> Result<(), virtnet::Error> {
//!     let net = virtnet::simnet::Network::new("t");
//!     // ..
//!     # let _ = (sim, net);
//!     Ok(())
//! }
//! ```
//!
//! # Options of `#[virtnet::test]`
//!
//! | option | meaning | if not given |
//! |---|---|---|
//! | `seeds = 1000`, `seeds = "5..105"` | the seeds | 0 to 63 |
//! | `schedule = "pct:3"` | how orders are explored: `fifo`, `random`, `pct:N` | `random` |
//! | `time_limit = "5min"` | virtual time a run may take: `ns us ms s min h` | an hour |
//! | `step_limit = 100000` | polls a run may take | ten million |
//! | `isolate = "none"` | workers go on from run to run, for runs of microseconds | `thread` |
//! | `jobs = 2` | threads | all cores from 256 seeds on |
//! | `check_determinism` | every seed is run three times | after a failure only |
//! | `shrink = 100` | runs that shrinking may take; 0 is none | 1000 |
//!
//! The function takes a `Sim` or nothing, and returns nothing or a `Result`. Other attributes, such
//! as `should_panic`, stay as they are.
//!
//! # Runs that do not come back
//!
//! A run that spends more than ten seconds of real time in one poll is told on standard error, with
//! its seed and its task. A run that takes the process with it, by an abort or a stack overflow,
//! leaves its seed in a file beside the tapes: the next sweep of that test says which it was.
//!
//! # Variables
//!
//! | variable | meaning |
//! |---|---|
//! | `VIRTNET_SEED=0x1f4` | that seed alone |
//! | `VIRTNET_SEEDS=10000`, `5..105`, `random:1000` | those seeds |
//! | `VIRTNET_TAPE=file` | that tape alone |
//! | `VIRTNET_SHARD=3/16` | every sixteenth seed, from the third on; Slurm's and Kubernetes' too |
//! | `VIRTNET_JOBS=2` | on so many threads |
//! | `VIRTNET_CHECK=1` | every seed is run three times |
//! | `VIRTNET_SHRINK=100` | shrinking takes at most so many runs; 0 turns it off |
//! | `VIRTNET_TRACE=run.html` | the run that failed or is replayed, as a page to look at |
//! | `VIRTNET_TRACE=run.json` | the same for Perfetto, in Chrome's trace event format |
//! | `VIRTNET_TRACE=file` | the same as text, a line a record; any other ending |
//!
//! A trace is written when a run fails, and whenever one is replayed. The page and Chrome's format
//! have the shrunk run beside the original. The page is one file that needs no other: a lane for
//! each host, arrows for messages, faults, the choices that matter, what led to each record. Name
//! one test when asking for a trace: others that fail write the same file.

mod gather;
mod panics;
mod failure;
mod play;
mod settings;
mod running;
mod watch;
mod sweep;
mod twice;
mod words;
mod shrink;
mod past;
mod report;
mod json;
mod lanes;
mod story;
mod chrome;
mod view;
mod trace_file;
mod test;

pub use gather::{always, eventually, sometimes};
#[doc(hidden)]
pub use gather::{note_always, note_sometimes};
pub use report::Report;
pub use settings::Isolation;
#[doc(hidden)]
pub use test::Attribute;
pub use test::Check;

#[cfg(feature = "proptest")]
pub(crate) use play::{Case, Input, Played, play};
