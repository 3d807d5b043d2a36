//! Prefetches the connections that the next events concern.

use crate::sim::{PrefetchSet, TaskId};
use crate::util::waiter::Waiter;

use crate::simnet::state::with_state;
use crate::simnet::tcp::timers::decode_delivery_timer;

/// Prefetches the connections whose deliveries are due soon, and adds the tasks that these wake:
/// see `World::prefetch_ahead`. Each round of loads needs only what the one before has loaded.
pub(crate) fn prefetch(run: u64, PrefetchSet { callback_timers: timers, tasks }: &mut PrefetchSet) {
    with_state(run, |state| {
        let deliveries = || timers.iter().filter_map(|timer| decode_delivery_timer(*timer));
        for (conn, _) in deliveries() {
            if let Some(conn) = state.conns.get(conn) {
                conn.prefetch();
            }
        }
        for (conn, direction) in deliveries() {
            let Some(conn) = state.conns.get(conn) else { continue };
            conn.halves[direction].stream.prefetch_read();
            conn.halves[1 - direction].stream.prefetch_write();
            if let Some(Waiter::Task(task_ref)) = conn.halves[direction].readers.first() {
                tasks.push(TaskId::from_bits(task_ref.task).slot);
            }
        }
    });
}
