//! Deterministic simulation testing. (Under construction: see README.)

mod wait;

mod lock;

mod waiter;

pub mod sim;

pub mod net;

pub mod pipenet;

pub use sim::{
    Divergence, Elapsed, Ending, Fingerprint, Instant, Interval, JoinError, JoinHandle, LostWakeup,
    Outcome, Record, RecordKind, Run, Schedule, Sim, SimRng, Sleep, Stall, StalledTask, Tape,
    TaskBuilder, TaskPanic, TaskState, Timeout, Trace, YieldNow, rng, spawn,
};

pub use net::{
    Accept, Addr, AddrError, Args, Cause, Conn, Engine, Error, Host, Incoming, Listener, NetEvent,
    Networker, Notifier, Op, RawConn, ReadHalf, Registry, RegistryError, SubNetwork, Traced,
    WriteHalf,
};
pub use wait::waiting_for;

pub use futures::join;
pub use rand_core;
#[doc(hidden)]
pub use virtnet_macros::clean_pattern as __clean_pattern;

/// Virtual time for code that holds no [`Sim`]: the same functions, as in tokio.
pub mod time {
    pub use crate::sim::{
        Elapsed, Instant, Interval, Sleep, Timeout, YieldNow, interval, now, sleep, sleep_until,
        timeout, yield_now,
    };
}
