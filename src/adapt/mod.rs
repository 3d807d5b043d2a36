//! What other libraries need of us.
//!
//! Knows the standard library's clock types and, behind features, the traits of
//! other crates; refuses to know how a run works.

mod clock;
#[cfg(feature = "os")]
mod real;
#[cfg(feature = "proptest")]
mod operations;
#[cfg(feature = "proptest")]
pub mod proptest;

#[cfg(feature = "os")]
pub(crate) use real::must_be_real;
#[cfg(feature = "os")]
pub use real::run;
