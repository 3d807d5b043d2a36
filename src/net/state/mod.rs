//! The state behind hosts and networks: sockets, ports, queues and waiters.

pub(crate) mod accept_queue;
pub(crate) mod host_state;
pub(crate) mod network_state;
pub(crate) mod port_set;
pub(crate) mod shutdown;
pub(crate) mod ticket_queue;
pub(crate) mod wait_list;
