//! The bare network: pipes with latency on the bare executor.
//!
//! Each message takes a drawn time of 1 to 10 ms and overtakes no earlier one. Only a window of
//! 64 KiB blocks a writer. There are no names, ports, faults, digests, records or errors.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::bare::{now, sleep, wake_at};

const WINDOW: usize = 64 * 1024;

thread_local! {
    static RNG_STATE: Cell<u64> = const { Cell::new(1) };
}

/// How long the next message takes: 1 to 10 ms.
fn draw_latency() -> u64 {
    let mut z = RNG_STATE.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    RNG_STATE.set(z);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    1_000_000 + ((u128::from(z) * 9_000_001) >> 64) as u64
}

/// One direction: bytes in a ring, and when each message arrives.
#[derive(Default)]
struct HalfConn {
    ring: VecDeque<u8>,
    /// How many bytes a message has, and when it arrives.
    messages: VecDeque<(usize, u64)>,
    /// How many bytes have arrived and were not read.
    readable: usize,
    last_arrival: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl HalfConn {
    /// Lets arrive what is due.
    fn deliver_due(&mut self) {
        while let Some(&(bytes, at)) = self.messages.front()
            && at <= now()
        {
            self.messages.pop_front();
            self.readable += bytes;
        }
    }
}

/// One end of a connection.
pub(crate) struct Endpoint {
    read: Rc<RefCell<HalfConn>>,
    write: Rc<RefCell<HalfConn>>,
}

fn pipe() -> (Endpoint, Endpoint) {
    let (forward, reverse) = (Rc::new(RefCell::default()), Rc::new(RefCell::default()));
    let peer = Endpoint { read: Rc::clone(&forward), write: Rc::clone(&reverse) };
    (Endpoint { read: reverse, write: forward }, peer)
}

impl Endpoint {
    /// Reads exactly as much as `buf` holds.
    pub(crate) async fn read_exact(&self, buf: &mut [u8]) {
        let mut filled = 0;
        poll_fn(|cx| {
            let mut half = self.read.borrow_mut();
            half.deliver_due();
            let count = half.readable.min(buf.len() - filled);
            let (front, back) = half.ring.as_slices();
            let first = front.len().min(count);
            buf[filled..filled + first].copy_from_slice(&front[..first]);
            buf[filled + first..filled + count].copy_from_slice(&back[..count - first]);
            drop(half.ring.drain(..count));
            half.readable -= count;
            filled += count;
            if count > 0 {
                half.writer.take().into_iter().for_each(Waker::wake);
            }
            if filled == buf.len() {
                return Poll::Ready(());
            }
            match half.messages.front() {
                Some((_, at)) => wake_at(*at, cx.waker().clone()),
                None => half.reader = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await;
    }

    /// Writes all of `buf`.
    pub(crate) async fn write_all(&self, buf: &[u8]) {
        let mut written = 0;
        poll_fn(|cx| {
            let mut half = self.write.borrow_mut();
            let count = (buf.len() - written).min(WINDOW - half.ring.len());
            if count > 0 {
                half.ring.extend(&buf[written..written + count]);
                written += count;
                let at = (now() + draw_latency()).max(half.last_arrival);
                half.last_arrival = at;
                half.messages.push_back((count, at));
                half.reader.take().into_iter().for_each(|reader| wake_at(at, reader));
            }
            if written == buf.len() {
                return Poll::Ready(());
            }
            half.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Where connections arrive.
#[derive(Default)]
struct AcceptQueue {
    endpoints: VecDeque<Endpoint>,
    acceptor: Option<Waker>,
}

/// Hands over one end of each connection.
#[derive(Clone, Default)]
pub(crate) struct Listener(Rc<RefCell<AcceptQueue>>);

impl Listener {
    /// Connects, which takes a round trip.
    pub(crate) async fn dial(&self) -> Endpoint {
        sleep(draw_latency()).await;
        let (local, peer) = pipe();
        {
            let mut queue = self.0.borrow_mut();
            queue.endpoints.push_back(peer);
            queue.acceptor.take().into_iter().for_each(Waker::wake);
        }
        sleep(draw_latency()).await;
        local
    }

    /// Waits for a connection.
    pub(crate) async fn accept(&self) -> Endpoint {
        poll_fn(|cx| {
            let mut queue = self.0.borrow_mut();
            match queue.endpoints.pop_front() {
                Some(endpoint) => Poll::Ready(endpoint),
                None => {
                    queue.acceptor = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
