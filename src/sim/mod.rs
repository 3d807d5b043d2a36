//! The simulated world: one thread, one seed, one clock.
//!
//! A run executes a future and the tasks it spawns. Everything that happens is an event in one
//! queue. The uncertain properties of an event (its priority among events of the same instant, its
//! delay) are *choices*. Every choice is a pure function of the seed, of a *key* that names the
//! choosing actor and the object, and of the number of earlier choices with that key. The same
//! seed is therefore the same run, and an edit in one place leaves the choices of all other places
//! unchanged.
//!
//! The terms, bottom up, which is also the order to read the files in:
//!
//! | term | meaning |
//! |---|---|
//! | choice | one uncertain value, identified by key and ordinal; 0 is benign |
//! | schedule | how the choices about wake-ups are drawn |
//! | tape | a run as text: the source of its choices, and overrides |
//! | instant | nanoseconds of virtual time since the run began |
//! | trace | the records of a run; its fingerprint is always computed |
//! | event | an entry of the queue: poll a task, fire a timer |
//! | task | a spawned future, identified by its path: `main/client/worker#2` |
//! | step | one poll of a task; it takes no virtual time |
//! | stall | the state of every task when a run ended early |
//! | ending | how a run ended; a deadlock is a value, not a hang |
//!
//! # Guarantees
//!
//! The same binary, seed and configuration give the same [`Fingerprint`]: in a fresh process,
//! after a thousand other runs, in any thread, in any environment. Under [`Schedule::Fifo`] and on
//! [`Tape::zero`], virtual times are exact. Otherwise a wake-up may be late, as on a real machine.
//!
//! There is one exception to exact times, under every schedule: a self-woken task. A task wakes
//! itself by `yield_now`, or when futures joined in it wake each other. Its first such poll is at
//! the same instant; each later one is a microsecond after the previous, unless another event
//! comes first. Without this, a task that spins until a timer fires would spin forever. Too many
//! such polls without another event are a livelock. Where instants must be exact, spawn a task for
//! each future.
//!
//! # Effects of an edit
//!
//! An edit moves at most the choices of the edited task. All timers of a task share one waker. An
//! additional timer may therefore move the delays of the task's other timers, and the picks of a
//! `select!` that is polled with it. It does not move the task's wake-ups by other tasks, its
//! `choose` calls or its random numbers. A task without a name is identified by its type and by
//! its index among siblings of that type: name the tasks that matter. Events that the edit makes
//! earlier or later may of course have further consequences.
//!
//! # Requirements on the program
//!
//! The program must not base decisions on anything outside the run: the real clock, other threads,
//! the iteration order of a `HashMap`, addresses.

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
pub use report::ending::Ending;
pub use report::limit::Limit;
pub use report::outcome::{Outcome, RunError};
pub use report::stall::{History, LostWakeup, SelectEnd, Stall, StalledState, StalledTask};
pub(crate) use report::task_panic::NO_MESSAGE;
pub use report::task_panic::TaskPanic;
pub use run::builder::Run;

pub(crate) use choice::distribution::Distribution;
pub(crate) use choice::key::{ChoiceKey, PathHash, path_segment as path_step, unescape};
pub(crate) use choice::tape::INPUT_SUBJECT;
pub(crate) use instant::{in_three_digits, nanos};
pub(crate) use queue::callback_timers::RARE_BASE;
pub(crate) use report::record::RecordTag;
pub use report::record::{
    DropReason, FaultAction, FaultChange, FaultTarget, Record, RecordKind, Segment,
    SegmentEndpoint, SegmentKind,
};
pub(crate) use report::trace::RecordIndex;
pub use report::trace::{Divergence, Fingerprint, ParseFingerprintError, Trace};
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
pub(crate) use world::state::{NetworkHooks, PrefetchSet, World};
