//! Connections of the simulated network: closes, resets, timeouts and faults in every state.

mod closes;
mod dials;
mod endings;
mod real;
mod steps;
mod table;
mod traces;
mod windows;
