//! A choice in words, for a reader who has not read how choices are named.

use crate::sim::{Choice, in_three_digits};

/// Says what a plan decided about a family of faults, or about one of them in a slot of its time.
fn fault(what: &str, ordinal: u64, value: u64) -> String {
    let nanos = in_three_digits(value);
    let (family, slot) = what.rsplit_once('#').unwrap_or((what, "0"));
    match (family, slot, ordinal) {
        ("quiet", ..) => format!("the plan may be quiet in slot {slot} ({value} of 3)"),
        (_, "0", 0) => format!("the plan uses {family}"),
        (_, "0", _) => format!("the plan strikes more often with {family} ({value} of 2)"),
        (.., 0) => format!("{what} of the plan may strike ({value} of 11)"),
        (.., 1) => format!("{what} of the plan strikes {nanos:?} later"),
        (.., 2) => format!("{what} of the plan lasts {nanos:?} longer"),
        (.., 5) => format!("{what} of the plan strikes harder, or elsewhere ({value})"),
        _ => format!("{what} of the plan hits another host ({value})"),
    }
}

/// Says what was chosen, and of whom.
pub(crate) fn in_words(choice: &Choice) -> String {
    let mut words = choice.subject.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (family, who, what) = (word(), word(), word());
    let (ordinal, value) = (choice.ordinal, choice.value);
    let nanos = in_three_digits(value);
    let by = |what: &str| match what {
        "timer" => "its timer".to_string(),
        "spawn" => "its being spawned".to_string(),
        what => format!("a wake-up by {what}"),
    };
    let text = match family {
        "order" => format!("{who} lets others go first that are due, after {}", by(what)),
        "delay" => format!("{who} is {nanos:?} late, after {}", by(what)),
        "pct" => format!("{who} is held back (standing {ordinal} is {value})"),
        "select" => format!("{who} looks at branch {value} first in {what}"),
        "choose" => format!("{who} chooses {value} as `{what}`"),
        "latency" => format!("segment {ordinal} of {who} takes {nanos:?} more than the least"),
        "again" => format!("segment {} of {who}, sent again, takes {nanos:?} more", ordinal / 64),
        "credit" => format!("the writer of {who} hears {nanos:?} later that there is space"),
        "loss" => format!("segment {} of {who} may be lost ({value} of 1000000)", ordinal / 64),
        "ack" => {
            format!("what acknowledges segment {} of {who} may be lost ({value})", ordinal / 64)
        }
        "space" => format!("what tells the writer of {who} of space may be lost ({value})"),
        "ask" => format!("a question of the writer of {who} may be lost ({value})"),
        "short" => format!("a read or write of {who} may be short ({value})"),
        "registry" => format!("{who} learns {nanos:?} later than at best where {what} is"),
        "stale" => format!("{who} may be told where {what} was before ({value} of 3)"),
        "input" => format!("the input is simpler than what the seed draws (part {ordinal})"),
        "fault" => fault(what, ordinal, value),
        _ => format!("{} {ordinal} = {value}", choice.subject),
    };
    let unnamed = who.contains("{{closure}}") || what.contains("{{closure}}");
    if unnamed { text + "  [a task without a name: see Sim::task]" } else { text }
}
