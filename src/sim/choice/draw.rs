//! The source of a run's choices: a value for each key and ordinal, from seed, tape or bytes.
//!
//! A choice is named by its subject, a stable path such as `delay main/client timer`, and by its
//! ordinal: how many choices this subject has made before. Its value is a pure function of seed,
//! subject and ordinal. An additional choice in one place therefore changes no value in another, a
//! choice that is no longer made has no effect, and a failing run can be reduced to the few
//! choices that matter.
//!
//! The alternative is one stream of random numbers for the whole run. There, any edit shifts every
//! later number, and a failing seed stops failing with the next commit. A ChaCha block for each
//! draw would be keyed as well, but takes 33 ns; the mix used here takes 0.9 ns, and its
//! statistical quality is enough for a schedule.

use crate::sim::choice::distribution::Distribution;
use crate::sim::choice::key::{ChoiceKey, PathHash};
use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::util::cold::cold;

use crate::sim::choice::hash::{MIX_A, MIX_B, WEYL, mul_fold, splitmix64};

/// A user's random generator: the stream of a task. Its words are no choices.
pub(crate) fn task_rng(seed: u64, task: PathHash) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(task.0);
    generator
}

/// The source of values that the tape does not override.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum DefaultSource {
    /// From the seed.
    Seed,
    /// Every choice is 0.
    Zero,
    /// A fuzzer's bytes in the order of asking, then 0.
    Bytes(Vec<u8>),
}

/// A value that was chosen and was not 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordedChoice {
    pub(crate) key: ChoiceKey,
    pub(crate) ordinal: u64,
    pub(crate) value: u64,
    /// The number of values to choose from.
    pub(crate) options: u64,
    /// The virtual time at which it was made.
    pub(crate) at: u64,
}

/// Answers the choices of one run.
#[derive(Debug)]
pub(crate) struct ChoiceSource {
    base: u64,
    default: DefaultSource,
    /// The number of the fuzzer's bytes that are used up.
    bytes_used: usize,
    overrides: BTreeMap<(PathHash, u64), u64>,
    /// The choices that were drawn, if they are recorded.
    recorded: Option<Vec<RecordedChoice>>,
    /// Whether nothing but the seed is to be looked at: the common case.
    seed_only: bool,
    /// The virtual time, for what is written down.
    pub(crate) now: u64,
}

impl ChoiceSource {
    /// Every choice comes from the seed.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self {
            base: splitmix64(splitmix64(seed ^ MIX_A).wrapping_add(WEYL)),
            default: DefaultSource::Seed,
            bytes_used: 0,
            overrides: BTreeMap::new(),
            recorded: None,
            seed_only: true,
            now: 0,
        }
    }

    /// Begins another run, in which every choice comes from its seed: in place, because a struct
    /// that was just written cannot be moved at once.
    #[inline(always)]
    pub(crate) fn begin(&mut self, seed: u64) {
        self.base = splitmix64(splitmix64(seed ^ MIX_A).wrapping_add(WEYL));
        self.default = DefaultSource::Seed;
        self.recorded = None;
        (self.bytes_used, self.seed_only, self.now) = (0, true, 0);
        if !self.overrides.is_empty() {
            self.overrides.clear();
        }
    }

    /// Answers as a tape says: `overrides` are subjects as written there, with ordinal and value.
    pub(crate) fn load_tape<'a>(
        &mut self,
        rest: DefaultSource,
        overrides: impl Iterator<Item = (&'a str, u64, u64)>,
    ) {
        self.overrides = overrides
            .map(|(subject, ordinal, value)| ((ChoiceKey::parse_hash(subject), ordinal), value))
            .collect();
        self.seed_only = rest == DefaultSource::Seed && self.overrides.is_empty();
        self.recorded = matches!(rest, DefaultSource::Bytes(_)).then(Vec::new);
        self.default = rest;
    }

    /// Writes down from now on what is decided and is not 0.
    pub(crate) fn start_recording(&mut self) {
        self.recorded.get_or_insert_default();
        self.seed_only = false;
    }

    /// The tape's value of a choice that is not drawn, or 0.
    #[inline]
    pub(crate) fn overridden_value(
        &mut self,
        key: ChoiceKey,
        ordinal: u64,
        distribution: Distribution,
    ) -> u64 {
        if self.has_no_overrides() {
            return 0;
        }
        cold(move || {
            let value = self.overrides.get(&(key.hash(), ordinal));
            let value = value.map_or(0, |value| value % distribution.options());
            self.record(key, ordinal, (value, distribution.options()));
            value
        })
    }

    fn record(&mut self, key: ChoiceKey, ordinal: u64, (value, options): (u64, u64)) {
        let at = self.now;
        if let Some(decided) = self.recorded.as_mut().filter(|_| value != 0) {
            decided.push(RecordedChoice { key, ordinal, value, options, at });
        }
    }

    /// Whether no tape says anything of any choice.
    #[inline]
    pub(crate) fn has_no_overrides(&self) -> bool {
        self.overrides.is_empty()
    }

    /// The value of a choice.
    #[inline(always)]
    pub(crate) fn draw(&mut self, key: ChoiceKey, ordinal: u64, distribution: Distribution) -> u64 {
        if self.seed_only {
            return distribution.sample(self.raw(key.hash(), ordinal));
        }
        cold(move || self.draw_with_tape(key, ordinal, distribution))
    }

    /// The random bits of a choice that depends on the seed alone and is not recorded.
    #[inline(always)]
    pub(crate) fn seed_bits(&self, key: ChoiceKey, ordinal: u64) -> Option<u64> {
        if self.seed_only { Some(self.raw(key.hash(), ordinal)) } else { None }
    }

    #[inline]
    fn raw(&self, key: PathHash, ordinal: u64) -> u64 {
        let state = (self.base ^ key.0).wrapping_add(ordinal.wrapping_mul(WEYL));
        mul_fold(state, state ^ MIX_B)
    }

    fn draw_with_tape(
        &mut self,
        subject: ChoiceKey,
        ordinal: u64,
        distribution: Distribution,
    ) -> u64 {
        let key = subject.hash();
        let value = match self.overrides.get(&(key, ordinal)) {
            // Any value is legal: what is out of range wraps round.
            Some(value) => value % distribution.options(),
            None => match &self.default {
                DefaultSource::Seed => distribution.sample(self.raw(key, ordinal)),
                DefaultSource::Zero => 0,
                DefaultSource::Bytes(_) => {
                    let value = self.next_from_bytes(distribution);
                    // A repeated question gets the same answer, as with a seed or a tape.
                    self.overrides.insert((key, ordinal), value);
                    value
                }
            },
        };
        self.record(subject, ordinal, (value, distribution.options()));
        value
    }

    /// Takes as many bytes as `shape` needs; past the end all is 0.
    fn next_from_bytes(&mut self, distribution: Distribution) -> u64 {
        let DefaultSource::Bytes(bytes) = &self.default else {
            return 0;
        };
        let Distribution::Uniform(options) = distribution else {
            let byte = bytes.get(self.bytes_used).copied().unwrap_or(0);
            self.bytes_used += 1;
            return distribution.sample_from_byte(byte);
        };
        let width = (64 - (options - 1).leading_zeros()).div_ceil(8) as usize;
        let mut value = 0;
        for (index, byte) in bytes.iter().skip(self.bytes_used).take(width).enumerate() {
            value |= u64::from(*byte) << (8 * index);
        }
        self.bytes_used += width;
        value % options
    }

    /// Answers every further choice with 0.
    pub(crate) fn force_zero(&mut self) {
        self.default = DefaultSource::Zero;
        self.overrides.clear();
        self.seed_only = false;
    }

    /// Whether decisions are recorded.
    pub(crate) const fn is_recording(&self) -> bool {
        self.recorded.is_some()
    }

    /// Takes what was decided, if that was recorded.
    pub(crate) fn take_recorded(&mut self) -> Option<Vec<RecordedChoice>> {
        let mut decided = self.recorded.take()?;
        // A choice that is asked for again has the same value, and is one choice.
        let mut seen = BTreeSet::new();
        decided.retain(|decision| seen.insert((decision.key.hash(), decision.ordinal)));
        Some(decided)
    }
}

#[cfg(test)]
mod tests {
    use super::{ChoiceSource, DefaultSource};
    use crate::sim::choice::distribution::{DelayPolicy, Distribution};
    use crate::sim::choice::family::ChoiceFamily;
    use crate::sim::choice::hash::hash_name;
    use crate::sim::choice::key::{ChoiceKey, PathHash, escape, path_segment};

    fn seeded(seed: u64) -> ChoiceSource {
        ChoiceSource::from_seed(seed)
    }

    #[test]
    fn a_path_read_from_text_is_the_path_that_was_built() {
        let built =
            PathHash::of_name("main").child(hash_name("a b/c#1"), 0).child(hash_name("worker"), 12);
        let text = format!("main/{}/{}", path_segment("a b/c#1", 0), path_segment("worker", 12));
        assert_eq!(text, "main/a%20b%2Fc%231/worker#12");
        assert_eq!(PathHash::parse(&text), built);
        assert_eq!(
            PathHash::parse(&format!("main/{}", escape(""))),
            PathHash::of_name("main").child(hash_name(""), 0)
        );
    }

    #[test]
    fn values_of_one_subject_are_spread_evenly() {
        let mut choices = seeded(7);
        let subject = ChoiceKey::new(
            ChoiceFamily::Choose,
            PathHash::of_name("main"),
            PathHash::of_name("die"),
        );
        let mut counts = [0u32; 6];
        for ordinal in 0..60_000 {
            counts[choices.draw(subject, ordinal, Distribution::Uniform(6)) as usize] += 1;
        }
        for count in counts {
            assert!((9_600..10_400).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn every_bit_of_seed_subject_and_ordinal_stirs_the_value() {
        let raw = |seed, subject: &str, ordinal| {
            seeded(seed).draw(
                ChoiceKey::new(ChoiceFamily::Choose, PathHash::parse(subject), PathHash::NONE),
                ordinal,
                Distribution::Uniform(u64::MAX),
            )
        };
        for (a, b) in [
            (raw(1, "main/a", 0), raw(2, "main/a", 0)),
            (raw(1, "main/a", 0), raw(1, "main/a#1", 0)),
            (raw(1, "main/a", 0), raw(1, "main/a", 1)),
            (raw(0, "main", 0), raw(1 << 63, "main", 0)),
        ] {
            let flipped = (a ^ b).count_ones();
            assert!((12..=52).contains(&flipped), "{a:x} {b:x}");
        }
    }

    #[test]
    fn delays_are_mostly_none_mostly_short_and_sometimes_long() {
        let mut choices = seeded(3);
        let subject = ChoiceKey::new(
            ChoiceFamily::Delay,
            PathHash::of_name("main"),
            PathHash::of_name("timer"),
        );
        let delays: Vec<u64> = (0..100_000)
            .map(|n| choices.draw(subject, n, Distribution::Delay(DelayPolicy::TASK_WAKE)))
            .collect();
        let share = |test: fn(u64) -> bool| delays.iter().filter(|d| test(**d)).count();
        assert!((74_000..76_000).contains(&share(|d| d == 0)));
        assert!((12_000..13_000).contains(&share(|d| (1_000..4_000).contains(&d))));
        assert!((500..1_100).contains(&share(|d| d > 1_048_576)));
        assert!(delays.iter().all(|d| *d <= 65_536_000));
        let delays: Vec<u64> = (0..100_000)
            .map(|n| choices.draw(subject, n, Distribution::Delay(DelayPolicy::TIMER_WAKE)))
            .collect();
        let share = |test: fn(u64) -> bool| delays.iter().filter(|d| test(**d)).count();
        assert!((93_300..94_200).contains(&share(|d| d == 0)));
        assert!((2_900..3_350).contains(&share(|d| (16_000..64_000).contains(&d))));
        assert!((600..950).contains(&share(|d| d > 1_048_576)));
        assert!(delays.iter().all(|d| *d == 0 || (16_000..=65_536_000).contains(d)));
    }

    #[test]
    fn tails_have_their_means_and_medians() {
        let mut choices = seeded(4);
        let subject = ChoiceKey::new(ChoiceFamily::Latency, PathHash::of_name("a"), PathHash::NONE);
        let mut draw = |shape| -> Vec<u64> {
            let mut drawn: Vec<u64> =
                (0..100_000).map(|n| choices.draw(subject, n, shape)).collect();
            drawn.sort_unstable();
            drawn
        };
        let exponential = draw(Distribution::Exponential(1_000_000));
        let mean = exponential.iter().sum::<u64>() / 100_000;
        assert!((985_000..1_015_000).contains(&mean), "{mean}");
        assert!((680_000..706_000).contains(&exponential[50_000]), "ln 2: {}", exponential[50_000]);
        assert!((2_950_000..3_050_000).contains(&exponential[95_000]), "{}", exponential[95_000]);
        assert!(exponential[99_999] < 20_000_000);
        let normal = draw(Distribution::LogNormal(1_000_000));
        assert!((985_000..1_015_000).contains(&normal[50_000]), "{}", normal[50_000]);
        // One sigma up and down are a factor of two.
        assert!((1_950_000..2_050_000).contains(&normal[84_134]), "{}", normal[84_134]);
        assert!((485_000..515_000).contains(&normal[15_866]), "{}", normal[15_866]);
        assert!(normal[0] > 80_000 && normal[99_999] < 12_000_000);
    }

    #[test]
    fn bytes_answer_in_order_then_zero_and_leave_their_decisions() {
        let mut choices = seeded(9);
        choices.load_tape(DefaultSource::Bytes(vec![5, 0, 9]), std::iter::empty());
        let subject =
            ChoiceKey::new(ChoiceFamily::Choose, PathHash::of_name("main"), PathHash::NONE);
        let drawn: Vec<u64> =
            (0..5).map(|n| choices.draw(subject, n, Distribution::Uniform(4))).collect();
        assert_eq!(drawn, [1, 0, 1, 0, 0]);
        assert_eq!(choices.draw(subject, 2, Distribution::Uniform(4)), 1, "asked again");
        let decided = choices.take_recorded().unwrap();
        // One choice, however often it is asked for.
        assert_eq!(decided.iter().map(|d| d.ordinal).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_greater_byte_is_a_longer_duration_and_none_is_none() {
        let shapes = [
            (Distribution::Delay(DelayPolicy::TASK_WAKE), 58_000_000),
            (Distribution::Delay(DelayPolicy::TIMER_WAKE), 58_000_000),
            (Distribution::PctHold, 248_000_000),
            (Distribution::PctDemotion, 4_100_000_000),
            (Distribution::Exponential(1_000), 5_500),
            (Distribution::LogNormal(1_000), 10_000),
        ];
        for (shape, long) in shapes {
            let durations: Vec<u64> = (0..=255).map(|byte| shape.sample_from_byte(byte)).collect();
            assert!(durations.is_sorted(), "{shape:?}: {durations:?}");
            assert_eq!(durations[0], 0);
            assert!((long..shape.options()).contains(&durations[255]), "{shape:?}: {durations:?}");
            let none = durations.iter().filter(|duration| **duration == 0).count();
            let expected = match shape {
                Distribution::Delay(_) => 192,
                Distribution::PctHold => 128,
                _ => 1,
            };
            assert_eq!(none, expected, "{shape:?}: {durations:?}");
        }
    }

    #[test]
    fn a_tape_wins_over_the_seed_and_wraps_what_is_out_of_range() {
        let overrides = [("choose main coin", 1, 7), ("nobody knows this", 0, 3)];
        let mut choices = seeded(1);
        choices.load_tape(DefaultSource::Zero, overrides.into_iter());
        let subject = ChoiceKey::new(
            ChoiceFamily::Choose,
            PathHash::of_name("main"),
            PathHash::of_name("coin"),
        );
        assert_eq!(choices.draw(subject, 0, Distribution::Uniform(4)), 0);
        assert_eq!(choices.draw(subject, 1, Distribution::Uniform(4)), 3);
    }
}
