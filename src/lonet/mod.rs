//! Real loopback TCP between the processes of one machine, by the names and ports of `net`.

#[doc(hidden)]
pub mod unquote;
#[doc(hidden)]
pub mod wire;
