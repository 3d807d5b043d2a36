//! The event queue: what is due and in which order, timers, and callbacks at an instant.

pub(crate) mod callback_timers;
pub(crate) mod entry;
pub(crate) mod event_queue;
pub(crate) mod radix_heap;
pub(crate) mod timer_table;
