//! `Tape`: a run as text, with its seed, its schedule and the choices that are overridden.
//!
//! A tape is small and meant to be edited by hand:
//!
//! ```text
//! virtnet tape 1
//! schedule random
//! seed 0x1f4
//! default zero
//! delay main/client timer 3 = 17000
//! choose main/server drop 0 = 1
//! ```
//!
//! Every tape is a legal run. A value out of range wraps around; an override of a choice that is
//! never made is ignored; a choice without an override comes from the seed, or is 0 if the tape
//! says `default zero`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::sim::choice::draw::DefaultSource;
use crate::sim::choice::recorded::Choice;
use crate::sim::choice::schedule::Schedule;

const HEADER: &str = "virtnet tape 1";

/// The subject under which a tape says how the input of a test is simpler than what is drawn.
pub(crate) const INPUT_SUBJECT: &str = "input main";

/// A run as text, to be replayed by `Run::tape`.
///
/// ```
/// use virtnet::{Run, Tape};
/// let tape = Tape::zero().with("choose main coin", 0, 1);
/// let coin = Run::new(0).tape(tape.clone()).execute(async |sim| sim.choose("coin", 2)).unwrap();
/// assert_eq!(coin, 1);
/// assert_eq!(tape.to_string().parse::<Tape>(), Ok(tape));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tape {
    schedule: Option<Schedule>,
    seed: Option<u64>,
    default: DefaultSource,
    overrides: BTreeMap<(String, u64), u64>,
}

impl Tape {
    /// The run in which every choice is 0: nothing late, nothing reordered,
    /// nothing fails. It is not the run of seed zero.
    pub fn zero() -> Self {
        Self {
            schedule: None,
            seed: None,
            default: DefaultSource::Zero,
            overrides: BTreeMap::new(),
        }
    }

    /// A fuzzer's tape: the bytes answer choices in the order they are asked,
    /// and past their end every choice is 0.
    ///
    /// The outcome of such a run holds the same decisions as a keyed tape, which
    /// survives edits of the program where the bytes do not.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self { default: DefaultSource::Bytes(bytes.into()), ..Self::zero() }
    }

    /// The tape of a run of `seed` under `schedule`, with nothing overridden.
    #[inline(always)]
    pub(crate) fn from_seed(seed: u64, schedule: Schedule) -> Self {
        Self {
            schedule: Some(schedule),
            seed: Some(seed),
            default: DefaultSource::Seed,
            ..Self::zero()
        }
    }

    /// The tape on which only these choices are not 0.
    pub(crate) fn from_choices(seed: u64, schedule: Schedule, choices: &[Choice]) -> Self {
        let text = |choice: &Choice| ((choice.subject.clone(), choice.ordinal), choice.value);
        let overrides = choices.iter().map(text).collect();
        Self { schedule: Some(schedule), seed: Some(seed), overrides, ..Self::zero() }
    }

    /// Overrides one more choice, or the same choice anew.
    ///
    /// `subject` is a choice's subject as reports print it, and `ordinal` how
    /// many choices that subject has made before. How many blanks there are
    /// between its words does not matter; control characters are percent-encoded.
    #[must_use]
    pub fn with(mut self, subject: &str, ordinal: u64, value: u64) -> Self {
        self.overrides.insert((normalize_subject(subject), ordinal), value);
        self
    }

    /// The same with an input that was shrunk by these steps. The steps are not choices: none of
    /// them is left out or set to 0 alone.
    #[must_use]
    pub(crate) fn with_input(self, words: &[u64]) -> Self {
        let words = words.iter().zip(0..);
        words.fold(self, |tape, (word, ordinal)| tape.with(INPUT_SUBJECT, ordinal, *word))
    }

    /// The steps that [`Tape::with_input`] has written.
    pub(crate) fn input(&self) -> Vec<u64> {
        self.iter()
            .filter(|(subject, ..)| *subject == INPUT_SUBJECT)
            .map(|(.., word)| word)
            .collect()
    }

    /// Returns how many choices are overridden.
    pub fn overrides(&self) -> usize {
        self.overrides.len()
    }

    /// The seed, if the tape names one.
    pub(crate) const fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// The schedule, if the tape names one.
    pub(crate) const fn schedule(&self) -> Option<Schedule> {
        self.schedule
    }

    pub(crate) const fn default_source(&self) -> &DefaultSource {
        &self.default
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.overrides.iter().map(|((subject, ordinal), value)| (&**subject, *ordinal, *value))
    }

    /// This tape, played by a run of that seed and schedule, with the bytes that
    /// it may hold replaced by the decisions they came to.
    #[inline(always)]
    pub(crate) fn keyed(
        mut self,
        seed: u64,
        schedule: Schedule,
        decided: Option<&[Choice]>,
    ) -> Self {
        self.seed = Some(seed);
        self.schedule = Some(schedule);
        if let Some(decided) = decided {
            self.default = DefaultSource::Zero;
            self.overrides = Self::from_choices(seed, schedule, decided).overrides;
        }
        self
    }
}

/// Writes a subject in the one way that it is written: its words with single
/// blanks between them, and nothing that would end its line or hide it.
fn normalize_subject(subject: &str) -> String {
    let words: Vec<String> = subject.split_whitespace().map(encode_control).collect();
    match words.first() {
        None => "%".into(),
        Some(first) if first.starts_with('#') => format!("%23{}", &words.join(" ")[1..]),
        Some(_) => words.join(" "),
    }
}

fn encode_control(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    for c in word.chars() {
        if c.is_control() {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                text.push_str(&format!("%{byte:02X}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(schedule) = self.schedule {
            writeln!(f, "schedule {schedule}")?;
        }
        if let Some(seed) = self.seed {
            writeln!(f, "seed {seed:#x}")?;
        }
        match &self.default {
            DefaultSource::Seed => {}
            DefaultSource::Zero => writeln!(f, "default zero")?,
            DefaultSource::Bytes(bytes) => {
                write!(f, "default bytes ")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                writeln!(f)?;
            }
        }
        for (subject, ordinal, value) in self.iter() {
            writeln!(f, "{subject} {ordinal} = {value}")?;
        }
        Ok(())
    }
}

/// A tape's text could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("tape, line {line}: {reason}")]
pub struct ParseTapeError {
    /// The line, counted from 1.
    pub line: usize,
    /// The fault in the text, and what was expected.
    pub reason: String,
}

impl FromStr for Tape {
    type Err = ParseTapeError;

    /// Reads a tape. Empty lines and lines that begin with `#` are skipped.
    fn from_str(text: &str) -> Result<Self, ParseTapeError> {
        let mut tape = Self { default: DefaultSource::Seed, ..Self::zero() };
        let mut lines = text.lines().enumerate().map(|(n, line)| (n + 1, line));
        let first = lines.find(|(_, line)| !is_skipped(line));
        if first.is_none_or(|(_, line)| line.trim_end() != HEADER) {
            let (line, found) = match first {
                Some((line, text)) => (line, quote_excerpt(text)),
                None => (1, "no line that says anything".into()),
            };
            let reason = format!("expected `{HEADER}`, found {found}");
            return Err(ParseTapeError { line, reason });
        }
        for (line, text) in lines.filter(|(_, line)| !is_skipped(line)) {
            tape.read_line(text).map_err(|reason| ParseTapeError { line, reason })?;
        }
        Ok(tape)
    }
}

fn is_skipped(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with('#')
}

/// A piece of input as an error shows it: quoted, and not endless.
fn quote_excerpt(input: &str) -> String {
    match input.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}...", &input[..end]),
        None => format!("{input:?}"),
    }
}

impl Tape {
    fn read_line(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim();
        if let Some((choice, value)) = line.rsplit_once('=') {
            let choice = choice.trim_end();
            let (subject, ordinal) = choice.rsplit_once(char::is_whitespace).ok_or_else(|| {
                format!("{} lacks an ordinal before ` = `", quote_excerpt(choice))
            })?;
            let key = (normalize_subject(subject), parse_number(ordinal)?);
            if self.overrides.insert(key, parse_number(value)?).is_some() {
                return Err(format!("{} is given twice", quote_excerpt(choice)));
            }
            return Ok(());
        }
        let (word, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        match word {
            "schedule" if self.schedule.is_none() => {
                self.schedule = Some(value.parse().map_err(|error| format!("{error}"))?);
            }
            "seed" if self.seed.is_none() => self.seed = Some(parse_number(value)?),
            "default" if self.default == DefaultSource::Seed => {
                self.default = parse_default(value)?;
            }
            "schedule" | "seed" | "default" => return Err(format!("`{word}` is given twice")),
            _ => {
                let expected = "`schedule`, `seed`, `default` or `subject ordinal = value`";
                return Err(format!("expected {expected}, found {}", quote_excerpt(line)));
            }
        }
        Ok(())
    }
}

fn parse_default(value: &str) -> Result<DefaultSource, String> {
    if value == "zero" {
        return Ok(DefaultSource::Zero);
    }
    let (word, hex) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
    let hex = hex.trim();
    if word != "bytes" || !hex.is_ascii() {
        return Err(format!("expected `zero` or `bytes 00ff..`: {}", quote_excerpt(value)));
    }
    if hex.len() % 2 != 0 {
        return Err(format!("`bytes` has an odd number of digits: {}", hex.len()));
    }
    // The standard library reads a plus sign as well.
    let digits = hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok().filter(|_| digits))
        .collect::<Option<_>>()
        .map(DefaultSource::Bytes)
        .ok_or_else(|| format!("`bytes` may hold hexadecimal digits only: {}", quote_excerpt(hex)))
}

/// Reads a number of 64 bits, decimal or with `0x`.
fn parse_number(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let read = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    // The standard library reads a plus sign as well.
    read.ok()
        .filter(|_| !text.contains('+'))
        .ok_or_else(|| format!("{} is no number from 0 to 2^64 - 1", quote_excerpt(text)))
}
