//! [`ConnCtx`]: a connection together with its network and the world; connects and releases.

use crate::simnet::tcp::timers::delivery_of;

use crate::net::{Addr, WaitList};
use crate::sim::{PathHash, PrefetchSet, TaskId, World};
use crate::util::waiter::Waiter;

use crate::simnet::latency::Latency;
use crate::simnet::slab::RecyclingSlab;
use crate::simnet::state::{NetState, SimnetState};
use crate::simnet::tcp::connection::{Connection, Endpoint, EndpointState};

/// A network and one of its connections, with all that moves it.
pub(crate) struct ConnCtx<'a> {
    pub(crate) net: &'a mut NetState,
    pub(crate) conn: &'a mut Connection,
    pub(crate) index: usize,
    pub(crate) world: &'a mut World,
}

/// Has the processor load what alarms will touch, and names the tasks that they will wake; see
/// `World::look_ahead`. Each round of loads needs only what the one before has loaded.
pub(crate) fn prefetch_due(
    run: u64,
    PrefetchSet { callback_timers: alarms, tasks }: &mut PrefetchSet,
) {
    crate::simnet::state::with_state(run, |fabric| {
        let heads = || alarms.iter().filter_map(|alarm| delivery_of(*alarm));
        for (conn, _) in heads() {
            if let Some(conn) = fabric.conns.get(conn) {
                conn.prefetch();
            }
        }
        for (conn, way) in heads() {
            let Some(conn) = fabric.conns.get(conn) else { continue };
            conn.halves[way].stream.prefetch();
            conn.halves[1 - way].stream.prefetch_places();
            if let Some(Waiter::Task(who)) = conn.halves[way].readers.first() {
                tasks.push(TaskId::from_bits(who.task).slot);
            }
        }
    });
}

impl SimnetState {
    /// A connection, with its network.
    #[inline]
    pub(crate) fn conn_ctx<'a>(
        &'a mut self,
        index: usize,
        world: &'a mut World,
    ) -> Option<ConnCtx<'a>> {
        let conn = self.conns.get_used(index)?;
        let net = &mut self.nets[conn.net as usize];
        Some(ConnCtx { net, conn, index, world })
    }

    /// Lets the program's side of an end go, after having closed it or else tearing it down, unless
    /// the run has begun to end.
    /// Whoever waits at a connection that is over may be a task of the run, or poll by himself.
    #[inline(always)]
    pub(crate) fn release_endpoint(
        &mut self,
        world: &mut World,
        (index, end): (usize, usize),
        closes: bool,
    ) {
        if !world.is_running() {
            return;
        }
        let Some(mut transit) = self.conn_ctx(index, world) else { return };
        if closes {
            transit.close(end);
        }
        if transit.release(end) {
            let ConnCtx { conn, world, .. } = transit;
            for pipe in &mut conn.halves {
                pipe.readers.drain(|waiter| world.wake_waiter(waiter));
                pipe.drain_writers(|waiter| world.wake_waiter(waiter));
            }
            conn.end();
            self.conns.free(index);
        }
    }
}

impl NetState {
    /// What becomes of two directions, one there and one back: their names and latencies.
    #[inline(always)]
    pub(crate) fn path_keys(
        &self,
        [there, back]: [PathHash; 2],
        from: u32,
        to: u32,
    ) -> [(PathHash, Latency); 2] {
        [(there, self.latency(from, to)), (back, self.latency(to, from))]
    }
}

/// Makes a connection in a network, from one end to another, in these directions.
#[inline(always)]
pub(crate) fn connect(
    conns: &mut RecyclingSlab<Connection>,
    (net, ends): (u32, [(u32, u16); 2]),
    (ways, window): ([(PathHash, Latency); 2], u32),
    world: &World,
) -> usize {
    let (index, conn) = conns.insert();
    conn.net = net;
    for (pipe, (key, latency)) in conn.halves.iter_mut().zip(ways) {
        pipe.begin(key, latency, window, world.now);
        pipe.traced = world.keeps_trace();
    }
    for (end, (machine, port)) in conn.ends.iter_mut().zip(ends) {
        (end.host, end.port) = (machine, port);
        (end.state, end.is_open) = (EndpointState::Open, true);
    }
    index
}

impl Endpoint {
    /// Its address, to be printed.
    #[cold]
    pub(crate) fn addr(&self, net: &NetState) -> Addr {
        net.addr(self.host, self.port)
    }
}

/// Wakes all who wait.
#[inline(always)]
pub(crate) fn wake(waiters: &mut WaitList, world: &mut World) {
    match waiters.take_lone_task() {
        Some(who) => world.wake(TaskId::from_bits(who.task)),
        None => waiters.drain(|waiter| world.wake_waiter(waiter)),
    }
}
