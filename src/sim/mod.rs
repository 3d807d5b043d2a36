//! One thread, one seed, one clock: the simulated world. Knows no network.
//!
//! A run executes a future and the tasks it spawns. Everything that happens is
//! an event in one queue; what is uncertain about an event (its place among
//! others at that instant, whether it is late) is a *choice*, and every choice
//! is a pure function of the seed, of a *subject* that names who chooses, and of
//! how often that subject has chosen before. So the same seed is the same run,
//! and an edit in one place leaves the choices of every other place alone.
//!
//! The words, from the bottom up, which is also the order to read the files in:
//!
//! | word | meaning |
//! |---|---|
//! | choice | one uncertain thing, keyed by subject and ordinal; 0 is benign |
//! | schedule | how the choices about wake-ups are drawn |
//! | tape | a run as text: what it is drawn from, and what is overridden |
//! | instant | nanoseconds of virtual time since the run began |
//! | trace | the records of what happened; its fingerprint is always kept |
//! | event | an entry of the queue: poll this task, fire this timer |
//! | task | a spawned future, known by its path: `main/client/worker#2` |
//! | step | one poll of a task; it takes no virtual time |
//! | stall | what every task was about when a run stopped short |
//! | ending | how a run ended; a deadlock is a value, not a hang |
//!
//! # What is promised
//!
//! Same binary, same seed, same configuration: same [`Fingerprint`], in a fresh
//! process or after a thousand other runs, in any thread, whatever the
//! environment. Under [`Schedule::Fifo`], and on [`Tape::zero`], virtual times
//! are exact; otherwise a wake-up may be late, as on a real machine.
//!
//! One thing takes time that should not, under every schedule: a task that wakes
//! itself, by `yield_now` or because futures joined in it talk to each other, goes
//! on at the same instant once, and from then on a microsecond later each time,
//! unless something happens before. Otherwise a task that spins until a timer fires
//! would spin for ever. If nothing else happens for too many polls, that is a
//! livelock. Where instants must be exact, give each future a task.
//!
//! # What an edit moves
//!
//! The choices of whoever was edited, at most; nothing of anybody else's. All
//! timers of a task are one waker: one more may move when its other timers are
//! late, and the picks of a `select!` that is polled beside it, but not its wake-ups
//! by other tasks, its `choose`s or its
//! random words. A task without a name is known by its type, and by its index
//! among siblings of that type: name those that matter. What the edit makes happen
//! earlier or later may of course have consequences.
//!
//! # What a program must not do
//!
//! It must not take decisions from outside: the real clock,
//! other threads, the order of a `HashMap`, addresses.

pub(crate) mod choice;
pub(crate) mod fault_kind;
pub(crate) mod handle;
pub(crate) mod instant;
pub(crate) mod queue;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod std_instant;
pub(crate) mod task;
pub(crate) mod world;

pub use choice::family::{ChoiceFamily, ChoiceGroup};
pub(crate) use choice::hash::{hash_name, splitmix64};
pub use choice::recorded::Choice;
pub use choice::schedule::{ParseScheduleError, Schedule};
pub use choice::tape::{ParseTapeError, Tape};
pub use fault_kind::{FaultKind, ParseFaultKindError};
pub use handle::join::{JoinError, JoinErrorReason, JoinHandle};
pub use handle::rng::{SimRng, rng};
#[doc(hidden)]
pub use handle::select::SelectOrder;
pub use handle::sim::{Sim, TaskBuilder, spawn};
pub use handle::sleep::{
    Elapsed, Interval, MissedTickBehavior, Sleep, Timeout, YieldNow, interval, now, sleep,
    sleep_until, timeout, yield_now,
};
pub use instant::Instant;
pub(crate) use report::ending::NO_MESSAGE;
pub use report::ending::{Ending, TaskPanic};
pub use report::limit::Limit;
pub use report::outcome::{Outcome, RunError};
pub use report::stall::{History, LostWakeup, SelectEnd, Stall, StalledState, StalledTask};
pub use run::builder::Run;

pub(crate) use choice::distribution::{DelayPolicy, Distribution};
pub(crate) use choice::key::{ChoiceKey, PathHash, path_segment as path_step, unescape};
pub(crate) use choice::tape::INPUT_SUBJECT;
pub(crate) use instant::{in_three_digits, nanos};
pub(crate) use queue::callback_timers::RARE_BASE;
pub(crate) use report::trace::RecordIndex;
pub use report::trace::{
    Divergence, Fingerprint, ParseFingerprintError, Record, RecordKind, Trace,
};
#[cfg(feature = "os")]
pub(crate) use run::real_time::{is_simulated, run_real_time};
pub(crate) use task::boxed_task::box_task;
pub(crate) use task::name::TaskName;
pub(crate) use task::table::{Origin, TaskId};
pub(crate) use world::current::{current_run, try_enter, try_enter_run};
pub(crate) use world::deferred::Callback;
pub(crate) use world::node::NODE_PATH;
pub use world::node::NodeDeath;
pub(crate) use world::progress::{Progress, STOPPED};
pub(crate) use world::state::{PrefetchSet, World};
