//! The hooks of the networks of a run: the simulator calls them for due timers, and for
//! descriptions of keys.

use crate::sim::{NetworkHooks, PathHash, World};

use crate::simnet::prefetch::prefetch;
use crate::simnet::state::{SimnetState, with_state};
use crate::simnet::tcp::handshake::syn_key;
use crate::simnet::tcp::timers::{DIAL_TIMER_OFFSET, decode_delivery_timer, decode_rare_timer};

/// The hooks of a run with a simulated network.
pub(crate) const HOOKS: NetworkHooks = NetworkHooks { on_timer, describe_key, prefetch };

/// Handles a timer of a network that has come due.
fn on_timer(world: &mut World, timer: u32) {
    let Some((index, direction)) = decode_delivery_timer(timer) else {
        return on_rare_timer(world, timer);
    };
    with_state(world.run(), |state| {
        if let Some(mut ctx) = state.conn_ctx(index, world) {
            ctx.deliver_due(direction);
        }
    });
}

/// Handles any other timer than the delivery of a segment, which is a step of the run.
#[inline(never)]
fn on_rare_timer(world: &mut World, timer: u32) {
    if !world.try_count_callback_step() {
        return;
    }
    match decode_rare_timer(timer) {
        (index, DIAL_TIMER_OFFSET) => {
            world.set_actor(PathHash::NONE);
            with_state(world.run(), |state| {
                if let Some(mut handshake) = state.handshake(index, world) {
                    handshake.drive();
                }
            });
        }
        (index, timer_index) => drive_connection(world, index, timer_index),
    }
}

/// Handles a timer of a connection.
#[inline(never)]
fn drive_connection(world: &mut World, index: usize, timer_index: u32) {
    world.set_actor(PathHash::NONE);
    with_state(world.run(), |state| {
        if let Some(mut ctx) = state.conn_ctx(index, world) {
            ctx.on_timer(timer_index);
        }
    });
}

/// Describes a key of the network for a stall report: a direction of a connection, a handshake, or
/// the registry.
#[cold]
fn describe_key(run: u64, key: PathHash) -> Option<String> {
    with_state(run, |state| {
        let SimnetState { nets, conns, dials, .. } = state;
        let net_of_key = nets.iter().find(|net| net.registry_key == key);
        let text = net_of_key.map(|net| format!("an answer of the registry of {}", net.name));
        text.or_else(|| {
            conns.iter().find_map(|(_, conn)| {
                (0..2).find_map(|direction| {
                    let net = &nets[conn.net as usize];
                    let (from, to) = (
                        conn.endpoints[direction].addr(net),
                        conn.endpoints[1 - direction].addr(net),
                    );
                    match conn.halves[direction].key {
                        path if path == key => Some(format!("a delivery {from}->{to}")),
                        path if syn_key(path) == key => {
                            Some(format!("the handshake of {from}->{to}"))
                        }
                        _ => None,
                    }
                })
            })
        })
        .or_else(|| {
            let (_, dial) = dials.iter().find(|(_, dial)| dial.keys.map(syn_key).contains(&key))?;
            let net = &nets[dial.net as usize];
            let from = net.addr(dial.from, dial.ports[0]);
            let to = net.addr(dial.to.host, dial.ports[1]);
            Some(format!("the handshake of {from}->{to}"))
        })
    })?
}
