//! The same program on the TCP of the operating system, and with TLS on any network.
//!
//! [`Tcp`] is the network of the system, for what has been tested elsewhere and is to run for real;
//! `Tls` (feature `tls`) wraps any network. Both hand out the same [`Conn`](crate::Conn) and
//! [`Listener`](crate::Listener) as every other [`Networker`](crate::Networker), with the same
//! errors, and closing them interrupts what is blocked.

mod listener;
pub(crate) mod run;
mod socket;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod write_buffered;

#[cfg(feature = "lonet")]
pub(crate) use listener::OsListener;
pub use run::run;
#[cfg(feature = "lonet")]
pub(crate) use socket::{Socket, SpinHint};
pub use tcp::Tcp;
#[cfg(feature = "tls")]
pub use tls::{Tls, rustls};
