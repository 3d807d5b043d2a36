//! What public bug reports and an attack on the library showed, each as a test of its kind.

mod limits;
mod moved;
mod real_networks;
mod shrinking;
mod stalls;
mod sweeps;
mod transport;
