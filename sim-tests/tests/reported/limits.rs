//! Endless loops, limits of a run, and what the library says of time, tasks and nodes.
