//! All tests, in the order in which they are worth reading.

mod support;
mod lab;
mod conformance;
mod closing;
mod cancel;
mod drops;
mod tracing;
mod reference;
