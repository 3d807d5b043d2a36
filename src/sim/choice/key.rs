//! Paths and the keys of choices: how they are hashed, written and read.

use crate::sim::choice::family::ChoiceFamily;
use crate::sim::choice::hash::{MIX_A, MIX_B, WEYL, hash_name, mul_fold, splitmix64};

/// The hash of a path, such as that of a task: `main/client/worker#2`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct PathHash(pub(crate) u64);

impl PathHash {
    /// Stands where a subject has no second part.
    pub(crate) const NONE: Self = Self(0);

    /// The path one step below this one: the `index`-th of that name.
    #[inline]
    pub(crate) const fn child(self, name_hash: u64, index: u32) -> Self {
        Self(splitmix64(mul_fold(self.0 ^ MIX_A, name_hash ^ MIX_B).wrapping_add(index as u64)))
    }

    /// The hash of the end of the task that has this path.
    #[inline]
    pub(crate) const fn exit(self) -> Self {
        Self(splitmix64(self.0 ^ WEYL))
    }

    /// A path of a single word.
    pub(crate) const fn of_name(word: &str) -> Self {
        Self::NONE.child(hash_name(word), 0)
    }

    /// Reads a path as [`path_segment`] writes it.
    pub(crate) fn parse(text: &str) -> Self {
        text.split('/').fold(Self::NONE, |parent, step| {
            if step == EXIT {
                return parent.exit();
            }
            if let Some(key) = step.strip_prefix(HASH_PREFIX).and_then(parse_hex) {
                return Self(key);
            }
            let (name, index) = match step.rsplit_once('#') {
                Some((name, index)) if index.parse::<u32>().is_ok() => {
                    (name, index.parse().unwrap_or(0))
                }
                _ => (step, 0),
            };
            parent.child(hash_name(&unescape(name)), index)
        })
    }
}

/// The sources of wake-ups that are not tasks, and what reports call them.
pub(crate) const SPAWN: PathHash = PathHash::of_name("spawn");

pub(crate) const TIMER: PathHash = PathHash::of_name("timer");

pub(crate) const FOREIGN: PathHash = PathHash::of_name("foreign");

pub(crate) const SOURCES: [(PathHash, &str); 3] =
    [(SPAWN, "spawn"), (TIMER, "timer"), (FOREIGN, "foreign")];

/// The name of the end of a task, and of omitted ancestors, in a path. No other name is written
/// like them: a percent sign in a name is encoded.
pub(crate) const EXIT: &str = "%exit";
pub(crate) const HASH_PREFIX: &str = "%hash:";

fn parse_hex(hex: &str) -> Option<u64> {
    u64::from_str_radix(hex, 16).ok()
}

/// Writes one step of a path: the name, then `#index` for all but the first.
pub(crate) fn path_segment(name: &str, index: u32) -> String {
    let name = escape(name);
    if index == 0 { name } else { format!("{name}#{index}") }
}

/// Percent-encodes what separates the parts of a subject or of a tape's line.
pub(crate) fn escape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_whitespace() || c.is_control() || matches!(c, '/' | '#' | '%') {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                text.push_str(&format!("%{byte:02X}"));
            }
        } else {
            text.push(c);
        }
    }
    if text.is_empty() { "%".into() } else { text }
}

/// Undoes [`escape`]; what it could not have written stays as it is.
pub(crate) fn unescape(text: &str) -> String {
    if text == "%" {
        return String::new();
    }
    let bytes = text.as_bytes();
    let mut name = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            name.push(byte);
            at += 3;
        } else {
            name.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(name).unwrap_or_else(|_| text.to_string())
}

/// The actor and the object of a choice: `delay main/client timer` is a family, a task, a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChoiceKey {
    pub(crate) family: ChoiceFamily,
    pub(crate) actor: PathHash,
    pub(crate) object: PathHash,
}

impl ChoiceKey {
    pub(crate) const fn new(family: ChoiceFamily, actor: PathHash, object: PathHash) -> Self {
        Self { family, actor, object }
    }

    #[inline]
    pub(crate) fn hash(self) -> PathHash {
        Self::hash_parts(self.family.hash(), self.actor, self.object)
    }

    #[inline]
    fn hash_parts(family: u64, actor: PathHash, object: PathHash) -> PathHash {
        PathHash(mul_fold(actor.0 ^ MIX_A, object.0.rotate_left(32) ^ MIX_B) ^ family)
    }

    /// Writes the subject as it stands on a tape; `name` gives a key's text.
    pub(crate) fn to_text(self, name: impl Fn(PathHash) -> String) -> String {
        let family = self.family.name();
        match self.object {
            PathHash::NONE => format!("{family} {}", name(self.actor)),
            description => format!("{family} {} {}", name(self.actor), name(description)),
        }
    }

    /// The key of a subject in the form of a tape, which may have been edited.
    pub(crate) fn parse_hash(text: &str) -> PathHash {
        let mut words = text.splitn(3, ' ');
        let family = hash_name(words.next().unwrap_or(""));
        let mut path = || words.next().map_or(PathHash::NONE, PathHash::parse);
        let task = path();
        Self::hash_parts(family, task, path())
    }
}
