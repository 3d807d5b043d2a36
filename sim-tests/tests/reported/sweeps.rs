//! Sweeps that are cut short, resumed, narrowed, or run beside each other.
