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
    Callback, ChoiceFamily, DropReason, FaultKind, PathHash, RecordKind, RecordTag, Segment,
    SegmentKind, World, hash_name, nanos, path_step,
};
use crate::util::waiter::Waiter;

use crate::simnet::fault::links::LinkState;
use crate::simnet::host::sim_host::{HostRef, PowerState};
use crate::simnet::slab::RecyclingSlab;
use crate::simnet::state::{HostPair, NetState, SimnetState, try_enter};
use crate::simnet::tcp::conn_ctx::{ConnCtx, open_connection};
use crate::simnet::tcp::connection::Connection;
use crate::simnet::tcp::dial::{Dial, DialState, DialSuccess, FORWARD, QueuedAccept, REVERSE};
use crate::simnet::tcp::retransmit::retransmit_delay;
use crate::simnet::tcp::socket::SimConn;
use crate::simnet::tcp::timers::dial_timer_id;

/// The digest in records of a SYN and its reply, which have no data.
const SYN_DIGEST: u64 = 3;

/// A network and one of the dials in it, with all that moves it.
pub(crate) struct Handshake<'a> {
    net: &'a mut NetState,
    conns: &'a mut RecyclingSlab<Connection>,
    dial: &'a mut Dial,
    index: usize,
    world: &'a mut World,
}

/// The source of wake-ups by a handshake. Data in that direction has another key, so that its
/// wake-ups are counted from 0.
pub(crate) const fn syn_key(direction: PathHash) -> PathHash {
    direction.child(const { hash_name("syn") }, 0)
}

impl SimnetState {
    #[inline]
    pub(crate) fn handshake<'a>(
        &'a mut self,
        index: usize,
        world: &'a mut World,
    ) -> Option<Handshake<'a>> {
        let Self { nets, conns, dials, .. } = self;
        let dial = dials.get_mut(index)?;
        let net = &mut nets[dial.net as usize];
        Some(Handshake { net, conns, dial, index, world })
    }

    /// Begins to dial: asks the registry about the host first. It is known which it is of the dials
    /// of these two as soon as that is answered.
    pub(crate) fn dial(
        &mut self,
        world: &mut World,
        net: u32,
        src: &Addr,
        dst: &Addr,
        waiter: Waiter,
    ) -> usize {
        let net_state = &mut self.nets[net as usize];
        let Some(from) = net_state.find_host_at(src) else {
            unreachable!("a host that dials was announced before")
        };
        let known_host = net_state.find_host_at(dst);
        let answered_at = net_state.draw_answer_time(world, known_host, dst.host());
        let (index, dial) = self.dials.insert();
        (dial.net, dial.from, dial.state) = (net, from, DialState::Lookup { answered_at });
        dial.deadline = world.instant_after(nanos(net_state.config.connect_timeout));
        dial.to = HostRef { host: known_host.unwrap_or_default(), incarnation: 0 };
        dial.unresolved_name = if known_host.is_none() { Some(dst.host().into()) } else { None };
        (dial.task, dial.sent_record) = (world.current_task(), world.current_record());
        dial.src = Some(src.clone());
        dial.ports = [src.port(), dst.port()];
        dial.dialer = Some(waiter);
        world.set_callback_timer(dial_timer_id(index), answered_at.min(dial.deadline));
        index
    }

    /// Lets those dials of a host set out that were told where to while its node was paused.
    pub(crate) fn resume_lookups(&mut self, world: &mut World, net: u32, host: u32) {
        for (index, dial) in self.dials.iter() {
            let asks = matches!(dial.state, DialState::Lookup { .. });
            if asks
                && (dial.net, dial.from) == (net, host)
                && !world.is_callback_timer_set(dial_timer_id(index))
            {
                world.set_callback_timer(dial_timer_id(index), world.now());
            }
        }
    }

    /// Lets all dials of a network look again that are held.
    pub(crate) fn resume_dials(&mut self, world: &mut World, net: u32) {
        for (index, dial) in self.dials.iter() {
            if dial.net == net && matches!(dial.state, DialState::Held) {
                world.set_callback_timer(dial_timer_id(index), world.now());
            }
        }
    }
}

impl NetState {
    /// Keeps the names of both directions of a connection and of its hand-shake for who reads.
    #[cold]
    fn intern_names(
        &self,
        world: &mut World,
        [forward, reverse]: [PathHash; 2],
        dial: (u32, u32, u32),
    ) {
        let (dialer, acceptor, number) = dial;
        let [dialer, acceptor] = [dialer, acceptor].map(|host| self.hosts[host].name());
        let text = || {
            [path_step(&self.name, 0), path_step(dialer, 0), path_step(acceptor, number)].join("/")
        };
        world.intern_name(forward, text);
        world.intern_name(reverse, || format!("{}/reverse", text()));
        world.intern_name(syn_key(forward), || format!("{}/syn", text()));
        world.intern_name(syn_key(reverse), || format!("{}/reverse/syn", text()));
    }

    /// The gate of a host, which is found once in each of its lives; `None` if that life is over.
    #[inline(always)]
    fn dial_target(&mut self, to: HostRef, port: u16) -> Option<Result<&DialTarget, Cause>> {
        let host = &mut self.hosts[to.host];
        if host.power != PowerState::Up || host.incarnation != to.incarnation {
            return None;
        }
        if !matches!(&host.dial_target, Some((incarnation, _)) if *incarnation == to.incarnation) {
            let Some(target) =
                self.regions[host.region as usize].subnetwork.dial_target(host.name())
            else {
                let addr = host.addr.with_port(port);
                return Some(Err(AddrError::no_such_host(&addr).into()));
            };
            // The target of an earlier incarnation is closed, and holds no user values.
            host.dial_target = Some((to.incarnation, target));
        }
        host.dial_target.as_ref().map(|(_, target)| Ok(target))
    }
}

/// The dial on its way.
impl Handshake<'_> {
    /// Handles the timer of the dial.
    #[inline(always)]
    pub(crate) fn drive(&mut self) {
        let (now, deadline) = (self.world.now(), self.dial.deadline);
        match self.dial.state {
            DialState::Lookup { answered_at } if answered_at <= deadline && now <= deadline => {
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
        self.world.set_actor_anonymous(syn_key(self.dial.keys[self.dial.direction]));
        match self.dial.state {
            DialState::InFlight { arrives_at } if arrives_at <= deadline => self.on_arrival(),
            DialState::Held => self.on_arrival(),
            DialState::Lost { retransmit_at } if retransmit_at <= deadline => self.send_segment(),
            DialState::AtListener | DialState::Queued(_) => self.defer_to_listener(),
            _ => self.finish(false),
        }
    }

    /// Handles the answer of the registry: sends a SYN to the host, unless the dialer is paused or
    /// the host is unknown.
    #[inline(always)]
    fn finish_lookup(&mut self) {
        if self.is_dialer_paused() {
            return;
        }
        match self.net.look_up(self.world, self.dial) {
            Ok(to) => self.send_syn(to),
            Err(error) => {
                self.net.set_registry_actor(self.world);
                self.dial.error = Some(error.into());
                self.finish(true);
            }
        }
    }

    /// Whether the node of who asks is paused, which has an effect then.
    fn is_dialer_paused(&mut self) -> bool {
        let Self { net, dial, world, .. } = self;
        let Some(info) = &mut net.hosts[dial.from].node else { return false };
        let Some(pause) = &mut info.pause else { return false };
        let is_own_task = dial.task.and_then(|task| world.node_of(task)) == Some(info.number);
        if is_own_task {
            pause.mark_effective(FaultKind::Pause, &mut net.stats);
        }
        is_own_task
    }

    /// Sets out: from here on it is known which connection of these two it will be.
    #[inline(always)]
    fn send_syn(&mut self, to: HostRef) {
        let Self { net, dial, world, .. } = self;
        let from = dial.from;
        let HostPair { dial_count: number, last_arrival_at: last_at } =
            *net.pairs.or_default((from, to.host));
        let hash = |host: u32| net.hosts[host].name_hash;
        let forward = net.key.child(hash(from), 0).child(hash(to.host), number);
        let keys = [forward, forward.child(const { hash_name("reverse") }, 0)];
        if world.keeps_names() {
            net.intern_names(world, keys, (from, to.host, number));
        }
        (dial.to, dial.keys) = (to, keys);
        (dial.direction, dial.losses) = (FORWARD, 0);
        world.set_actor_anonymous(syn_key(forward));
        let mut at = self.draw_arrival();
        // Dials from one host to another arrive in the order in which they set out, as long as
        // nothing was done to the way.
        let in_order = !self.net.links.needs_slow_path(from, to.host);
        if in_order {
            at = at.max(last_at);
        }
        let pair = self.net.pairs.or_default((from, to.host));
        pair.dial_count = number + 1;
        if in_order {
            pair.last_arrival_at = at;
        }
        self.arm_arrival(at);
    }

    /// Is heard of again at an instant, or at the limit if that is before.
    fn arm_timer(&mut self, at: u64) {
        self.world.set_callback_timer(dial_timer_id(self.index), at.min(self.dial.deadline));
    }

    /// Sets out again, or back.
    fn send_segment(&mut self) {
        let at = self.draw_arrival();
        self.arm_arrival(at);
    }

    /// Draws the instant at which a segment that is sent now arrives.
    #[inline(always)]
    fn draw_arrival(&mut self) -> u64 {
        let Self { net, dial, world, .. } = self;
        let (from, to) = dial.route();
        let family =
            if dial.losses == 0 { ChoiceFamily::Latency } else { ChoiceFamily::Retransmit };
        let latency = net.latency(from, to);
        let travel_time =
            world.draw_latency(family, dial.keys[dial.direction], dial.losses, latency);
        let at = world.instant_after(travel_time);
        if net.needs_slow_path(from, to) {
            net.serialized_arrival(from, to, world.now(), at, 0)
        } else {
            at
        }
    }

    /// Is on its way until then.
    #[inline(always)]
    fn arm_arrival(&mut self, arrives_at: u64) {
        self.dial.sent_record = self.world.current_record().or(self.dial.sent_record);
        self.dial.state = DialState::InFlight { arrives_at };
        self.arm_timer(arrives_at);
    }

    /// Gets to the other host, or finds out that it does not.
    #[inline(always)]
    fn on_arrival(&mut self) {
        let Self { net, dial, world, .. } = self;
        let (from, to) = dial.route();
        let is_silent = net.hosts[to].power == PowerState::PoweredOff;
        let link_state = match is_silent {
            true => LinkState::Down,
            false => {
                net.transmit_outcome(world, (from, to), dial.keys[dial.direction], dial.losses)
            }
        };
        match link_state {
            LinkState::Up if dial.direction == FORWARD => {
                dial.state = DialState::AtListener;
                if !self.try_accept_now() {
                    self.defer_to_listener();
                }
            }
            LinkState::Up => {
                self.record(RecordTag::Deliver, None);
                self.finish(true);
            }
            LinkState::Held if world.now() >= dial.deadline => self.finish(false),
            LinkState::Held => {
                self.record(RecordTag::Drop, Some(DropReason::Held));
                self.dial.state = DialState::Held;
                self.arm_timer(self.dial.deadline);
            }
            LinkState::Down => {
                self.record(RecordTag::Drop, Some(DropReason::Lost));
                self.dial.losses += 1;
                let retransmit_at =
                    self.world.instant_after(retransmit_delay(self.dial.losses as u32));
                self.dial.state = DialState::Lost { retransmit_at };
                self.arm_timer(retransmit_at);
            }
        }
    }

    /// Records that its segment arrived, or why it did not.
    #[inline(always)]
    fn record(&mut self, tag: RecordTag, drop_reason: Option<DropReason>) {
        let Self { net, dial, world, .. } = self;
        world.record_arrival(
            tag,
            dial.keys[dial.direction],
            (dial.losses, SYN_DIGEST),
            dial.sent_record,
            || {
                let src = net.segment_endpoint(dial.from, dial.ports[0]);
                let dst = net.segment_endpoint(dial.to.host, dial.ports[1]);
                let segment = match (dial.direction, &dial.error) {
                    (FORWARD, _) => Segment::new(SegmentKind::Syn, src, dst),
                    (_, None) => Segment::new(SegmentKind::SynAck, dst, src),
                    (_, Some(cause)) => {
                        let mut reset = Segment::new(SegmentKind::Reset, dst, src);
                        reset.refusal = Some(match cause {
                            Cause::ConnRefused => "refused".into(),
                            cause => cause.to_string(),
                        });
                        reset
                    }
                };
                match drop_reason {
                    None => RecordKind::Deliver(segment),
                    Some(reason) => RecordKind::Drop(segment, reason),
                }
            },
        );
    }

    /// Is let in at once, if a listener accepts at this moment and nothing is the matter with
    /// anything: nearly always so, and then nothing foreign has a say.
    fn try_accept_now(&mut self) -> bool {
        let Self { net, conns, dial, world, .. } = self;
        let (from, to) = (dial.from, dial.to.host);
        if net.needs_slow_path(from, to) || dial.src.is_none() {
            return false;
        }
        let (window, paths) = (net.config.window, net.paths(dial.keys, from, to));
        let Some(Ok(target)) = net.dial_target(dial.to, dial.ports[1]) else { return false };
        let mut success = None;
        let (number, ports) = (dial.net, dial.ports);
        let acceptor_waiter = target.try_accept_into(&mut dial.src, ports[1], |port| {
            let ends = [(from, ports[0]), (to, port)];
            let conn = open_connection(conns, (number, ends), (paths, window), world) as u32;
            success = Some(DialSuccess { conn, port });
            SimConn::boxed(world.run(), conn, 1)
        });
        let Some((success, acceptor)) = success.zip(acceptor_waiter) else { return false };
        self.dial.success = Some(success);
        self.record(RecordTag::Deliver, None);
        self.send_reply();
        self.world.wake_waiter(acceptor);
        true
    }

    /// Knocks, or looks again, when the world is out of hand.
    fn defer_to_listener(&mut self) {
        self.world.defer_callback(Callback::Call(
            run_at_listener,
            self.world.run(),
            self.index as u32,
        ));
    }

    /// Is over.
    #[inline(always)]
    fn finish(&mut self, in_time: bool) {
        self.dial.state = DialState::Done { in_time };
        if let Some(dialer) = self.dial.dialer.take() {
            self.world.wake_waiter(dialer);
        }
    }
}

/// The dial at its listener.
impl Handshake<'_> {
    /// Returns the state of the listener for this dial.
    fn listener_state(&mut self) -> Option<ListenerState> {
        self.world.set_actor_anonymous(syn_key(self.dial.keys[FORWARD]));
        match std::mem::replace(&mut self.dial.state, DialState::AtListener) {
            DialState::AtListener => {
                // The addresses were taken by an earlier call, which is still waiting for an
                // accept.
                let src = self.dial.src.take()?;
                self.record(RecordTag::Deliver, None);
                let (to, port) = (self.dial.to, self.dial.ports[1]);
                let dst = self.net.addr(to.host, port);
                Some(match self.net.dial_target(to, port) {
                    None => ListenerState::Refused(Cause::ConnRefused),
                    Some(Err(cause)) => ListenerState::Refused(cause),
                    Some(Ok(target)) => ListenerState::Open(target.clone(), src, dst),
                })
            }
            DialState::Queued(queued) if self.world.now() >= self.dial.deadline => {
                self.finish(false);
                Some(ListenerState::TimedOut(queued))
            }
            DialState::Queued(queued) => Some(ListenerState::Queued(queued)),
            other => {
                self.dial.state = other;
                None
            }
        }
    }

    /// Stands in the queue of the listener, until the limit. Returns what is to be dropped.
    fn enqueue(&mut self, queued: Box<QueuedAccept>) -> Option<Box<QueuedAccept>> {
        if !matches!(self.dial.state, DialState::AtListener) {
            return Some(queued);
        }
        if self.world.now() >= self.dial.deadline {
            self.finish(false);
            return Some(queued);
        }
        self.dial.state = DialState::Queued(queued);
        self.arm_timer(self.dial.deadline);
        None
    }

    /// Turns back with an answer.
    fn send_reply(&mut self) {
        (self.dial.direction, self.dial.losses) = (REVERSE, 0);
        self.send_segment();
    }

    /// Waits in vain.
    fn give_up(&mut self) {
        self.dial.state = DialState::Unanswered;
        self.arm_timer(self.dial.deadline);
    }
}

/// Has a dial that is queued look again.
struct DialWaker {
    run: u64,
    index: usize,
}

impl Wake for DialWaker {
    fn wake(self: Arc<Self>) {
        try_enter(self.run, |state, world| {
            if let Some(Handshake { dial, world, .. }) = state.handshake(self.index, world)
                && matches!(dial.state, DialState::Queued(_))
            {
                dial.sent_record = world.current_record().or(dial.sent_record);
                world.set_callback_timer(dial_timer_id(self.index), world.now());
            }
        });
    }
}

/// The state of the listener for a dial.
enum ListenerState {
    /// A listener, perhaps, who is to be asked.
    Open(DialTarget, Addr, Addr),
    /// Nobody.
    Refused(Cause),
    /// The queue that it stands in already.
    Queued(Box<QueuedAccept>),
    /// The queue that it has left, because it has taken too long.
    TimedOut(Box<QueuedAccept>),
}

/// Offers the dial to the listener, or polls its place in the queue. The world is not borrowed
/// meanwhile.
fn run_at_listener(run: u64, index: u32) {
    let index = index as usize;
    let listener_state =
        try_enter(run, |state, world| state.handshake(index, world)?.listener_state());
    let mut queued = match listener_state.flatten() {
        None => return,
        // Dropped with the world in its place: by that the dial leaves the queue.
        Some(ListenerState::TimedOut(queued)) => return drop(queued),
        Some(ListenerState::Refused(cause)) => return reply(run, index, Err(cause)),
        Some(ListenerState::Queued(queued)) => queued,
        Some(ListenerState::Open(target, src, dst)) => {
            let (target, src) = match target.try_accept(src, &dst) {
                Ok(accepted) => return reply(run, index, accepted),
                Err(busy) => busy,
            };
            let waker = Arc::new(DialWaker { run, index }).into();
            let accept = Box::pin(async move { target.accept(&src, &dst).await });
            Box::new(QueuedAccept { accept, waker })
        }
    };
    match queued.accept.as_mut().poll(&mut Context::from_waker(&queued.waker)) {
        Poll::Ready(accepted) => reply(run, index, accepted),
        Poll::Pending => {
            let _dropped = try_enter(run, |state, world| match state.handshake(index, world) {
                Some(mut handshake) => handshake.enqueue(queued),
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
    let accepted_conn = try_enter(run, |state, world| {
        let mut handshake = state.handshake(index, world)?;
        let Handshake { net, conns, dial, world, .. } = &mut handshake;
        let to = dial.to.host;
        if net.hosts[to].power == PowerState::PoweredOff {
            handshake.give_up();
            return None;
        }
        let port = match peer {
            Ok(peer) => peer.port(),
            Err(cause) => {
                dial.error = Some(cause);
                handshake.send_reply();
                return None;
            }
        };
        let ends = [(dial.from, dial.ports[0]), (to, port)];
        let paths_and_window = (net.paths(dial.keys, dial.from, to), net.config.window);
        let index = open_connection(conns, (dial.net, ends), paths_and_window, world);
        if net.needs_slow_path(dial.from, to)
            && let Some(conn) = conns.get_mut(index)
        {
            ConnCtx { net, conn, index, world }.reevaluate_path();
        }
        let conn = index as u32;
        dial.success = Some(DialSuccess { conn, port });
        handshake.send_reply();
        Some(conn)
    });
    if let Some((Some(accepted_conn), pending)) = accepted_conn.zip(pending) {
        pending.confirm(SimConn::boxed(run, accepted_conn, 1));
    }
}
