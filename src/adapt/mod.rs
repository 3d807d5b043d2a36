//! What other libraries need of us.
//!
//! Knows the standard library's clock types and, behind features, the traits of
//! other crates; refuses to know how a run works.

mod clock;
#[cfg(feature = "os")]
mod real;

#[cfg(feature = "os")]
pub use real::run;
