//! Tasks: the table of those that exist, their boxed futures, and how they are polled.

pub(crate) mod boxed_task;
pub(crate) mod executor;
pub(crate) mod name;
pub(crate) mod table;
