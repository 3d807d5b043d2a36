//! Configuration of a simulated network: latencies, window, timeouts and bandwidth without faults.

use std::time::Duration;

use crate::sim::nanos;

use crate::simnet::latency::Latency;

/// The settings of a simulated network, for [`Network::with`](crate::simnet::Network::with).
///
/// The default is a quick data centre: 1 to 10 ms between hosts of one region, 20 to 80 ms between
/// regions, a window of 64 KiB, connects that give up after 10 s and streams after 60 s, look-ups
/// of 1 to 5 ms, and no limit of bandwidth.
///
/// ```
/// use std::time::Duration;
/// use virtnet::simnet::{Config, Latency};
///
/// let lan = Config::new().latency(Latency::constant(Duration::from_micros(100))).window(1 << 20);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until it is given to `Network::with`"]
pub struct Config {
    pub(crate) latency: Latency,
    pub(crate) region_latency: Latency,
    pub(crate) registry_latency: Latency,
    pub(crate) window: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) user_timeout: Option<Duration>,
    pub(crate) bandwidth: Option<u64>,
    pub(crate) keep_alive: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            latency: Latency::from_millis(1, 10),
            region_latency: Latency::from_millis(20, 80),
            registry_latency: Latency::from_millis(1, 5),
            window: 64 * 1024,
            connect_timeout: Duration::from_secs(10),
            user_timeout: Some(Duration::from_secs(60)),
            bandwidth: None,
            keep_alive: None,
        }
    }
}

impl Config {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the latency between two hosts of a region, one way.
    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// Sets the latency between two regions, one way.
    pub fn region_latency(mut self, latency: Latency) -> Self {
        self.region_latency = latency;
        self
    }

    /// Sets the time that the registry takes to answer.
    pub fn registry_latency(mut self, latency: Latency) -> Self {
        self.registry_latency = latency;
        self
    }

    /// Sets the number of bytes of one direction of a connection that can be written and not yet
    /// read, from 1 byte to 1 GiB. A write beyond that waits.
    ///
    /// # Panics
    ///
    /// If it is zero or more than 1 GiB.
    #[track_caller]
    pub fn window(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "virtnet: a window of 0 bytes lets nothing pass: from 1 byte to 1 GiB");
        assert!(bytes <= 1 << 30, "virtnet: a window of {bytes} bytes: from 1 byte to 1 GiB");
        self.window = bytes as u32;
        self
    }

    /// Sets the time after which a dial fails with `timed out`: the look-up, the SYN, the wait for
    /// an accept and the reply, all together.
    ///
    /// A dial that has timed out is in no queue any more. If it was accepted at the last moment, so
    /// that the answer came too late, the accepted connection is reset.
    ///
    /// # Panics
    ///
    /// If it is zero, as for `std`'s `TcpStream::connect_timeout`.
    #[track_caller]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        assert!(
            !timeout.is_zero(),
            "virtnet: connect_timeout(0): every dial would time out at once; use 1 ns or more"
        );
        self.connect_timeout = timeout;
        self
    }

    /// Sets the time for which a byte may stay unacknowledged before its sender fails with `timed
    /// out`; `None` is for ever. A round trip that takes longer is a timeout, too. The time that
    /// bytes wait for bandwidth does not count, because they are acknowledged one by one meanwhile.
    ///
    /// # Panics
    ///
    /// If it is zero: `None` is no timeout.
    #[track_caller]
    pub fn user_timeout(mut self, timeout: Option<Duration>) -> Self {
        assert!(
            timeout != Some(Duration::ZERO),
            "virtnet: user_timeout(0): every byte would time out at once; `None` is no timeout"
        );
        self.user_timeout = timeout;
        self
    }

    /// Whether a way there and back may take longer than a stream waits for it.
    pub(crate) fn may_exceed_user_timeout(&self) -> bool {
        let max_latency = self.latency.max_nanos().max(self.region_latency.max_nanos());
        self.user_timeout.is_some_and(|timeout| nanos(timeout) < max_latency.saturating_mul(2))
    }

    /// Sets the number of bytes that pass from one host to another in a second; `None` is no limit.
    ///
    /// # Panics
    ///
    /// If it is zero: to let nothing pass is a partition.
    #[track_caller]
    pub fn bandwidth(mut self, bytes_per_second: Option<u64>) -> Self {
        assert!(
            bytes_per_second != Some(0),
            "virtnet: a bandwidth of 0 bytes a second lets nothing pass: use `Network::partition`"
        );
        self.bandwidth = bytes_per_second;
        self
    }

    /// Sets how long an idle endpoint waits before it asks whether its peer is still there. `None`,
    /// as in TCP, is never: an idle reader waits for ever.
    ///
    /// A question is as a byte that was sent: it is unacknowledged until it is answered, and after
    /// the stream's timeout the end fails with `timed out`.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[track_caller]
    pub fn keep_alive(mut self, idle: Option<Duration>) -> Self {
        assert!(idle != Some(Duration::ZERO), "virtnet: a keep-alive of 0 s would never be idle");
        self.keep_alive = idle;
        self
    }
}
