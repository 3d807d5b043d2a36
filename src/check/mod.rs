//! Many runs of one test: sweeps, determinism, shrinking, and a report that explains.
//!
//! A test is a function that is executed once a seed. When a seed fails it is first run twice more,
//! to see whether it is the same run at all; then its choices are left out one after the other, as
//! long as it fails in the same way; and the report says in words which choices remain.
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
//! | `budget = "60s"` | goes on for so long, past those if they are not given | no limit |
//! | `schedule = "pct:3"` | how orders are explored: `fifo`, `random`, `pct:N` | `random` |
//! | `time_limit = "5min"` | virtual time a run may take: `ns us ms s min h` | an hour |
//! | `step_limit = 100000` | steps a run may take: `Run::step_limit` says which | ten million |
//! | `poll_limit = "60s"` | real time of one poll, with `isolate = "process"` | a minute |
//! | `isolate = "process"` | each run in a process of its own | `thread` |
//! | `isolate = "shared"` | workers go on from run to run, for runs of microseconds | `thread` |
//! | `jobs = 2` | threads | all cores from 256 seeds on, and for processes |
//! | `check_determinism`, `= "all"` | every seed is repeated: see below | after a failure |
//! | `shrink = 100`, `"30s"`, `"100,30s"` | runs and real time for shrinking | 1000, 8 s |
//!
//! The function takes a `Sim` or nothing, and returns nothing or a `Result`. Other attributes, such
//! as `should_panic`, stay as they are.
//!
//! # Whether a seed is a run
//!
//! | word | a run is held against | exposes beside hash order, clocks and threads |
//! |---|---|---|
//! | `true`, `warm` | itself, twice more in this process | |
//! | `cold` | and itself in a fresh process | addresses, the environment, what was left |
//! | `shuffled` | and itself after eight other seeds | what those leave in a static |
//! | `all` | all of these | |
//!
//! A seed that has failed is held against two more runs and, on the thread of a test, against a
//! fresh process as well, which is what its replay line begins. A difference stands beside the
//! failure: the first record that differs, from both sides, which repetition has shown it, and how
//! each repetition ended. A failure that is the same in all of them is shrunk all the same. One
//! that only earlier runs bring about, through a static or a thread-local, is reported as that,
//! with a replay line that runs those seeds first.
//!
//! Repetitions of a failure have twice as much real time together as shrinking has, and two seconds
//! at least. A run that is under way when the time is over is stopped, and the report says so.
//!
//! # What a sweep should reach
//!
//! `sometimes!(condition, "label")` fails a sweep in which it was asked and never held: a test that
//! never gets where it is meant to get proves nothing. One run alone, a replay, a shard and any
//! other part of the seeds never fail by it: see below. `always!(condition, "label")` fails the run
//! in which it does not hold, where and when that is: a rule that is broken long before the end of
//! a run, such as that a term has one leader, is found in more seeds by it than by what is left at
//! the end, and the report ends there. Both are macros of this module, for the test and for the
//! system under test.
//!
//! # Runs that do not come back
//!
//! A run that spends more than ten seconds of real time in one poll is told on standard error, with
//! its seed and its task. With `isolate = "process"` its process is ended when a poll takes longer
//! than `poll_limit`, and the seed has failed: the report names the task. Such a run is neither
//! repeated nor cut down. A thread cannot be ended, so that elsewhere the sweep waits.
//!
//! A run that takes the process with it, by an abort or a stack overflow, leaves its seed in a file
//! beside the tapes: the next sweep of that test says which it was. With `isolate = "process"` it
//! is a seed that failed, with the signal's name, its last panics and its last words.
//! Two panics of which one leaves a destructor while the other unwinds are told at once, too.
//!
//! `std::process::exit` in a run ends the process with a status that may say that all is well. It
//! is told with its seed, and the process aborts instead. That takes a C library that executes the
//! destructors of the calling thread's locals at an exit, such as glibc or that of macOS, and an
//! exit on the run's own thread. Otherwise the seed is told by the next sweep of that test only;
//! with `isolate = "process"` it has failed in any case.
//!
//! Ctrl-C ends all at once, as in any test: no handler is installed. The next sweep of that test
//! says which seeds were being run, of which it cannot know whether one was the reason, and from
//! which seed to go on: those before it were well. A failure is on disk before it is cut down, and
//! so is each smaller one: the next sweep says where. What faults and `sometimes!` had come to by
//! then is lost.
//!
//! # Results of many machines
//!
//! `VIRTNET_RESULTS=file` adds a line of JSON for each sweep. Those of several machines are put
//! together by writing one file after the other, and judged by the tests themselves:
//!
//! ```text
//! VIRTNET_SHARD=3/16 VIRTNET_RESULTS=3.jsonl cargo test     on each machine
//! cat *.jsonl > all.jsonl && VIRTNET_MERGE=all.jsonl cargo test
//! ```
//!
//! Then each test fails if any of its seeds did, if a shard is missing, if a `sometimes!` was
//! reached on no machine, or if a fault had an effect on none. A shard alone fails by seeds only.
//! Lines of the same test from other nights may stand in the file, too. If all lines together have
//! fewer seeds than the test asks for, they are judged as a part, and standard error says so.
//!
//! # A whole sweep and a part of one
//!
//! `sometimes!` and faults without an effect are judged for a whole sweep only. A sweep is whole if
//! it is no shard and
//!
//! - it has run all seeds that the test itself asks for, or
//! - `VIRTNET_SEEDS` gave a range with an end or drew seeds, or a stress iteration has fresh ones,
//!   and it has run at least as many as the test asks for.
//!
//! Everything else is a part, and fails by seeds only: fewer seeds, a single one, what a time ended
//! early, and what goes on from there. A line that goes on says `VIRTNET_SEEDS=rest:..` where its
//! seeds could be taken for a whole sweep.
//!
//! | key | value |
//! |---|---|
//! | `virtnet` | 1: the version of these keys |
//! | `program`, `test` | the test's program, without the hash of its build, and its name |
//! | `seeds`, `shard` | `["0x0","0x3e8"]`, the end not among them; `"3/16"` or null |
//! | `passed` | how many seeds have passed |
//! | `failed` | null, or the smallest that failed: `seed`, `fingerprint`, `what` |
//! | `next` | the seed to go on from, if the time was used up |
//! | `sometimes`, `always` | how often each label held |
//! | `ledger` | by fault family: requested, drawn, applied, effective |
//! | `millis` | real time |
//!
//! # Variables
//!
//! | variable | meaning |
//! |---|---|
//! | `VIRTNET_SEED=0x1f4` | that seed alone |
//! | `VIRTNET_SEEDS=10000`, `5..105`, `5..`, `random:1000` | those seeds |
//! | `VIRTNET_SEEDS=rest:5..105` | those seeds, as the rest of a sweep |
//! | `VIRTNET_BUDGET=60s` | seed after seed until the time is used up, past those of the test |
//! | `VIRTNET_TAPE=file` | that tape alone |
//! | `VIRTNET_SHARD=3/16` | every sixteenth seed, from the third on; Slurm's and Kubernetes' too |
//! | `VIRTNET_JOBS=2` | on so many threads, 1024 at most |
//! | `VIRTNET_CHECK_DETERMINISM=1`, `cold`, `shuffled`, `all` | every seed is repeated, as above |
//! | `VIRTNET_SHRINK=100`, `30s`, `100,30s` | runs and real time for shrinking; 0 turns it off |
//! | `VIRTNET_POLL_LIMIT=60s` | real time of one poll, with processes |
//! | `VIRTNET_TRACE=run.html` | the run that failed or is replayed, as a page to look at |
//! | `VIRTNET_TRACE=run.json` | the same for Perfetto, in Chrome's trace event format |
//! | `VIRTNET_TRACE=file` | the same as text, a line a record; any other ending |
//! | `VIRTNET_RESULTS=file` | a line for each sweep is added there |
//! | `VIRTNET_MERGE=file` | no seed is run: such lines are judged |
//!
//! In a stress test of nextest's (`cargo nextest run --stress-count 10`) each iteration has the
//! seeds that follow on those of the one before; its retries have the same again. What two
//! variables say of seeds and time holds both; a time alone ends with the time.
//!
//! A value that is malformed is refused, and so is a name that is nearly one of these. Others that
//! begin with `VIRTNET_` are the test's own.
//!
//! A trace is written when a run fails, and whenever one is replayed. The page and Chrome's format
//! have the shrunk run beside the original. The page is one file that needs no other: a lane for
//! each host, arrows for messages, faults, the choices that matter, what led to each record. Name
//! one test when asking for a trace: others that fail write the same file.

pub(crate) mod analysis;
pub(crate) mod assertions;
pub(crate) mod check;
pub(crate) mod exec;
pub(crate) mod failure;
#[cfg(feature = "proptest")]
pub mod proptest;
pub(crate) mod replay_command;
pub(crate) mod report;
pub(crate) mod runner;
pub(crate) mod settings;
pub(crate) mod shell_quote;
pub(crate) mod sweep;
pub(crate) mod sweep_results;
pub(crate) mod test_id;

pub use assertions::{always, eventually, sometimes};
#[doc(hidden)]
pub use assertions::{note_always, note_sometimes};
#[doc(hidden)]
pub use check::Attribute;
pub use check::Check;
pub use report::text::Report;
pub use settings::{DeterminismCheck, Isolation};

#[cfg(feature = "proptest")]
pub(crate) use exec::run_once::{RunResult, TestFn, TestInput, run_once};
