//! Many runs of one test: sweeps, determinism checks, shrinking, and a report that explains.
//!
//! A test is a function that is executed once a seed. A failing seed is first run twice more, to
//! check that it is the same run each time. Then its choices are reset to 0, in groups and one by
//! one, as long as the run still fails in the same way. The report describes the choices that
//! remain.
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
//! | option | meaning | default |
//! |---|---|---|
//! | `seeds = 1000`, `seeds = "5..105"` | the seeds | 0 to 63 |
//! | `budget = "60s"` | real time of the sweep; without `seeds` it runs past 63 | no limit |
//! | `schedule = "pct:3"` | scheduler: `fifo`, `random`, `pct:N` | `random` |
//! | `time_limit = "5min"` | virtual time of a run: `ns us ms s min h` | one hour |
//! | `step_limit = 100000` | steps of a run, as in `Run::step_limit` | ten million |
//! | `poll_limit = "60s"` | real time of one poll, with `isolate = "process"` | one minute |
//! | `isolate = "process"` | each run in a process of its own | `thread` |
//! | `isolate = "shared"` | worker threads are reused, for runs of microseconds | `thread` |
//! | `jobs = 2` | worker threads | all cores from 256 seeds on, and with processes |
//! | `check_determinism`, `= "all"` | every seed is repeated: see below | after a failure |
//! | `shrink = 100`, `"30s"`, `"100,30s"` | runs and real time for shrinking | 1000, 8 s |
//!
//! The function takes a `Sim` or nothing, and returns nothing or a `Result`. Other attributes,
//! such as `should_panic`, are kept.
//!
//! # Determinism
//!
//! | value | a run is compared with | exposes, beside hash order, clocks and threads |
//! |---|---|---|
//! | `true`, `same-process` | itself, twice more in this process | |
//! | `fresh-process` | also itself in a fresh process | addresses, environment, earlier runs |
//! | `after-other-seeds` | also itself after eight other seeds | statics that those seeds change |
//! | `all` | all of these | |
//!
//! A failing seed is run twice more and compared. On the thread of a test it is also compared with
//! a run in a fresh process, which is what the replay line starts. The report shows a difference
//! beside the failure: the first record that differs, from both sides, the repetition that showed
//! it, and how each repetition ended. A failure that is the same in all repetitions is shrunk all
//! the same. A failure that occurs only after earlier runs, through a static or a thread-local, is
//! reported as such, with a replay line that runs those seeds first.
//!
//! All repetitions of a failure together have twice the real time of shrinking, at least two
//! seconds. A run in progress at that point is stopped, and the report says so.
//!
//! # Coverage and invariants
//!
//! `sometimes!(condition, "label")` fails a sweep in which it was evaluated and never held: a test
//! that never reaches the intended state proves nothing. A single run, a replay, a shard and any
//! other part of the seeds never fail by it; see below. `always!(condition, "label")` fails the
//! run at the point where it does not hold, and the report ends there. An invariant that breaks
//! long before the end of a run, such as one leader a term, is found in more seeds by `always!`
//! than by a check at the end. Both macros are in this module, for tests and for systems under
//! test.
//!
//! # Hanging and crashing runs
//!
//! A run that spends more than ten seconds of real time in one poll is reported on standard error,
//! with its seed and task. With `isolate = "process"` its process is killed when a poll takes
//! longer than `poll_limit`. The seed has then failed, and the report names the task. Such a run
//! is neither repeated nor shrunk. A thread cannot be killed: without processes the sweep waits.
//!
//! A run that kills the process, by an abort or a stack overflow, leaves its seed in a file beside
//! the tapes. The next sweep of the same test prints it. With `isolate = "process"` it is a failed
//! seed; the report has the signal's name, the last panics and the last lines of standard error.
//! Two panics, of which one leaves a destructor during the unwinding of the other, are reported at
//! once.
//!
//! `std::process::exit` in a run would end the test with a status that may mean success. The run
//! is reported with its seed, and the process aborts instead. This needs a C library that runs the
//! destructors of the calling thread's locals at exit, such as glibc or that of macOS, and an exit
//! on the run's own thread. Otherwise the next sweep of the same test prints the seed. With
//! `isolate = "process"` the seed has failed in any case.
//!
//! Ctrl-C is not handled. The next sweep of the same test prints the seeds that were in progress,
//! any of which may have been the reason, and the command that resumes at the first of them; all
//! seeds before it passed. A failure is on disk before shrinking begins, and so is each smaller
//! one: the next sweep prints where. Counts of faults and `sometimes!` up to then are lost.
//!
//! # Merging results of several machines
//!
//! `VIRTNET_RESULTS=file` appends one line of JSON for each sweep. The files of several machines
//! are concatenated, and the tests themselves judge the result:
//!
//! ```text
//! VIRTNET_SHARD=3/16 VIRTNET_RESULTS=3.jsonl cargo test     on each machine
//! cat *.jsonl > all.jsonl && VIRTNET_MERGE=all.jsonl cargo test
//! ```
//!
//! A test then fails if one of its seeds failed, if a shard is missing, if a `sometimes!` was
//! reached on no machine, or if a fault had an effect on none. A single shard fails by seeds only.
//! The file may have lines of the same test from other nights. If all lines together have fewer
//! seeds than the test asks for, they are judged as a partial sweep, and standard error says so.
//!
//! # Whole and partial sweeps
//!
//! `sometimes!` and faults without an effect are judged for a whole sweep only. A sweep is whole
//! if it is not a shard and
//!
//! - it has run all seeds that the test itself asks for, or
//! - `VIRTNET_SEEDS` gave a range with an end or random seeds, or a stress iteration has new ones,
//!   and it has run at least as many as the test asks for.
//!
//! Every other sweep is partial and fails by seeds only: one with fewer seeds, a single seed, one
//! that ran out of time, and its continuation. The command of a continuation has
//! `VIRTNET_SEEDS=rest:..` where its seeds could be taken for a whole sweep.
//!
//! | key | value |
//! |---|---|
//! | `virtnet` | 1: the version of these keys |
//! | `program`, `test` | the test's program, without the hash of its build, and its name |
//! | `seeds`, `shard` | `["0x0","0x3e8"]`, the end exclusive; `"3/16"` or null |
//! | `passed` | number of seeds that passed |
//! | `failed` | null, or the smallest failed seed: `seed`, `fingerprint`, `what` |
//! | `next` | the seed to resume from, if the time ran out |
//! | `sometimes`, `always` | how often each label held |
//! | `fault_stats` | by fault kind: requested, drawn, applied, effective |
//! | `millis` | real time |
//!
//! # Variables
//!
//! | variable | meaning |
//! |---|---|
//! | `VIRTNET_SEED=0x1f4` | that seed alone |
//! | `VIRTNET_SEEDS=10000`, `5..105`, `5..`, `random:1000` | those seeds |
//! | `VIRTNET_SEEDS=rest:5..105` | those seeds, as the rest of a sweep |
//! | `VIRTNET_BUDGET=60s` | real time of the sweep, which runs past the test's own seeds |
//! | `VIRTNET_TAPE=file` | that tape alone |
//! | `VIRTNET_SHARD=3/16` | the seeds with `seed % 16 == 2`; also by Slurm and Kubernetes |
//! | `VIRTNET_JOBS=2` | worker threads, at most 1024 |
//! | `VIRTNET_CHECK_DETERMINISM=1`, `all`, .. | every seed is repeated, as above |
//! | `VIRTNET_SHRINK=100`, `30s`, `100,30s` | runs and real time for shrinking; 0 turns it off |
//! | `VIRTNET_ISOLATE`, `_SCHEDULE`, `_TIME_LIMIT`, `_STEP_LIMIT` | the options of these names |
//! | `VIRTNET_POLL_LIMIT=60s` | real time of one poll, with processes |
//! | `VIRTNET_TRACE=run.html` | the failed or replayed run as a page for a browser |
//! | `VIRTNET_TRACE=run.json` | the same in Chrome's trace event format, for Perfetto |
//! | `VIRTNET_TRACE=file` | the same as text, one line a record; any other extension |
//! | `VIRTNET_RESULTS=file` | one line for each sweep is appended |
//! | `VIRTNET_MERGE=file` | no seed is run: such lines are merged and judged |
//!
//! In a stress test of nextest (`cargo nextest run --stress-count 10`) each iteration continues
//! with the seeds after those of the one before; retries repeat the same seeds. If two variables
//! limit seeds and time, both limits hold. A time alone ends the sweep when it is used up.
//!
//! A malformed value is an error, and so is a name that is nearly one of these. Other names that
//! begin with `VIRTNET_` belong to the test.
//!
//! A trace is written when a run fails, and whenever a run is replayed. The page and Chrome's
//! format have the shrunk run beside the original. The page is a single file: a lane for each
//! host, arrows for messages, the faults, the choices that matter, and the causes of each record.
//! Select one test when asking for a trace: every failing test writes the same file.

pub(crate) mod analysis;
pub(crate) mod assertions;
pub(crate) mod builder;
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
pub use builder::Attribute;
pub use builder::Check;
pub use report::text::Report;
pub use settings::{DeterminismCheck, Isolation};

#[cfg(feature = "proptest")]
pub(crate) use exec::run_once::{RunResult, TestFn, TestInput, run_once};
