//! The handshake: the way of a dial to a listener, and the reply.
//!
//! A dial is one round trip, with the wait for an accept in between. The SYN takes its latency,
//! may be lost and is then retransmitted, and finds a listener or none. The reply takes its
//! latency, too. The network does all of it, so that a host that is paused or busy delays no other
//! host's accept.
//!
//! ```text
//! InFlight ─► AtListener ─► (Queued ─►) InFlight, back ─► Done
//!   ▲  │ lost, or held
//!   └──┘
//! ```
//!
//! A dial that has reached a listener waits there for an accept. All states together, from the
//! look-up of the host to the reply of its listener, may take the connect timeout.

use std::sync::Arc;
use std::task::{Context, Poll, Wake};

use crate::net::{Accept, Addr, AddrError, Cause, DialTarget};
use crate::sim::{
    Callback, ChoiceFamily, DelayPolicy, PathHash, RecordKind, World, hash_name, nanos, path_step,
};
use crate::util::waiter::Waiter;

use crate::sim::FaultKind;
use crate::simnet::fault::links::LinkState;
use crate::simnet::host::sim_host::{HostRef, PowerState};
use crate::simnet::slab::RecyclingSlab;
use crate::simnet::state::{NetState, Pair, SimnetState, try_enter, with_state};
use crate::simnet::tcp::conn_ctx::{ConnCtx, connect};
use crate::simnet::tcp::connection::Connection;
use crate::simnet::tcp::dial::{Connected, Dial, DialState, FORWARD, QueuedAccept, REVERSE};
use crate::simnet::tcp::fast_path::FastDelivery;
use crate::simnet::tcp::socket::endpoint;
use crate::simnet::tcp::timers::{
    DIAL_BASE, delivery_of, dial_timer, retransmit_delay, timer_owner,
};

/// What a record of a knock or its answer carries, where data has a digest.
const SYN_DIGEST: u64 = 3;

/// What an alarm of the fabric does.
pub(crate) fn on_timer(world: &mut World, alarm: u32) {
    let Some((index, way)) = delivery_of(alarm) else { return on_rare_timer(world, alarm) };
    let arrival = with_state(world.run, |fabric| match fabric.conns.get_used(index) {
        Some(conn) => conn.deliver_fast(way, world),
        None => FastDelivery::Slow,
    });
    match arrival {
        // With the fabric back in its place: so nothing is left to be done afterwards.
        Some(FastDelivery::Wake(task)) => world.wake_with(task, DelayPolicy::TIMER_WAKE),
        Some(FastDelivery::NoReader) => {}
        Some(FastDelivery::Slow) | None => drive_connection(world, index, way as u32),
    }
}

/// What an alarm does that is seldom set, which is a step of the run.
#[inline(never)]
fn on_rare_timer(world: &mut World, alarm: u32) {
    if !world.try_count_callback_step() {
        return;
    }
    match timer_owner(alarm) {
        (index, DIAL_BASE) => {
            world.set_actor(PathHash::NONE);
            with_state(world.run, |fabric| {
                if let Some(mut shake) = fabric.handshake(index, world) {
                    shake.drive();
                }
            });
        }
        (index, which) => drive_connection(world, index, which),
    }
}

/// What an alarm of a connection does, whatever is the matter with that.
#[inline(never)]
fn drive_connection(world: &mut World, index: usize, which: u32) {
    world.set_actor(PathHash::NONE);
    with_state(world.run, |fabric| {
        if let Some(mut transit) = fabric.conn_ctx(index, world) {
            transit.on_timer(which);
        }
    });
}

/// A network and one of the dials in it, with all that moves it.
struct Handshake<'a> {
    net: &'a mut NetState,
    conns: &'a mut RecyclingSlab<Connection>,
    call: &'a mut Dial,
    index: usize,
    world: &'a mut World,
}

/// A text, and what is added to it if anything is.
fn append(text: String, between: &str, more: Option<&str>) -> String {
    match more {
        Some(more) => text + between + more,
        None => text,
    }
}

/// The name under which a hand-shake wakes somebody: what is sent in that direction later counts
/// its own wake-ups from the first on.
const fn syn_key(direction: PathHash) -> PathHash {
    direction.child(const { hash_name("syn") }, 0)
}

/// Says what a key of the network stands for: a direction of a connection, a handshake, a registry.
#[cold]
pub(crate) fn describe_key(run: u64, key: PathHash) -> Option<String> {
    with_state(run, |fabric| {
        let SimnetState { nets, conns, dials: calls, .. } = fabric;
        let answers = nets.iter().find(|net| net.registry_key == key);
        let answer = answers.map(|net| format!("an answer of the registry of {}", net.name));
        answer
            .or_else(|| {
                conns.iter().find_map(|(_, conn)| {
                    (0..2).find_map(|way| {
                        let net = &nets[conn.net as usize];
                        let (from, to) = (conn.ends[way].addr(net), conn.ends[1 - way].addr(net));
                        match conn.halves[way].key {
                            direction if direction == key => {
                                Some(format!("a delivery {from}->{to}"))
                            }
                            direction if syn_key(direction) == key => {
                                Some(format!("the handshake of {from}->{to}"))
                            }
                            _ => None,
                        }
                    })
                })
            })
            .or_else(|| {
                let (_, call) =
                    calls.iter().find(|(_, call)| call.keys.map(syn_key).contains(&key))?;
                let net = &nets[call.net as usize];
                let from = net.addr(call.from, call.ports[0]);
                let to = net.addr(call.to.host, call.ports[1]);
                Some(format!("the handshake of {from}->{to}"))
            })
    })?
}

impl SimnetState {
    #[inline]
    fn handshake<'a>(&'a mut self, index: usize, world: &'a mut World) -> Option<Handshake<'a>> {
        let Self { nets, conns, dials: calls, .. } = self;
        let call = calls.get_mut(index)?;
        let net = &mut nets[call.net as usize];
        Some(Handshake { net, conns, call, index, world })
    }

    /// Begins to dial: asks the registry about the host first. It is known which it is of the dials
    /// of these two as soon as that is answered.
    pub(crate) fn dial(
        &mut self,
        world: &mut World,
        (net, region): (u32, u32),
        (src, port): (&Addr, u16),
        dst: &Addr,
        waiter: Waiter,
    ) -> usize {
        let (number, state) = (net, &mut self.nets[net as usize]);
        let from = state.host_at(src, region);
        let about = dst.number();
        let about = about.or_else(|| state.hosts.find(dst.host()));
        let at = state.draw_answer_time(world, about, dst.host());
        state.hosts[from].open_dials += 1;
        let (index, call) = self.dials.insert();
        (call.net, call.from, call.state) = (number, from, DialState::Lookup { answered: at });
        call.deadline = world.instant_after(nanos(state.config.connect_timeout));
        call.to = HostRef { host: about.unwrap_or_default(), incarnation: 0 };
        call.unresolved_name = if about.is_none() { Some(dst.host().into()) } else { None };
        (call.task, call.sent_record) = (world.current_task(), world.current_record());
        call.src = Some(src.with_port(port));
        call.ports = [port, dst.port()];
        call.dialer = Some(waiter);
        world.set_callback_timer(dial_timer(index), at.min(call.deadline));
        index
    }

    /// Lets those dials of a host set out that were told where to while its node was paused.
    pub(crate) fn resume_lookups(&mut self, world: &mut World, net: u32, machine: u32) {
        for (index, call) in self.dials.iter() {
            let asks = matches!(call.state, DialState::Lookup { .. });
            if asks
                && (call.net, call.from) == (net, machine)
                && !world.callback_timers.is_set(dial_timer(index))
            {
                world.set_callback_timer(dial_timer(index), world.now);
            }
        }
    }

    /// Lets all dials of a network look again that are held.
    pub(crate) fn resume_dials(&mut self, world: &mut World, net: u32) {
        for (index, call) in self.dials.iter() {
            if call.net == net && matches!(call.state, DialState::Held) {
                world.set_callback_timer(dial_timer(index), world.now);
            }
        }
    }
}

impl NetState {
    /// Keeps the names of both directions of a connection and of its hand-shake for who reads.
    #[cold]
    fn intern_names(&self, world: &mut World, [there, back]: [PathHash; 2], dial: (u32, u32, u32)) {
        let (near, far, number) = dial;
        let [near, far] = [near, far].map(|place| self.hosts[place].name());
        let text =
            || [path_step(&self.name, 0), path_step(near, 0), path_step(far, number)].join("/");
        world.intern_name(there, text);
        world.intern_name(back, || format!("{}/reverse", text()));
        world.intern_name(syn_key(there), || format!("{}/syn", text()));
        world.intern_name(syn_key(back), || format!("{}/reverse/syn", text()));
    }

    /// The gate of a host, which is found once in each of its lives; `None` if that life is over.
    #[inline(always)]
    fn dial_target(&mut self, to: HostRef, port: u16) -> Option<Result<&DialTarget, Cause>> {
        let machine = &mut self.hosts[to.host];
        if machine.power != PowerState::Up || machine.incarnation != to.incarnation {
            return None;
        }
        if !matches!(&machine.dial_target, Some((life, _)) if *life == to.incarnation) {
            let Some(gate) =
                self.regions[machine.region as usize].subnetwork.dial_target(machine.name())
            else {
                let addr = machine.addr.with_port(port);
                return Some(Err(AddrError::no_such_host(&addr).into()));
            };
            // That of a life before is closed, and nothing of anybody's is left in it.
            machine.dial_target = Some((to.incarnation, gate));
        }
        machine.dial_target.as_ref().map(|(_, gate)| Ok(gate))
    }
}

/// What the network does.
impl Handshake<'_> {
    /// Goes on at the instant for which the alarm was set.
    #[inline(always)]
    fn drive(&mut self) {
        let (now, limit) = (self.world.now, self.call.deadline);
        match self.call.state {
            DialState::Lookup { answered } if answered <= limit && now <= limit => {
                return self.finish_lookup();
            }
            DialState::Lookup { .. } => {
                self.net.set_registry_actor(self.world);
                return self.finish(false);
            }
            // Whoever announces does so when he is told that he may.
            DialState::Announce => {
                self.net.set_registry_actor(self.world);
                return self.finish(true);
            }
            _ => {}
        }
        self.world.set_actor_anonymous(syn_key(self.call.keys[self.call.direction]));
        match self.call.state {
            DialState::InFlight { arrives } if arrives <= limit => self.on_arrival(),
            DialState::Held => self.on_arrival(),
            DialState::Lost { again } if again <= limit => self.send_segment(),
            DialState::AtListener | DialState::Queued(_) => self.defer_to_listener(),
            _ => self.finish(false),
        }
    }

    /// Hears where the host stands, and sets out to it, unless nobody there can hear it now.
    #[inline(always)]
    fn finish_lookup(&mut self) {
        if self.is_dialer_paused() {
            return;
        }
        match self.net.look_up(self.world, self.call) {
            Ok(to) => self.send_syn(to),
            Err(error) => {
                self.net.set_registry_actor(self.world);
                self.call.failed = Some(error.into());
                self.finish(true);
            }
        }
    }

    /// Whether the node of who asks is paused, which has an effect then.
    fn is_dialer_paused(&mut self) -> bool {
        let Self { net, call, world, .. } = self;
        let Some(part) = &mut net.hosts[call.from].node else { return false };
        let Some(pause) = &mut part.pause else { return false };
        let is_its_own = call.task.and_then(|task| world.node_of(task)) == Some(part.number);
        if is_its_own {
            net.stats.mark_effective(FaultKind::Pause, &mut pause.is_effective);
        }
        is_its_own
    }

    /// Sets out: from here on it is known which connection of these two it will be.
    #[inline(always)]
    fn send_syn(&mut self, to: HostRef) {
        let Self { net, call, world, .. } = self;
        let from = call.from;
        let Pair { dials: number, last_at } = *net.pairs.or_default((from, to.host));
        let hash = |machine: u32| net.hosts[machine].hash;
        let there = net.key.child(hash(from), 0).child(hash(to.host), number);
        let keys = [there, there.child(const { hash_name("reverse") }, 0)];
        if world.keeps_names() {
            net.intern_names(world, keys, (from, to.host, number));
        }
        (call.to, call.keys) = (to, keys);
        (call.direction, call.losses) = (FORWARD, 0);
        world.set_actor_anonymous(syn_key(there));
        let mut at = self.draw_arrival();
        // Dials from one host to another arrive in the order in which they set out, as long as
        // nothing was done to the way.
        let in_order = !self.net.links.needs_slow_path(from, to.host);
        if in_order {
            at = at.max(last_at);
        }
        let pair = self.net.pairs.or_default((from, to.host));
        pair.dials = number + 1;
        if in_order {
            pair.last_at = at;
        }
        self.arm_arrival(at);
    }

    /// Is heard of again at an instant, or at the limit if that is before.
    fn arm_timer(&mut self, at: u64) {
        self.world.set_callback_timer(dial_timer(self.index), at.min(self.call.deadline));
    }

    /// Sets out again, or back.
    fn send_segment(&mut self) {
        let at = self.draw_arrival();
        self.arm_arrival(at);
    }

    /// When what sets out now arrives.
    #[inline(always)]
    fn draw_arrival(&mut self) -> u64 {
        let Self { net, call, world, .. } = self;
        let (from, to) = call.route();
        let family =
            if call.losses == 0 { ChoiceFamily::Latency } else { ChoiceFamily::Retransmit };
        let latency = net.latency(from, to);
        let takes = world.draw_latency(family, call.keys[call.direction], call.losses, latency);
        let at = world.instant_after(takes);
        if net.needs_slow_path(from, to) {
            net.serialization_delay(from, to, world.now, at, 0)
        } else {
            at
        }
    }

    /// Is on its way until then.
    #[inline(always)]
    fn arm_arrival(&mut self, arrives: u64) {
        self.call.sent_record = self.world.current_record().or(self.call.sent_record);
        self.call.state = DialState::InFlight { arrives };
        self.arm_timer(arrives);
    }

    /// Gets to the other host, or finds out that it does not.
    #[inline(always)]
    fn on_arrival(&mut self) {
        let Self { net, call, world, .. } = self;
        let (from, to) = call.route();
        let silent = net.hosts[to].power == PowerState::Silent;
        let passage = match silent {
            true => LinkState::Down,
            false => {
                net.transmit_outcome(world, (from, to), call.keys[call.direction], call.losses)
            }
        };
        match passage {
            LinkState::Up if call.direction == FORWARD => {
                call.state = DialState::AtListener;
                if !self.try_accept_now() {
                    self.defer_to_listener();
                }
            }
            LinkState::Up => {
                self.record(RecordKind::Deliver, None);
                self.finish(true);
            }
            LinkState::Held if world.now >= call.deadline => self.finish(false),
            LinkState::Held => {
                self.record(RecordKind::Drop, Some("held"));
                self.call.state = DialState::Held;
                self.arm_timer(self.call.deadline);
            }
            LinkState::Down => {
                self.record(RecordKind::Drop, Some("lost"));
                self.call.losses += 1;
                let again = self.world.instant_after(retransmit_delay(self.call.losses as u32));
                self.call.state = DialState::Lost { again };
                self.arm_timer(again);
            }
        }
    }

    /// Records that it arrived, or else how it did not.
    #[inline(always)]
    fn record(&mut self, kind: RecordKind, how: Option<&str>) {
        let Self { net, call, world, .. } = self;
        world.record_arrival(
            kind,
            call.keys[call.direction],
            (call.losses, SYN_DIGEST),
            call.sent_record,
            || {
                let src = net.addr(call.from, call.ports[0]);
                let dst = net.addr(call.to.host, call.ports[1]);
                match (call.direction, &call.failed) {
                    (FORWARD, _) => append(format!("SYN {src}->{dst}"), " ", how),
                    (_, None) => append(format!("SYN-ACK {dst}->{src}"), " ", how),
                    (_, Some(Cause::ConnRefused)) => {
                        append(format!("RST {dst}->{src} refused"), ", ", how)
                    }
                    (_, Some(cause)) => append(format!("RST {dst}->{src} {cause}"), ", ", how),
                }
            },
        );
    }

    /// Is let in at once, if a listener accepts at this moment and nothing is the matter with
    /// anything: nearly always so, and then nothing foreign has a say.
    fn try_accept_now(&mut self) -> bool {
        let Self { net, conns, call, world, .. } = self;
        let (from, to) = (call.from, call.to.host);
        if net.needs_slow_path(from, to) || call.src.is_none() {
            return false;
        }
        let (window, ways) = (net.config.window, net.path_keys(call.keys, from, to));
        let Some(Ok(gate)) = net.dial_target(call.to, call.ports[1]) else { return false };
        let mut met = None;
        let (number, ports) = (call.net, call.ports);
        let let_in = gate.try_accept_into(&mut call.src, ports[1], |port| {
            let ends = [(from, ports[0]), (to, port)];
            let conn = connect(conns, (number, ends), (ways, window), world) as u32;
            met = Some(Connected { conn, port });
            endpoint(world.run, conn, 1)
        });
        let Some((met, accepts)) = met.zip(let_in) else { return false };
        self.call.connected = Some(met);
        self.record(RecordKind::Deliver, None);
        self.send_reply();
        self.world.wake_waiter(accepts);
        true
    }

    /// Knocks, or looks again, when the world is out of hand.
    fn defer_to_listener(&mut self) {
        self.world.defer_callback(Callback::Call(
            run_at_listener,
            self.world.run,
            self.index as u32,
        ));
    }

    /// Is over.
    #[inline(always)]
    fn finish(&mut self, in_time: bool) {
        self.call.state = DialState::Done { in_time };
        if let Some(dialer) = self.call.dialer.take() {
            self.world.wake_waiter(dialer);
        }
    }
}

/// What happens at the door.
impl Handshake<'_> {
    /// Looks who is there.
    fn listener_state(&mut self) -> Option<ListenerState> {
        self.world.set_actor_anonymous(syn_key(self.call.keys[FORWARD]));
        match std::mem::replace(&mut self.call.state, DialState::AtListener) {
            DialState::AtListener => {
                // If they are gone somebody stands at the door already.
                let src = self.call.src.take()?;
                self.record(RecordKind::Deliver, None);
                let (to, port) = (self.call.to, self.call.ports[1]);
                let dst = self.net.addr(to.host, port);
                Some(match self.net.dial_target(to, port) {
                    None => ListenerState::Shut(Cause::ConnRefused),
                    Some(Err(cause)) => ListenerState::Shut(cause),
                    Some(Ok(gate)) => ListenerState::Open(gate.clone(), src, dst),
                })
            }
            DialState::Queued(queued) if self.world.now >= self.call.deadline => {
                self.finish(false);
                Some(ListenerState::Gone(queued))
            }
            DialState::Queued(queued) => Some(ListenerState::Queue(queued)),
            other => {
                self.call.state = other;
                None
            }
        }
    }

    /// Stands in the queue of the listener, until the limit. Returns what is to be dropped.
    fn queue(&mut self, queued: Box<QueuedAccept>) -> Option<Box<QueuedAccept>> {
        if !matches!(self.call.state, DialState::AtListener) {
            return Some(queued);
        }
        if self.world.now >= self.call.deadline {
            self.finish(false);
            return Some(queued);
        }
        self.call.state = DialState::Queued(queued);
        self.arm_timer(self.call.deadline);
        None
    }

    /// Turns back with an answer.
    fn send_reply(&mut self) {
        (self.call.direction, self.call.losses) = (REVERSE, 0);
        self.send_segment();
    }

    /// Waits in vain.
    fn give_up(&mut self) {
        self.call.state = DialState::Unanswered;
        self.arm_timer(self.call.deadline);
    }
}

/// Has a dial that is queued look again.
struct DialWaker {
    run: u64,
    index: usize,
}

impl Wake for DialWaker {
    fn wake(self: Arc<Self>) {
        try_enter(self.run, |fabric, world| {
            if let Some(Handshake { call, world, .. }) = fabric.handshake(self.index, world)
                && matches!(call.state, DialState::Queued(_))
            {
                call.sent_record = world.current_record().or(call.sent_record);
                world.set_callback_timer(dial_timer(self.index), world.now);
            }
        });
    }
}

/// What is found at the door.
enum ListenerState {
    /// A listener, perhaps, who is to be asked.
    Open(DialTarget, Addr, Addr),
    /// Nobody.
    Shut(Cause),
    /// The queue that it stands in already.
    Queue(Box<QueuedAccept>),
    /// The queue that it has left, because it has taken too long.
    Gone(Box<QueuedAccept>),
}

/// Knocks at the door, or looks how it is in the queue; nobody holds the world meanwhile.
fn run_at_listener(run: u64, index: u32) {
    let index = index as usize;
    let door = try_enter(run, |fabric, world| fabric.handshake(index, world)?.listener_state());
    let mut queued = match door.flatten() {
        None => return,
        // Dropped with the world in its place: by that the dial leaves the queue.
        Some(ListenerState::Gone(queued)) => return drop(queued),
        Some(ListenerState::Shut(cause)) => return reply(run, index, Err(cause)),
        Some(ListenerState::Queue(queued)) => queued,
        Some(ListenerState::Open(gate, src, dst)) => {
            let (gate, src) = match gate.try_accept(src, &dst) {
                Ok(accepted) => return reply(run, index, accepted),
                Err(busy) => busy,
            };
            let waker = Arc::new(DialWaker { run, index }).into();
            let accept = Box::pin(async move { gate.accept(&src, &dst).await });
            Box::new(QueuedAccept { accept, waker })
        }
    };
    match queued.accept.as_mut().poll(&mut Context::from_waker(&queued.waker)) {
        Poll::Ready(accepted) => reply(run, index, accepted),
        Poll::Pending => {
            let _gone = try_enter(run, |fabric, world| match fabric.handshake(index, world) {
                Some(mut shake) => shake.queue(queued),
                None => Some(queued),
            });
        }
    }
}

/// Sends the answer on its way back; if it is a good one, the connection is made by that.
fn reply(run: u64, index: usize, accepted: Result<Accept, Cause>) {
    let (peer, pending) = match accepted.map(Accept::into_parts) {
        Ok((peer, pending)) => (Ok(peer), Some(pending)),
        Err(cause) => (Err(cause), None),
    };
    let far = try_enter(run, |fabric, world| {
        let mut shake = fabric.handshake(index, world)?;
        let Handshake { net, conns, call, world, .. } = &mut shake;
        let to = call.to.host;
        if net.hosts[to].power == PowerState::Silent {
            shake.give_up();
            return None;
        }
        let port = match peer {
            Ok(peer) => peer.port(),
            Err(cause) => {
                call.failed = Some(cause);
                shake.send_reply();
                return None;
            }
        };
        let ends = [(call.from, call.ports[0]), (to, port)];
        let made = (net.path_keys(call.keys, call.from, to), net.config.window);
        let index = connect(conns, (call.net, ends), made, world);
        if net.needs_slow_path(call.from, to)
            && let Some(conn) = conns.get_mut(index)
        {
            ConnCtx { net, conn, index, world }.reevaluate_path();
        }
        let conn = index as u32;
        call.connected = Some(Connected { conn, port });
        shake.send_reply();
        Some(conn)
    });
    if let Some((Some(far), pending)) = far.zip(pending) {
        pending.confirm(endpoint(run, far, 1));
    }
}
