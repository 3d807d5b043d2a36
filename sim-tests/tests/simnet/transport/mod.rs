//! Connections of the simulated network: closes, resets, timeouts and faults in every state.

mod connect_timeout;
mod destructors;
mod dial_traces;
mod fault_table;
mod fin_or_rst;
mod real_tcp;
mod step_count;
mod window_probes;
