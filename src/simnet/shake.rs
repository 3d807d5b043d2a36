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
//! What has got to a listener waits there as long as it has to, and as the way is clear.

use std::sync::Arc;
use std::task::{Context, Poll, Wake};

use crate::net::{Accept, Addr, Cause, Gate, Notifier, RawConn};
use crate::sim::{Errand, Key, Mark, RecordKind, World, hash_name, nanos, path_step};

use super::call::{BACK, Call, Dialed, Queued, Stage, THERE};
use super::conn::End;
use super::fabric::{Fabric, Net, try_enter, with_fabric};
use super::link::Passage;
use super::machine::{Place, Power};
use super::transit::{AGAIN, ALARMS, CALL, LATENCY, head_of, retry_after, whose};

/// What a record of a knock or its answer carries, where data has a digest.
const SAID: u64 = 3;

/// What an alarm of the fabric does.
pub(crate) fn sound(world: &mut World, alarm: u32) {
    let (index, which) = whose(alarm);
    with_fabric(world.run, |fabric| {
        if which == CALL {
            if let Some(mut shake) = fabric.shake(index, world) {
                shake.move_on();
            }
            return;
        }
        if let Some(way) = head_of(which)
            && let Some(conn) = fabric.conns.get_mut(index)
            && conn.arrive_plainly(way, &fabric.nets, world)
        {
            return;
        }
        if let Some(mut transit) = fabric.transit(index, world) {
            transit.sound(which);
        }
    });
}

/// A network and one of the dials in it, with all that moves it.
struct Shake<'a> {
    net: &'a mut Net,
    call: &'a mut Call,
    index: usize,
    world: &'a mut World,
}

/// The name under which a hand-shake wakes somebody: what is sent in that direction later counts
/// its own wake-ups from the first on.
const fn shaking(direction: Key) -> Key {
    direction.child(const { hash_name("syn") }, 0)
}

/// The alarm of a dial.
const fn alarm(index: usize) -> u32 {
    index as u32 * ALARMS + CALL
}

impl Fabric {
    fn shake<'a>(&'a mut self, index: usize, world: &'a mut World) -> Option<Shake<'a>> {
        let call = self.calls.get_mut(index)?;
        let net = &mut self.nets[call.net as usize];
        Some(Shake { net, call, index, world })
    }

    /// Sets out to dial: the how-manieth connection of these two it will be is known from here.
    pub(crate) fn dial(
        &mut self,
        world: &mut World,
        net: u32,
        (from, to): (u32, Place),
        (src, dst): (&Addr, &Addr),
    ) -> usize {
        let state = &mut self.nets[net as usize];
        let keys = state.next_keys(world, from, to.machine);
        let timeout = nanos(state.config.connect_timeout);
        let index = self.calls.insert(Call {
            net,
            from,
            to,
            keys,
            addrs: Some((src.clone(), dst.clone())),
            ports: [src.port(), dst.port()],
            stage: Stage::AtDoor,
            way: THERE,
            losses: 0,
            sent: Mark::default(),
            limit: world.after(timeout),
            knocked_at: 0,
            answer: None,
            dialer: None,
        });
        if let Some(mut shake) = self.shake(index, world) {
            shake.depart();
        }
        index
    }

    /// Forgets a dial. Returns it, to be dropped outside of the world.
    pub(crate) fn hang_up(&mut self, world: &mut World, index: usize) -> Option<Call> {
        world.alarms.cancel(alarm(index));
        self.calls.try_remove(index)
    }

    /// Lets all dials of a network look again that are held.
    pub(crate) fn let_dials_go(&mut self, world: &mut World, net: u32) {
        for (index, call) in &self.calls {
            if call.net == net && matches!(call.stage, Stage::Held) {
                world.set_alarm(alarm(index), world.now);
            }
        }
    }
}

impl Net {
    /// The names of both directions of the next connection from one host to another.
    fn next_keys(&mut self, world: &mut World, from: u32, to: u32) -> [Key; 2] {
        let dials = &mut self.pairs.or_default((from, to)).dials;
        *dials += 1;
        let number = *dials - 1;
        let [near, far] = [from, to].map(|place| &self.machines[place as usize]);
        let there = self.key.child(near.hash, 0).child(far.hash, number);
        let back = there.child(const { hash_name("back") }, 0);
        if !world.remembers() {
            return [there, back];
        }
        let (near, far) = (&near.name, &far.name);
        let text =
            || [path_step(&self.name, 0), path_step(near, 0), path_step(far, number)].join("/");
        world.remember(there, text);
        world.remember(back, || format!("{}/back", text()));
        world.remember(shaking(there), || format!("{}/syn", text()));
        world.remember(shaking(back), || format!("{}/back/syn", text()));
        [there, back]
    }

    /// The gate of a host, or who finds it; `None` if that life of the host is over.
    fn gate(&self, to: Place) -> Option<Result<Gate, Notifier>> {
        let machine = &self.machines[to.machine as usize];
        if machine.power != Power::Up || machine.life != to.life {
            return None;
        }
        Some(match &machine.gate {
            Some((life, gate)) if *life == to.life => Ok(gate.clone()),
            _ => Err(self.regions[machine.region as usize].notifier.clone()),
        })
    }
}

/// What the network does.
impl Shake<'_> {
    /// Goes on at the instant for which the alarm was set.
    fn move_on(&mut self) {
        self.world.act_as_once(shaking(self.call.keys[self.call.way]));
        let limit = self.call.limit;
        match self.call.stage {
            Stage::Travels { arrives } if arrives <= limit => self.arrive(),
            Stage::Held => self.arrive(),
            Stage::Lost { again } if again <= limit => self.depart(),
            Stage::AtDoor | Stage::Queued(_) => self.go_to_door(),
            _ => self.end(false),
        }
    }

    /// Is heard of again at an instant, or at the limit if that is before.
    fn wait_until(&mut self, at: u64) {
        self.world.set_alarm(alarm(self.index), at.min(self.call.limit));
    }

    /// Sets out.
    fn depart(&mut self) {
        let Self { net, call, world, .. } = self;
        let (from, to) = call.route();
        let family = if call.losses == 0 { LATENCY } else { AGAIN };
        let latency = net.latency(from, to);
        let takes = world.draw_latency(family, call.keys[call.way], call.losses, latency);
        let mut at = world.after(takes);
        if net.is_odd(from, to) {
            at = net.serialised(from, to, world.now, at, 0);
        }
        if call.way == THERE && call.losses == 0 && !net.links.is_odd(from, to) {
            // Dials from one host to another arrive in the order in which they set out, as long
            // as nothing was done to the way.
            let last = &mut net.pairs.or_default((from, to)).last_at;
            *last = at.max(*last);
            at = *last;
        }
        call.sent = world.mark().or(call.sent);
        self.call.stage = Stage::Travels { arrives: at };
        self.wait_until(at);
    }

    /// Gets to the other host, or finds out that it does not.
    fn arrive(&mut self) {
        let Self { net, call, world, .. } = self;
        let (from, to) = call.route();
        let silent = net.machines[to as usize].power == Power::Silent;
        let passage = match silent {
            true => Passage::Cut,
            false => net.pass(world, (from, to), call.keys[call.way], call.losses),
        };
        match passage {
            Passage::Clear if call.way == THERE => {
                call.stage = Stage::AtDoor;
                call.knocked_at = world.now;
                self.go_to_door();
            }
            Passage::Clear => {
                self.tell(RecordKind::Deliver, "");
                self.end(true);
            }
            Passage::Held if world.now >= call.limit => self.end(false),
            Passage::Held => {
                self.tell(RecordKind::Lose, " held");
                self.call.stage = Stage::Held;
                self.wait_until(self.call.limit);
            }
            Passage::Cut => {
                self.tell(RecordKind::Lose, " lost");
                self.call.losses += 1;
                let again = self.world.after(retry_after(self.call.losses as u32));
                self.call.stage = Stage::Lost { again };
                self.wait_until(again);
            }
        }
    }

    /// Records what became of it.
    fn tell(&mut self, kind: RecordKind, how: &str) {
        let Self { net, call, world, .. } = self;
        world.record_arrival(kind, call.keys[call.way], (call.losses, SAID), call.sent, || {
            let src = net.addr(call.from, call.ports[0]);
            let dst = net.addr(call.to.machine, call.ports[1]);
            match call.way {
                THERE => format!("SYN {src}->{dst}{how}"),
                _ => format!("SYN-ACK {dst}->{src}{how}"),
            }
        });
    }

    /// Knocks, or looks again, when the world is out of hand.
    fn go_to_door(&mut self) {
        self.world.run_errand(Errand::Visit(visit, self.world.run, self.index as u32));
    }

    /// Is over.
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
        self.world.act_as_once(shaking(self.call.keys[THERE]));
        match std::mem::replace(&mut self.call.stage, Stage::AtDoor) {
            Stage::AtDoor => {
                // If they are gone somebody stands at the door already.
                let (src, dst) = self.call.addrs.take()?;
                self.tell(RecordKind::Deliver, "");
                let gate = self.net.gate(self.call.to);
                Some(gate.map_or(Door::Shut, |gate| Door::Open(gate, src, dst)))
            }
            Stage::Queued(queued) => Some(Door::Queue(queued)),
            other => {
                self.call.stage = other;
                None
            }
        }
    }

    /// Stands in the queue of the listener, unless it has done so for long and the way is not
    /// clear any more. Returns what is to be dropped.
    fn queue(&mut self, queued: Box<Queued>) -> Option<Box<Queued>> {
        if !matches!(self.call.stage, Stage::AtDoor) {
            return Some(queued);
        }
        if self.world.now >= self.call.limit {
            if !self.is_clear() {
                self.end(false);
                return Some(queued);
            }
            self.call.limit = self.next_limit();
        }
        self.call.stage = Stage::Queued(queued);
        self.wait_until(self.call.limit);
        None
    }

    /// Turns back with an answer. If it had to wait for that, the answer has a time of its own.
    fn turn_back(&mut self, answer: Dialed) {
        if self.world.now > self.call.knocked_at {
            self.call.limit = self.next_limit();
        }
        (self.call.way, self.call.losses) = (BACK, 0);
        self.call.answer = Some(answer);
        self.depart();
    }

    /// Waits in vain.
    fn hear_nothing(&mut self) {
        self.call.stage = Stage::Unanswered;
        self.wait_until(self.call.limit);
    }

    /// Until when what is begun now may take.
    fn next_limit(&self) -> u64 {
        self.world.after(nanos(self.net.config.connect_timeout))
    }

    /// Whether the other host is there, and the way open in both directions.
    fn is_clear(&self) -> bool {
        let Self { net, call, .. } = self;
        let clear = |from, to| net.links.look(from, to) == Passage::Clear;
        net.machines[call.to.machine as usize].power != Power::Silent
            && clear(call.from, call.to.machine)
            && clear(call.to.machine, call.from)
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
                call.sent = world.mark().or(call.sent);
                world.set_alarm(alarm(self.index), world.now);
            }
        });
    }
}

/// What is found at the door.
enum Door {
    /// A listener, perhaps, who is to be asked.
    Open(Result<Gate, Notifier>, Addr, Addr),
    /// Nobody.
    Shut,
    /// The queue that it stands in already.
    Queue(Box<Queued>),
}

/// Finds the host that is dialed, and keeps it for the next dial.
fn find(run: u64, index: usize, notifier: &Notifier, dst: &Addr) -> Result<Gate, Cause> {
    let gate = notifier.gate(dst)?;
    let _before = try_enter(run, |fabric, world| {
        let Shake { net, call, .. } = fabric.shake(index, world)?;
        let machine = &mut net.machines[call.to.machine as usize];
        machine.gate.replace((call.to.life, gate.clone()))
    });
    Ok(gate)
}

/// Knocks at the door, or looks how it is in the queue; nobody holds the world meanwhile.
fn visit(run: u64, index: u32) {
    let index = index as usize;
    let door = try_enter(run, |fabric, world| fabric.shake(index, world)?.look());
    let mut queued = match door.flatten() {
        None => return,
        Some(Door::Shut) => return answer(run, index, Err(Cause::ConnRefused)),
        Some(Door::Queue(queued)) => queued,
        Some(Door::Open(gate, src, dst)) => {
            let gate = match gate.or_else(|notifier| find(run, index, &notifier, &dst)) {
                Ok(gate) => gate,
                Err(cause) => return answer(run, index, Err(cause)),
            };
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
        let call = fabric.calls.get(index)?;
        let machine = &fabric.nets[call.net as usize].machines[call.to.machine as usize];
        if machine.power == Power::Silent {
            fabric.shake(index, world)?.hear_nothing();
            return None;
        }
        let (answer, far) = match peer {
            Err(cause) => (Err(cause), None),
            Ok(peer) => {
                let ends = [(call.from, call.ports[0]), (call.to.machine, peer.port())];
                let (net, keys) = (call.net, call.keys);
                let (near, far) = End::both(run, fabric.connect(net, ends, keys, world));
                (Ok((Box::new(near) as Box<dyn RawConn>, peer)), Some(far))
            }
        };
        fabric.shake(index, world)?.turn_back(answer);
        far
    });
    if let Some((Some(far), pending)) = far.zip(pending) {
        pending.confirm(Box::new(far));
    }
}
