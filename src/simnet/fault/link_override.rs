//! [`LinkOverride`]: changes settings of the link between two hosts.

use crate::simnet::fault::links::{LinkSetting, MILLION};
use crate::simnet::fault::source::FaultSource;
use crate::simnet::latency::Latency;
use crate::simnet::network::Network;

impl Network {
    /// Overrides settings of the link between two hosts, in both directions. [`heal`](Self::heal)
    /// does not undo it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use virtnet::{Run, simnet::{Latency, Network}};
    /// # Run::new(1).execute(async |_| {
    /// # let net = Network::new("t");
    /// # net.new_host("α").await.unwrap();
    /// # net.new_host("β").await.unwrap();
    /// net.link("α", "β").latency(Latency::constant(Duration::from_millis(300))).loss(0.01);
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn link(&self, a: &str, b: &str) -> LinkOverride {
        let hosts = self.find_pair(a, b);
        LinkOverride { network: self.clone(), hosts, is_one_way: false }
    }

    /// Overrides settings of what one host sends to another, and of nothing that travels back.
    /// Links are often asymmetric: uploads are slow, or acknowledgements get lost.
    ///
    /// [`heal`](Self::heal) does not undo it.
    #[track_caller]
    pub fn link_one_way(&self, from: &str, to: &str) -> LinkOverride {
        let hosts = self.find_pair(from, to);
        LinkOverride { network: self.clone(), hosts, is_one_way: true }
    }
}

/// Overrides settings of the link between two hosts: see [`Network::link`] and
/// [`Network::link_one_way`]. Each call takes effect at once.
#[derive(Debug)]
pub struct LinkOverride {
    network: Network,
    hosts: (u32, u32),
    is_one_way: bool,
}

impl LinkOverride {
    /// Sets the latency between the two, one way.
    #[track_caller]
    pub fn latency(self, latency: Latency) -> Self {
        self.apply(LinkSetting::Latency(latency))
    }

    /// Sets the ratio of segments that are lost, from 0 to 1, acknowledgements included. A lost
    /// segment is sent again after 200 ms, then after twice as long, and so on: loss is delay, and
    /// a stream without any acknowledgement for the user timeout ends.
    ///
    /// # Panics
    ///
    /// If it is not a number from 0 to 1.
    #[track_caller]
    pub fn loss(self, ratio: f64) -> Self {
        let loss = parts_per_million("loss", ratio);
        self.apply(LinkSetting::Loss(loss))
    }

    /// Sets the number of bytes that pass in a second, in each direction.
    ///
    /// # Panics
    ///
    /// If it is zero: to let nothing pass is a partition.
    #[track_caller]
    pub fn bandwidth(self, bytes_per_second: u64) -> Self {
        assert!(
            bytes_per_second > 0,
            "virtnet: a bandwidth of 0 bytes a second lets nothing pass: use `Network::partition`"
        );
        self.apply(LinkSetting::Bandwidth(bytes_per_second))
    }

    /// Sets the ratio of reads and writes of connections between the two that are short, from 0 to
    /// 1.
    ///
    /// # Panics
    ///
    /// If it is not a number from 0 to 1.
    #[track_caller]
    pub fn short_io(self, ratio: f64) -> Self {
        let short = parts_per_million("short_io", ratio);
        self.apply(LinkSetting::ShortIo(short))
    }

    #[track_caller]
    fn apply(self, setting: LinkSetting) -> Self {
        let Self { network, hosts, is_one_way } = &self;
        network.override_link(*hosts, *is_one_way, FaultSource::Manual, setting);
        self
    }
}

#[track_caller]
fn parts_per_million(name: &str, ratio: f64) -> u32 {
    assert!((0.0..=1.0).contains(&ratio), "virtnet: {name}({ratio}): a ratio is from 0 to 1");
    (ratio * f64::from(MILLION)).round() as u32
}
