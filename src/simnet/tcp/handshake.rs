//! The hand-shake: how a dial gets to a listener, and the answer back.
//!
//! Knows one dial at a time; refuses to know who dialed and what is sent afterwards. A dial is one
//! round trip and the wait for an accept in between: the knock takes its time to get there, may be
//! lost and is then repeated, finds a listener or nobody, and the answer takes its time to get
//! back. All of it is the network's doing, so that a host that is paused or busy holds up nobody
//! else's accept.
//!
//! ```text
//! travels ─► at the door ─► (queued ─►) travels back ─► over
//!   ▲  │ lost, or held
//!   └──┘
//! ```
//!
//! What has got to a listener waits there for an accept. All stages together, from the question
//! where the host stands to the answer of its listener, may take the connect timeout.

use std::sync::Arc;
use std::task::{Context, Poll, Wake};

use crate::net::{Accept, Addr, AddrError, Cause, Gate};
use crate::sim::{
    ChoiceFamily, Errand, Key, Lateness, RecordKind, World, hash_name, nanos, path_step,
};
use crate::util::waiter::Waiter;

use crate::sim::FaultKind;
use crate::simnet::fault::links::Passage;
use crate::simnet::host::sim_host::{Place, Power};
use crate::simnet::slab::Pool;
use crate::simnet::state::{Fabric, Net, Pair, try_enter, with_fabric};
use crate::simnet::tcp::connection::Connection;
use crate::simnet::tcp::dial::{BACK, Call, Met, Queued, Stage, THERE};
use crate::simnet::tcp::fast_path::Arrival;
use crate::simnet::tcp::socket::end_of;
use crate::simnet::tcp::transfer::{
    CALL, Transit, call_alarm, connect, head_of, retry_after, whose,
};

/// What a record of a knock or its answer carries, where data has a digest.
const SAID: u64 = 3;

/// What an alarm of the fabric does.
pub(crate) fn sound(world: &mut World, alarm: u32) {
    let Some((index, way)) = head_of(alarm) else { return sound_seldom(world, alarm) };
    let arrival = with_fabric(world.run, |fabric| match fabric.conns.owned(index) {
        Some(conn) => conn.arrive_plainly(way, world),
        None => Arrival::Odd,
    });
    match arrival {
        // With the fabric back in its place: so nothing is left to be done afterwards.
        Some(Arrival::Heard(task)) => world.wake_with(task, Lateness::RARELY),
        Some(Arrival::Unheard) => {}
        Some(Arrival::Odd) | None => move_conn(world, index, way as u32),
    }
}

/// What an alarm does that is seldom set, which is a step of the run.
#[inline(never)]
fn sound_seldom(world: &mut World, alarm: u32) {
    if !world.try_count_callback_step() {
        return;
    }
    match whose(alarm) {
        (index, CALL) => {
            world.set_actor(Key::NONE);
            with_fabric(world.run, |fabric| {
                if let Some(mut shake) = fabric.shake(index, world) {
                    shake.move_on();
                }
            });
        }
        (index, which) => move_conn(world, index, which),
    }
}

/// What an alarm of a connection does, whatever is the matter with that.
#[inline(never)]
fn move_conn(world: &mut World, index: usize, which: u32) {
    world.set_actor(Key::NONE);
    with_fabric(world.run, |fabric| {
        if let Some(mut transit) = fabric.transit(index, world) {
            transit.sound(which);
        }
    });
}

/// A network and one of the dials in it, with all that moves it.
struct Shake<'a> {
    net: &'a mut Net,
    conns: &'a mut Pool<Connection>,
    call: &'a mut Call,
    index: usize,
    world: &'a mut World,
}

/// A text, and what is added to it if anything is.
fn with(text: String, between: &str, more: Option<&str>) -> String {
    match more {
        Some(more) => text + between + more,
        None => text,
    }
}

/// The name under which a hand-shake wakes somebody: what is sent in that direction later counts
/// its own wake-ups from the first on.
const fn shaking(direction: Key) -> Key {
    direction.child(const { hash_name("syn") }, 0)
}

/// Says what a key of the network stands for: a direction of a connection, a handshake, a registry.
#[cold]
pub(crate) fn describe(run: u64, key: Key) -> Option<String> {
    with_fabric(run, |fabric| {
        let Fabric { nets, conns, calls, .. } = fabric;
        let answers = nets.iter().find(|net| net.answers == key);
        let answer = answers.map(|net| format!("an answer of the registry of {}", net.name));
        answer
            .or_else(|| {
                conns.iter().find_map(|(_, conn)| {
                    (0..2).find_map(|way| {
                        let net = &nets[conn.net as usize];
                        let (from, to) = (conn.ends[way].addr(net), conn.ends[1 - way].addr(net));
                        match conn.pipes[way].key {
                            direction if direction == key => {
                                Some(format!("a delivery {from}->{to}"))
                            }
                            direction if shaking(direction) == key => {
                                Some(format!("the handshake of {from}->{to}"))
                            }
                            _ => None,
                        }
                    })
                })
            })
            .or_else(|| {
                let (_, call) =
                    calls.iter().find(|(_, call)| call.keys.map(shaking).contains(&key))?;
                let net = &nets[call.net as usize];
                let from = net.addr(call.from, call.ports[0]);
                let to = net.addr(call.to.machine, call.ports[1]);
                Some(format!("the handshake of {from}->{to}"))
            })
    })?
}

impl Fabric {
    #[inline]
    fn shake<'a>(&'a mut self, index: usize, world: &'a mut World) -> Option<Shake<'a>> {
        let Self { nets, conns, calls, .. } = self;
        let call = calls.get_mut(index)?;
        let net = &mut nets[call.net as usize];
        Some(Shake { net, conns, call, index, world })
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
        let from = state.machine_at(src, region);
        let about = dst.number();
        let about = about.or_else(|| state.machines.find(dst.host()));
        let at = state.ask(world, about, dst.host());
        state.machines[from].calls += 1;
        let (index, call) = self.calls.add();
        (call.net, call.from, call.stage) = (number, from, Stage::Asks { answered: at });
        call.limit = world.instant_after(nanos(state.config.connect_timeout));
        call.to = Place { machine: about.unwrap_or_default(), life: 0 };
        call.unknown = if about.is_none() { Some(dst.host().into()) } else { None };
        (call.asker, call.sent) = (world.current_task(), world.current_record());
        call.src = Some(src.with_port(port));
        call.ports = [port, dst.port()];
        call.dialer = Some(waiter);
        world.set_callback_timer(call_alarm(index), at.min(call.limit));
        index
    }

    /// Lets those dials of a host set out that were told where to while its node was paused.
    pub(crate) fn let_askers_hear(&mut self, world: &mut World, net: u32, machine: u32) {
        for (index, call) in self.calls.iter() {
            let asks = matches!(call.stage, Stage::Asks { .. });
            if asks
                && (call.net, call.from) == (net, machine)
                && !world.callback_timers.is_set(call_alarm(index))
            {
                world.set_callback_timer(call_alarm(index), world.now);
            }
        }
    }

    /// Lets all dials of a network look again that are held.
    pub(crate) fn let_dials_go(&mut self, world: &mut World, net: u32) {
        for (index, call) in self.calls.iter() {
            if call.net == net && matches!(call.stage, Stage::Held) {
                world.set_callback_timer(call_alarm(index), world.now);
            }
        }
    }
}

impl Net {
    /// Keeps the names of both directions of a connection and of its hand-shake for who reads.
    #[cold]
    fn remember(&self, world: &mut World, [there, back]: [Key; 2], dial: (u32, u32, u32)) {
        let (near, far, number) = dial;
        let [near, far] = [near, far].map(|place| self.machines[place].name());
        let text =
            || [path_step(&self.name, 0), path_step(near, 0), path_step(far, number)].join("/");
        world.intern_name(there, text);
        world.intern_name(back, || format!("{}/reverse", text()));
        world.intern_name(shaking(there), || format!("{}/syn", text()));
        world.intern_name(shaking(back), || format!("{}/reverse/syn", text()));
    }

    /// The gate of a host, which is found once in each of its lives; `None` if that life is over.
    #[inline(always)]
    fn gate(&mut self, to: Place, port: u16) -> Option<Result<&Gate, Cause>> {
        let machine = &mut self.machines[to.machine];
        if machine.power != Power::Up || machine.life != to.life {
            return None;
        }
        if !matches!(&machine.gate, Some((life, _)) if *life == to.life) {
            let Some(gate) = self.regions[machine.region as usize].subnetwork.gate(machine.name())
            else {
                let addr = machine.addr.with_port(port);
                return Some(Err(AddrError::no_such_host(&addr).into()));
            };
            // That of a life before is closed, and nothing of anybody's is left in it.
            machine.gate = Some((to.life, gate));
        }
        machine.gate.as_ref().map(|(_, gate)| Ok(gate))
    }
}

/// What the network does.
impl Shake<'_> {
    /// Goes on at the instant for which the alarm was set.
    #[inline(always)]
    fn move_on(&mut self) {
        let (now, limit) = (self.world.now, self.call.limit);
        match self.call.stage {
            Stage::Asks { answered } if answered <= limit && now <= limit => return self.hear(),
            Stage::Asks { .. } => {
                self.net.act_as_answer(self.world);
                return self.end(false);
            }
            // Whoever announces does so when he is told that he may.
            Stage::Announces => {
                self.net.act_as_answer(self.world);
                return self.end(true);
            }
            _ => {}
        }
        self.world.set_actor_anonymous(shaking(self.call.keys[self.call.way]));
        match self.call.stage {
            Stage::Travels { arrives } if arrives <= limit => self.arrive(),
            Stage::Held => self.arrive(),
            Stage::Lost { again } if again <= limit => self.depart(),
            Stage::AtDoor | Stage::Queued(_) => self.go_to_door(),
            _ => self.end(false),
        }
    }

    /// Hears where the host stands, and sets out to it, unless nobody there can hear it now.
    #[inline(always)]
    fn hear(&mut self) {
        if self.is_asker_paused() {
            return;
        }
        match self.net.look_up(self.world, self.call) {
            Ok(to) => self.set_out(to),
            Err(error) => {
                self.net.act_as_answer(self.world);
                self.call.failed = Some(error.into());
                self.end(true);
            }
        }
    }

    /// Whether the node of who asks is paused, which has an effect then.
    fn is_asker_paused(&mut self) -> bool {
        let Self { net, call, world, .. } = self;
        let Some(part) = &mut net.machines[call.from].node else { return false };
        let Some(pause) = &mut part.pause else { return false };
        let is_its_own = call.asker.and_then(|task| world.node_of(task)) == Some(part.number);
        if is_its_own {
            net.ledger.felt(FaultKind::Pause, &mut pause.felt);
        }
        is_its_own
    }

    /// Sets out: from here on it is known which connection of these two it will be.
    #[inline(always)]
    fn set_out(&mut self, to: Place) {
        let Self { net, call, world, .. } = self;
        let from = call.from;
        let Pair { dials: number, last_at } = *net.pairs.or_default((from, to.machine));
        let hash = |machine: u32| net.machines[machine].hash;
        let there = net.key.child(hash(from), 0).child(hash(to.machine), number);
        let keys = [there, there.child(const { hash_name("reverse") }, 0)];
        if world.keeps_names() {
            net.remember(world, keys, (from, to.machine, number));
        }
        (call.to, call.keys) = (to, keys);
        (call.way, call.losses) = (THERE, 0);
        world.set_actor_anonymous(shaking(there));
        let mut at = self.arrival();
        // Dials from one host to another arrive in the order in which they set out, as long as
        // nothing was done to the way.
        let in_order = !self.net.links.is_odd(from, to.machine);
        if in_order {
            at = at.max(last_at);
        }
        let pair = self.net.pairs.or_default((from, to.machine));
        pair.dials = number + 1;
        if in_order {
            pair.last_at = at;
        }
        self.travel(at);
    }

    /// Is heard of again at an instant, or at the limit if that is before.
    fn wait_until(&mut self, at: u64) {
        self.world.set_callback_timer(call_alarm(self.index), at.min(self.call.limit));
    }

    /// Sets out again, or back.
    fn depart(&mut self) {
        let at = self.arrival();
        self.travel(at);
    }

    /// When what sets out now arrives.
    #[inline(always)]
    fn arrival(&mut self) -> u64 {
        let Self { net, call, world, .. } = self;
        let (from, to) = call.route();
        let family =
            if call.losses == 0 { ChoiceFamily::Latency } else { ChoiceFamily::Retransmit };
        let latency = net.latency(from, to);
        let takes = world.draw_latency(family, call.keys[call.way], call.losses, latency);
        let at = world.instant_after(takes);
        if net.is_odd(from, to) { net.serialised(from, to, world.now, at, 0) } else { at }
    }

    /// Is on its way until then.
    #[inline(always)]
    fn travel(&mut self, arrives: u64) {
        self.call.sent = self.world.current_record().or(self.call.sent);
        self.call.stage = Stage::Travels { arrives };
        self.wait_until(arrives);
    }

    /// Gets to the other host, or finds out that it does not.
    #[inline(always)]
    fn arrive(&mut self) {
        let Self { net, call, world, .. } = self;
        let (from, to) = call.route();
        let silent = net.machines[to].power == Power::Silent;
        let passage = match silent {
            true => Passage::Cut,
            false => net.pass(world, (from, to), call.keys[call.way], call.losses),
        };
        match passage {
            Passage::Clear if call.way == THERE => {
                call.stage = Stage::AtDoor;
                if !self.is_let_in() {
                    self.go_to_door();
                }
            }
            Passage::Clear => {
                self.tell(RecordKind::Deliver, None);
                self.end(true);
            }
            Passage::Held if world.now >= call.limit => self.end(false),
            Passage::Held => {
                self.tell(RecordKind::Drop, Some("held"));
                self.call.stage = Stage::Held;
                self.wait_until(self.call.limit);
            }
            Passage::Cut => {
                self.tell(RecordKind::Drop, Some("lost"));
                self.call.losses += 1;
                let again = self.world.instant_after(retry_after(self.call.losses as u32));
                self.call.stage = Stage::Lost { again };
                self.wait_until(again);
            }
        }
    }

    /// Records that it arrived, or else how it did not.
    #[inline(always)]
    fn tell(&mut self, kind: RecordKind, how: Option<&str>) {
        let Self { net, call, world, .. } = self;
        world.record_arrival(kind, call.keys[call.way], (call.losses, SAID), call.sent, || {
            let src = net.addr(call.from, call.ports[0]);
            let dst = net.addr(call.to.machine, call.ports[1]);
            match (call.way, &call.failed) {
                (THERE, _) => with(format!("SYN {src}->{dst}"), " ", how),
                (_, None) => with(format!("SYN-ACK {dst}->{src}"), " ", how),
                (_, Some(Cause::ConnRefused)) => {
                    with(format!("RST {dst}->{src} refused"), ", ", how)
                }
                (_, Some(cause)) => with(format!("RST {dst}->{src} {cause}"), ", ", how),
            }
        });
    }

    /// Is let in at once, if a listener accepts at this moment and nothing is the matter with
    /// anything: nearly always so, and then nothing foreign has a say.
    fn is_let_in(&mut self) -> bool {
        let Self { net, conns, call, world, .. } = self;
        let (from, to) = (call.from, call.to.machine);
        if net.is_odd(from, to) || call.src.is_none() {
            return false;
        }
        let (window, ways) = (net.config.window, net.ways(call.keys, from, to));
        let Some(Ok(gate)) = net.gate(call.to, call.ports[1]) else { return false };
        let mut met = None;
        let (number, ports) = (call.net, call.ports);
        let let_in = gate.let_in(&mut call.src, ports[1], |port| {
            let ends = [(from, ports[0]), (to, port)];
            let conn = connect(conns, (number, ends), (ways, window), world) as u32;
            met = Some(Met { conn, port });
            end_of(world.run, conn, 1)
        });
        let Some((met, accepts)) = met.zip(let_in) else { return false };
        self.call.met = Some(met);
        self.tell(RecordKind::Deliver, None);
        self.turn_back();
        self.world.wake_waiter(accepts);
        true
    }

    /// Knocks, or looks again, when the world is out of hand.
    fn go_to_door(&mut self) {
        self.world.defer_callback(Errand::Visit(visit, self.world.run, self.index as u32));
    }

    /// Is over.
    #[inline(always)]
    fn end(&mut self, in_time: bool) {
        self.call.stage = Stage::Over { in_time };
        if let Some(dialer) = self.call.dialer.take() {
            self.world.wake_waiter(dialer);
        }
    }
}

/// What happens at the door.
impl Shake<'_> {
    /// Looks who is there.
    fn look(&mut self) -> Option<Door> {
        self.world.set_actor_anonymous(shaking(self.call.keys[THERE]));
        match std::mem::replace(&mut self.call.stage, Stage::AtDoor) {
            Stage::AtDoor => {
                // If they are gone somebody stands at the door already.
                let src = self.call.src.take()?;
                self.tell(RecordKind::Deliver, None);
                let (to, port) = (self.call.to, self.call.ports[1]);
                let dst = self.net.addr(to.machine, port);
                Some(match self.net.gate(to, port) {
                    None => Door::Shut(Cause::ConnRefused),
                    Some(Err(cause)) => Door::Shut(cause),
                    Some(Ok(gate)) => Door::Open(gate.clone(), src, dst),
                })
            }
            Stage::Queued(queued) if self.world.now >= self.call.limit => {
                self.end(false);
                Some(Door::Left(queued))
            }
            Stage::Queued(queued) => Some(Door::Queue(queued)),
            other => {
                self.call.stage = other;
                None
            }
        }
    }

    /// Stands in the queue of the listener, until the limit. Returns what is to be dropped.
    fn queue(&mut self, queued: Box<Queued>) -> Option<Box<Queued>> {
        if !matches!(self.call.stage, Stage::AtDoor) {
            return Some(queued);
        }
        if self.world.now >= self.call.limit {
            self.end(false);
            return Some(queued);
        }
        self.call.stage = Stage::Queued(queued);
        self.wait_until(self.call.limit);
        None
    }

    /// Turns back with an answer.
    fn turn_back(&mut self) {
        (self.call.way, self.call.losses) = (BACK, 0);
        self.depart();
    }

    /// Waits in vain.
    fn hear_nothing(&mut self) {
        self.call.stage = Stage::Unanswered;
        self.wait_until(self.call.limit);
    }
}

/// Has a dial that is queued look again.
struct Nudge {
    run: u64,
    index: usize,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        try_enter(self.run, |fabric, world| {
            if let Some(Shake { call, world, .. }) = fabric.shake(self.index, world)
                && matches!(call.stage, Stage::Queued(_))
            {
                call.sent = world.current_record().or(call.sent);
                world.set_callback_timer(call_alarm(self.index), world.now);
            }
        });
    }
}

/// What is found at the door.
enum Door {
    /// A listener, perhaps, who is to be asked.
    Open(Gate, Addr, Addr),
    /// Nobody.
    Shut(Cause),
    /// The queue that it stands in already.
    Queue(Box<Queued>),
    /// The queue that it has left, because it has taken too long.
    Left(Box<Queued>),
}

/// Knocks at the door, or looks how it is in the queue; nobody holds the world meanwhile.
fn visit(run: u64, index: u32) {
    let index = index as usize;
    let door = try_enter(run, |fabric, world| fabric.shake(index, world)?.look());
    let mut queued = match door.flatten() {
        None => return,
        // Dropped with the world in its place: by that the dial leaves the queue.
        Some(Door::Left(queued)) => return drop(queued),
        Some(Door::Shut(cause)) => return answer(run, index, Err(cause)),
        Some(Door::Queue(queued)) => queued,
        Some(Door::Open(gate, src, dst)) => {
            let (gate, src) = match gate.accept_now(src, &dst) {
                Ok(accepted) => return answer(run, index, accepted),
                Err(busy) => busy,
            };
            let waker = Arc::new(Nudge { run, index }).into();
            let accept = Box::pin(async move { gate.accept(&src, &dst).await });
            Box::new(Queued { accept, waker })
        }
    };
    match queued.accept.as_mut().poll(&mut Context::from_waker(&queued.waker)) {
        Poll::Ready(accepted) => answer(run, index, accepted),
        Poll::Pending => {
            let _gone = try_enter(run, |fabric, world| match fabric.shake(index, world) {
                Some(mut shake) => shake.queue(queued),
                None => Some(queued),
            });
        }
    }
}

/// Sends the answer on its way back; if it is a good one, the connection is made by that.
fn answer(run: u64, index: usize, accepted: Result<Accept, Cause>) {
    let (peer, pending) = match accepted.map(Accept::into_parts) {
        Ok((peer, pending)) => (Ok(peer), Some(pending)),
        Err(cause) => (Err(cause), None),
    };
    let far = try_enter(run, |fabric, world| {
        let mut shake = fabric.shake(index, world)?;
        let Shake { net, conns, call, world, .. } = &mut shake;
        let to = call.to.machine;
        if net.machines[to].power == Power::Silent {
            shake.hear_nothing();
            return None;
        }
        let port = match peer {
            Ok(peer) => peer.port(),
            Err(cause) => {
                call.failed = Some(cause);
                shake.turn_back();
                return None;
            }
        };
        let ends = [(call.from, call.ports[0]), (to, port)];
        let made = (net.ways(call.keys, call.from, to), net.config.window);
        let index = connect(conns, (call.net, ends), made, world);
        if net.is_odd(call.from, to)
            && let Some(conn) = conns.get_mut(index)
        {
            Transit { net, conn, index, world }.look_around();
        }
        let conn = index as u32;
        call.met = Some(Met { conn, port });
        shake.turn_back();
        Some(conn)
    });
    if let Some((Some(far), pending)) = far.zip(pending) {
        pending.confirm(end_of(run, far, 1));
    }
}
