//! The distributions that choices are drawn from, in integers, so that every machine draws alike.

use crate::sim::choice::hash::scale_to_range;

/// The values that a choice may have; 0 is always the benign one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Distribution {
    /// One of this number of values, all alike. Must not be zero.
    Uniform(u64),
    /// Nanoseconds: mostly none, else up to 65 536 µs, long-tailed.
    Delay(DelayPolicy),
    /// Nanoseconds: none in one of two, else 1 µs to 262 ms, every scale alike.
    PctHold,
    /// Nanoseconds: 1 ms to 4.2 s, every scale alike.
    PctDemotion,
    /// Exponentially distributed with this mean, up to 64 means.
    Exponential(u64),
    /// Much like a log-normal distribution with this median, in which one sigma is a factor of
    /// two: from an eleventh of it to eleven times as much.
    LogNormal(u64),
}

/// The odds and the scale of late wake-ups, by their source.
///
/// Other tasks may act right after a task, so that wake-ups by tasks are often late, and mostly by
/// microseconds. A timer or a delivery comes at an instant of its own, which was drawn or is far
/// from others: it is late less often, and then by more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DelayPolicy {
    /// The bits of which none is set if a wake-up is not late.
    none_mask: u64,
    /// The index of the smallest of the scales of delays.
    first_scale: u32,
}

/// The number of scales of delays, each four times as long as the one before.
const SCALES: u32 = 8;

impl DelayPolicy {
    /// A wake-up by a task is late one time in four, and by a microsecond at least.
    pub(crate) const TASK_WAKE: Self = Self { none_mask: 3, first_scale: 0 };
    /// A wake-up by a timer or the network is late one time in sixteen, and by 16 µs at least.
    pub(crate) const TIMER_WAKE: Self = Self { none_mask: 15, first_scale: 2 };
    /// Bits that stand for no delay.
    pub(crate) const NONE: u64 = u64::MAX;

    /// Whether random bits stand for no delay.
    #[inline]
    pub(crate) const fn is_none(self, raw: u64) -> bool {
        raw & self.none_mask != 0
    }

    /// The delay that others stand for. Each scale is half as likely as the one before: rarely many
    /// milliseconds.
    #[inline]
    pub(crate) fn sample(self, raw: u64) -> u64 {
        let last = SCALES - 1 - self.first_scale;
        within_scale(self.first_scale + ((raw >> 4) | (1 << last)).trailing_zeros(), raw)
    }
}

impl Distribution {
    #[inline(always)]
    pub(crate) fn sample(self, raw: u64) -> u64 {
        match self {
            Self::Uniform(options) => scale_to_range(raw, options),
            rarer => rarer.sample_slow(raw),
        }
    }

    #[inline(never)]
    fn sample_slow(self, raw: u64) -> u64 {
        match self {
            Self::Delay(late) if !late.is_none(raw) => late.sample(raw),
            Self::PctHold if raw & 1 == 0 => within_scale(((raw >> 1) & 0xFF) as u32 % 9, raw),
            Self::Uniform(_) | Self::Delay(_) | Self::PctHold => 0,
            Self::PctDemotion => within_scale(5 + (raw & 0xFF) as u32 % 6, raw),
            Self::Exponential(mean) => scale_by(mean, exponential(raw)),
            Self::LogNormal(median) => scale_by(median, log_normal_factor(raw)),
        }
    }

    /// The duration that a fuzzer's byte stands for: the greater the byte, the longer, and none
    /// for 0. Among all bytes none are as frequent as among seeds, and every scale is alike.
    pub(crate) fn sample_from_byte(self, byte: u8) -> u64 {
        // `byte` is one of so many, of which these scales share what is not in front of `first`.
        let among = |first: u64, lowest: u32, scales: u32| match u64::from(byte).checked_sub(first)
        {
            None => 0,
            Some(rank) => {
                let index = ((rank * u64::from(scales)) << 8) / (256 - first);
                within_scale(lowest + (index >> 8) as u32, index << 56)
            }
        };
        match self {
            Self::Uniform(options) => u64::from(byte) % options,
            Self::Delay(late) => among(192, late.first_scale, SCALES - late.first_scale),
            Self::PctHold => among(128, 0, 9),
            Self::PctDemotion => among(1, 5, 6),
            _ if byte == 0 => 0,
            Self::Exponential(mean) => scale_by(mean, exponential(!(u64::from(byte) << 56))),
            Self::LogNormal(median) => {
                let raw = u64::from(byte) * 0x0101_0101_0101_0101;
                scale_by(median, log_normal_factor(raw))
            }
        }
    }

    /// The number of values, or somewhat more.
    pub(crate) const fn options(self) -> u64 {
        match self {
            Self::Uniform(options) => options,
            Self::Delay(_) => 65_536_000 + 1,
            Self::PctHold => 262_144_000 + 1,
            Self::PctDemotion => 4_194_304_000 + 1,
            Self::Exponential(mean) => mean.saturating_mul(64).saturating_add(1),
            Self::LogNormal(median) => median.saturating_mul(12).saturating_add(1),
        }
    }
}

/// Multiplies by a fixed-point number with 32 bits behind the point.
#[inline]
fn scale_by(unit: u64, factor: u64) -> u64 {
    let wide = (u128::from(unit) * u128::from(factor)) >> 32;
    u64::try_from(wide).unwrap_or(u64::MAX)
}

/// The natural logarithm of one over a uniform number, with 32 bits behind the point.
///
/// In integers, so that no other machine's arithmetic moves a run. The logarithm of the mantissa
/// is a parabola that is off by less than one per cent.
fn exponential(raw: u64) -> u64 {
    const LN_2: u128 = 0xB172_17F8;
    let raw = raw | 1;
    let zeros = raw.leading_zeros();
    // The bits after the leading one, as a fraction of 32 bits.
    let x = ((raw << zeros << 1) >> 32) as u128;
    let bend = (((x * ((1 << 32) - x)) >> 32) * 1409) >> 12;
    let log = (u128::from(zeros + 1) << 32) - (x + bend);
    ((log * LN_2) >> 32) as u64
}

/// Two to the power of a normal number, with 32 bits behind the point.
///
/// Four uniform numbers of 16 bits make the normal one: it lies between -3.47 and 3.47.
fn log_normal_factor(raw: u64) -> u64 {
    let sum: u64 = (0..4).map(|part| (raw >> (16 * part)) & 0xFFFF).sum();
    // The sum has a standard deviation of 37 837; five is added to keep it positive.
    let power = (sum << 16) / 37_837 + (5 << 16) - (131_070 << 16) / 37_837;
    let (whole, x) = (power >> 16, power & 0xFFFF);
    // 2^x is 1 + x, less a parabola, to one in five hundred.
    let mantissa = (1 << 16) + x - ((x * ((1 << 16) - x)) >> 16) * 1409 / 4096;
    (mantissa << 16) >> 5 << whole
}

/// A duration between 4^`exponent` and four times as many microseconds.
#[inline]
fn within_scale(exponent: u32, raw: u64) -> u64 {
    let scale = 1_000 << (2 * exponent);
    scale + scale_to_range(raw, 3 * scale)
}
