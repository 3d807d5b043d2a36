//! [`ConnCtx`]: a connection together with its network and the world; connects and releases.

use crate::net::{Addr, WaitList};
use crate::sim::{PathHash, SegmentEndpoint, TaskId, World};

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

    /// Releases the program's side of an end, and tears it down if it is still open, unless the run
    /// has begun to end.
    /// Whoever waits at a connection that is over may be a task of the run, or poll by himself.
    #[inline(always)]
    pub(crate) fn release_endpoint(&mut self, world: &mut World, (index, end): (usize, usize)) {
        if !world.is_running() {
            return;
        }
        let Some(mut ctx) = self.conn_ctx(index, world) else { return };
        if ctx.release(end) {
            let ConnCtx { conn, world, .. } = ctx;
            for half in &mut conn.halves {
                half.readers.drain(|waiter| world.wake_waiter(waiter));
                half.drain_writers(|waiter| world.wake_waiter(waiter));
            }
            conn.recycle();
            self.conns.free(index);
        }
    }
}

impl NetState {
    /// The names and latencies of two directions, there and back.
    #[inline(always)]
    pub(crate) fn paths(
        &self,
        [forward, reverse]: [PathHash; 2],
        from: u32,
        to: u32,
    ) -> [(PathHash, Latency); 2] {
        [(forward, self.latency(from, to)), (reverse, self.latency(to, from))]
    }
}

/// Makes a connection in a network, from one end to another, in these directions.
#[inline(always)]
pub(crate) fn open_connection(
    conns: &mut RecyclingSlab<Connection>,
    (net, ends): (u32, [(u32, u16); 2]),
    (paths, window): ([(PathHash, Latency); 2], u32),
    world: &World,
) -> usize {
    let (index, conn) = conns.insert();
    conn.net = net;
    for (half, (key, latency)) in conn.halves.iter_mut().zip(paths) {
        half.init(key, latency, window, world.now());
    }
    for (end, (host, port)) in conn.endpoints.iter_mut().zip(ends) {
        (end.host, end.port) = (host, port);
        (end.state, end.has_handle) = (EndpointState::Open, true);
    }
    index
}

impl Endpoint {
    /// Its address, to be printed.
    #[cold]
    pub(crate) fn addr(&self, net: &NetState) -> Addr {
        net.addr(self.host, self.port)
    }

    /// Its address, as records name it.
    #[cold]
    pub(crate) fn segment_endpoint(&self, net: &NetState) -> SegmentEndpoint {
        net.segment_endpoint(self.host, self.port)
    }
}

/// Wakes all who wait.
#[inline(always)]
pub(crate) fn wake_all(waiters: &mut WaitList, world: &mut World) {
    match waiters.take_sole_task() {
        Some(task_ref) => world.wake(TaskId::from_bits(task_ref.task)),
        None => waiters.drain(|waiter| world.wake_waiter(waiter)),
    }
}
