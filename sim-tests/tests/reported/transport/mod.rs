//! Connections of the simulated network: closes, resets, timeouts and faults in every state.

mod closes;
mod dials;
mod steps;
mod traces;
mod windows;
