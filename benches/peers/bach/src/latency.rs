//! bach's own packet queues, with a latency that is drawn for each packet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bach::environment::net::ip::{Packet, Segments};
use bach::environment::net::monitor::List as Monitors;
use bach::environment::net::pcap;
use bach::environment::net::queue::{Allocator, Dispatch, PacketQueue};
use bach::ext::*;
use bach::group::Group;
use bach::net::SocketAddr;
use bach::queue::latent::Latency;
use bach::queue::vec_deque::{Overflow, Queue};
use bach::sync::channel::Sender;

/// How many packets a queue holds.
pub(crate) const LIMIT: usize = 128;

/// 1 to 10 ms, all alike.
#[derive(Clone)]
pub(crate) struct Uniform(Arc<AtomicU64>);

impl Uniform {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }
}

impl Latency<Packet> for Uniform {
    fn for_value(&self, _: &Packet) -> Duration {
        // SplitMix64, on one thread.
        let mut z = self.0.load(Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.store(z, Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        Duration::from_nanos(1_000_000 + ((u128::from(z) * 9_000_001) >> 64) as u64)
    }
}

/// As its `Fixed`, without monitors and captures.
impl Allocator for Uniform {
    fn for_udp(
        &mut self,
        _: &Group,
        _: SocketAddr,
        dispatch: &Dispatch,
        _: &Monitors,
        _: &mut pcap::Registry,
    ) -> PacketQueue {
        let (local_sender, mut sent) = Queue::builder()
            .with_capacity(Some(LIMIT))
            .with_overflow(Overflow::PreferOldest)
            .build()
            .mutex()
            .channel();
        let _: &Sender<Segments> = &local_sender;
        let (remote_sender, local_receiver) = Queue::builder()
            .with_capacity(Some(LIMIT))
            .with_overflow(Overflow::PreferOldest)
            .build()
            .mutex()
            .channel();
        let (mut net_send, mut net_recv) = Queue::builder()
            .with_capacity(Some(LIMIT))
            .with_overflow(Overflow::PreferOldest)
            .build()
            .latent(self.clone())
            .mutex()
            .channel();
        async move {
            while let Ok(segments) = sent.recv().await {
                for packet in segments {
                    if net_send.push_nowait(packet).await.is_err() {
                        return;
                    }
                }
            }
        }
        .spawn();
        let dispatch = dispatch.clone();
        async move {
            while let Ok(packet) = net_recv.recv().await {
                dispatch.send(packet).await;
            }
        }
        .spawn();
        PacketQueue { local_sender, local_receiver, remote_sender }
    }
}
