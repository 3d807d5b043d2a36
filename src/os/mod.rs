//! The operating system's TCP, and TLS on any network.
//!
//! [`Tcp`] is the network of the operating system, for programs that were tested elsewhere and
//! now run for real. `Tls` (feature `tls`) wraps any network. Both return the same
//! [`Conn`](crate::Conn) and [`Listener`](crate::Listener) as every other
//! [`Networker`](crate::Networker), with the same errors; closing them interrupts what is
//! blocked.

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
