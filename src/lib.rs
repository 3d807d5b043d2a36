//! Deterministic simulation testing. (Under construction: see README.)

mod wait;

pub mod net;
pub mod pipenet;

pub use net::{
    Accept, Addr, AddrError, Args, Cause, Conn, Engine, Error, Host, Incoming, Listener, NetEvent,
    Networker, Notifier, Op, RawConn, ReadHalf, Registry, RegistryError, SubNetwork, Traced,
    WriteHalf,
};
pub use wait::waiting_for;
