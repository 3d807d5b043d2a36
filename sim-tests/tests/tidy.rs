//! The rules of the house, checked on its source: the staircase, what must be
//! absent where, how a file opens, and that the README's map is the tree.
//!
//! Each rule is also shown a small house in which it is broken.

use std::collections::BTreeMap;
use std::path::Path;

/// Source files by their path from the root: `src/sim/world.rs`.
type Tree = BTreeMap<String, String>;

fn read_tree() -> Tree {
    fn walk(root: &Path, folder: &Path, tree: &mut Tree) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What was built there is nobody's writing.
                if !path.ends_with("target") {
                    walk(root, &path, tree);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
                tree.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut tree = Tree::new();
    for folder in ["src", "macros/src", "sim-tests", "examples", "benches", "fuzz/fuzz_targets"] {
        walk(root, &root.join(folder), &mut tree);
    }
    tree.insert("README.md".into(), std::fs::read_to_string(root.join("README.md")).unwrap());
    tree.insert("Cargo.toml".into(), std::fs::read_to_string(root.join("Cargo.toml")).unwrap());
    tree
}

/// The lines of a file that are code, numbered from 1: no comments, no tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line));
    lines
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The modules that a file declares, in order.
fn modules(text: &str) -> Vec<&str> {
    let declared = |line| {
        let rest: &str = ["pub(crate) mod ", "pub mod ", "mod "]
            .iter()
            .find_map(|start| str::strip_prefix(line, start))?;
        rest.strip_suffix(';')
    };
    code(text).filter_map(|(_, line)| declared(line)).collect()
}

/// The names that follow `prefix` in a line: `super::` gives `choice` and so on.
fn named<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    let starts = line.match_indices(prefix).filter(|(at, _)| {
        // `$crate::` is a macro's, `super::super::` is looked at from its end.
        !line[..*at].ends_with(['$', ':']) && !line[..*at].ends_with(char::is_alphanumeric)
    });
    starts
        .flat_map(|(at, _)| {
            let rest = &line[at + prefix.len()..];
            let end = |text: &str| {
                text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
            };
            match rest.strip_prefix('{') {
                Some(list) => {
                    list.split(',').map(|name| name.trim()).map(|n| &n[..end(n)]).collect()
                }
                None => vec![&rest[..end(rest)]],
            }
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// A file names only files that stand above it.
fn staircase(tree: &Tree) -> Vec<String> {
    let mut errors = Vec::new();
    let top = modules(&tree["src/lib.rs"]);
    for (path, text) in tree.iter().filter(|(path, _)| path.starts_with("src/")) {
        let steps: Vec<&str> = path["src/".len()..].trim_end_matches(".rs").split('/').collect();
        let (floor, file) = (steps[0], *steps.last().unwrap());
        if path == "src/lib.rs" {
            continue;
        }
        let parent = format!("src/{floor}/mod.rs");
        let siblings = match steps.len() {
            1 => top.clone(),
            _ => tree.get(&parent).map(|text| modules(text)).unwrap_or_default(),
        };
        let place = |list: &[&str], name: &str| list.iter().position(|module| *module == name);
        if file != "mod" && place(&siblings, file).is_none() {
            errors.push(format!("{path}: no `mod {file};` declares it"));
        }
        for (n, line) in code(text) {
            for name in named(line, "crate::") {
                match (place(&top, name), place(&top, floor)) {
                    (Some(named), Some(own)) if named < own => {}
                    (Some(named), Some(own)) if named == own && file == "mod" => {}
                    _ => errors.push(format!("{path}:{n}: `crate::{name}` does not stand above")),
                }
            }
            for name in named(line, "super::") {
                match (place(&siblings, name), place(&siblings, file)) {
                    (Some(named), Some(own)) if named < own => {}
                    _ => errors.push(format!("{path}:{n}: `super::{name}` does not stand above")),
                }
            }
            if line.contains("super::*") {
                errors.push(format!("{path}:{n}: `super::*` names the parent"));
            }
        }
    }
    errors
}

/// Who must not say what: the start of a path, and words banned in its code.
const ABSENT: &[(&str, &[&str], &str)] = &[
    ("src/sim/", &["crate::net", "crate::pipenet", "simnet"], "the world knows no network"),
    ("src/net/", &["crate::sim", "crate::pipenet"], "the network knows no simulator"),
    ("src/pipenet/", &["crate::sim"], "pipenet knows no simulator"),
    ("src/simnet/", &["crate::pipenet"], "one network does not know the other"),
    ("src/os/", &["crate::sim"], "the operating system knows no simulator"),
    ("src/lonet/", &["crate::simnet", "crate::pipenet"], "one network does not know the other"),
    ("src/simnet/stream.rs", &["World", "Wakers"], "bytes know no time"),
    ("src/sim/executor.rs", &["super::time", "super::clock", "super::event"], "it knows no time"),
    ("src/sim/event.rs", &["super::task"], "the queue knows no tasks"),
    ("src/sim/radix.rs", &["super::task"], "the queue knows no tasks"),
];

/// What nobody may say, but for the files and folders named.
const BANNED: &[(&str, &str, &[&str])] = &[
    ("Instant::now", "virtual time", &["src/adapt/", "src/check/", "src/lonet/", "src/wait.rs"]),
    ("SystemTime::now", "virtual time", &["src/check/settings.rs", "src/lonet/folder.rs"]),
    ("thread::spawn", "tasks", &["src/check/apart.rs"]),
    ("HashMap", "BTreeMap, whose order is no accident", &[]),
    ("HashSet", "BTreeSet, whose order is no accident", &[]),
    ("RandomState", "sim/choice.rs", &["src/adapt/real.rs"]),
    ("seed_from_u64", "sim/choice.rs", &["src/sim/choice.rs"]),
    ("std::env", "arguments; only check/ reads it", &["src/check/", "src/lonet/mod.rs"]),
    ("unsafe", "safe Rust", &[]),
    ("println!", "the trace; a library does not print", &["src/check/report.rs"]),
    ("dbg!", "the trace", &[]),
    ("todo!", "an issue", &[]),
    ("unimplemented!", "an issue", &[]),
    (".unwrap()", "an error, or `unreachable!` with the reason", &[]),
];

fn absences(tree: &Tree) -> Vec<String> {
    let mut errors = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.starts_with("src/")) {
        for (n, line) in code(text) {
            for (start, words, reason) in ABSENT {
                for word in
                    words.iter().filter(|word| path.starts_with(start) && line.contains(**word))
                {
                    errors.push(format!("{path}:{n}: `{word}` is named here, but {reason}"));
                }
            }
            for (word, instead, allowed) in BANNED {
                let allowed = allowed.iter().any(|place| path.starts_with(place));
                if line.contains(word) && !allowed {
                    errors.push(format!("{path}:{n}: `{word}` is banned, use {instead}"));
                }
            }
        }
    }
    if !tree["Cargo.toml"].contains("unsafe_code = \"forbid\"") {
        errors.push("Cargo.toml: `unsafe_code` is not forbidden".into());
    }
    if !tree["Cargo.toml"].contains("\nbench = false\n") {
        errors
            .push("Cargo.toml: the library's own harness refuses `cargo bench -- --memory`".into());
    }
    errors
}

/// How a file looks: its head, its lines, its functions, its unfinished ends.
fn looks(tree: &Tree) -> Vec<String> {
    let mut errors = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
        if !text.starts_with("//! ") {
            errors.push(format!("{path}:1: a file opens with `//!`: what it knows"));
        }
        let mut function = None;
        for (n, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line)) {
            if line.chars().count() > 100 && !line.contains("http") {
                errors.push(format!("{path}:{n}: longer than 100 columns"));
            }
            for word in ["TODO", "FIXME", "XXX", "#[ignore"] {
                if line.contains(word) && !path.ends_with("tidy.rs") {
                    errors.push(format!("{path}:{n}: `{word}`: finish it, or write an issue"));
                }
            }
            let indent = line.len() - line.trim_start().len();
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.contains(&"fn") && !line.trim_start().starts_with("//") && line.ends_with('{')
            {
                function = Some((n, indent));
            }
            if let Some((start, at)) = function
                && line.trim_end() == format!("{}}}", " ".repeat(at))
            {
                if n - start >= 70 {
                    errors.push(format!("{path}:{start}: a function of {} lines", n - start + 1));
                }
                function = None;
            }
        }
    }
    errors
}

/// Every module stands on the README's map, in order, and nothing else does.
fn map(tree: &Tree) -> Vec<String> {
    let mut errors = Vec::new();
    let readme = &tree["README.md"];
    let Some((_, rest)) = readme.split_once("```text house\n") else {
        return vec!["README.md: the map of the house (a block ```text house) is missing".into()];
    };
    let block = rest.split("```").next().unwrap_or("");
    let mut floor = String::new();
    let mut drawn: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        let name = line.split_whitespace().next().unwrap_or("");
        if let Some(folder) = name.strip_suffix('/') {
            floor = folder.to_string();
            drawn.entry("".into()).or_default().push(folder.to_string());
        } else if line.starts_with("  ") {
            let names = line.trim().split(" · ").map(|name| name.trim().to_string());
            drawn.entry(floor.clone()).or_default().extend(names);
        } else {
            drawn.entry("".into()).or_default().push(name.trim_end_matches(".rs").to_string());
        }
    }
    let mut built: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let own = |list: Vec<&str>| list.into_iter().map(String::from).collect::<Vec<_>>();
    let top = modules(&tree["src/lib.rs"]);
    for floor in &top {
        if let Some(text) = tree.get(&format!("src/{floor}/mod.rs")) {
            built.insert(floor.to_string(), own(modules(text)));
        }
    }
    built.insert("".into(), own(top));
    for floor in drawn.keys().chain(built.keys()) {
        let (drawn, built) = (drawn.get(floor), built.get(floor));
        if drawn != built {
            errors
                .push(format!("README.md: {floor}/ is drawn as {drawn:?} but built as {built:?}"));
        }
    }
    errors.dedup();
    errors
}

#[test]
fn the_house_is_tidy() {
    let tree = read_tree();
    assert!(tree.len() > 30, "the source is not where it was looked for");
    let errors: Vec<String> =
        [staircase(&tree), absences(&tree), looks(&tree), map(&tree)].concat();
    assert!(errors.is_empty(), "{} error(s):\n{}", errors.len(), errors.join("\n"));
}

// ---- each rule, broken ----

const GOOD: &[(&str, &str)] = &[
    ("Cargo.toml", "unsafe_code = \"forbid\"\nbench = false\n"),
    ("README.md", "```text house\nwait.rs   x\nsim/      x\n  time · task\nnet/\n  addr\n```\n"),
    ("src/lib.rs", "//! x\nmod wait;\npub mod sim;\npub mod net;\n"),
    ("src/wait.rs", "//! x\n"),
    ("src/sim/mod.rs", "//! x\nmod time;\nmod task;\npub use time::Instant;\n"),
    ("src/sim/time.rs", "//! x\nuse crate::wait::ask;\n"),
    ("src/sim/task.rs", "//! x\nuse super::time::Instant;\n"),
    ("src/net/mod.rs", "//! x\nmod addr;\n"),
    ("src/net/addr.rs", "//! x\n/// `crate::sim` in a comment is no matter.\nfn x() {}\n"),
];

/// All errors of the good house with one file changed.
fn errors_with(path: &str, text: &str) -> Vec<String> {
    let mut tree: Tree =
        GOOD.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    tree.insert(path.into(), text.into());
    [staircase(&tree), absences(&tree), looks(&tree), map(&tree)].concat()
}

#[test]
fn each_broken_rule_is_found() {
    assert_eq!(errors_with("src/wait.rs", "//! x\n"), Vec::<String>::new());
    let long = format!("//! x\n// {}\n", "x".repeat(100));
    let function = format!("//! x\nfn long() {{\n{}}}\n", "    x();\n".repeat(70));
    for (path, text, error) in [
        ("src/sim/time.rs", "//! x\nuse super::task::Task;\n", "src/sim/time.rs:2: `super::task`"),
        ("src/sim/task.rs", "//! x\nuse super::Instant;\n", "src/sim/task.rs:2: `super::Instant`"),
        ("src/sim/task.rs", "//! x\nuse super::*;\n", "src/sim/task.rs:2: `super::*` names"),
        ("src/sim/task.rs", "//! x\nuse crate::net::Addr;\n", "src/sim/task.rs:2: `crate::net`"),
        ("src/sim/task.rs", "//! x\nuse crate::{wait, net};\n", "src/sim/task.rs:2: `crate::net`"),
        ("src/sim/task.rs", "//! x\nuse crate::Sim;\n", "src/sim/task.rs:2: `crate::Sim`"),
        ("src/net/addr.rs", "//! x\nuse crate::sim::Sim;\n", "but the network knows no simulator"),
        ("src/sim/lost.rs", "//! x\n", "src/sim/lost.rs: no `mod lost;`"),
        ("src/sim/task.rs", "//! x\nlet x = Instant::now();\n", "`Instant::now` is banned"),
        ("src/wait.rs", "//! x\nuse std::collections::HashMap;\n", "use BTreeMap"),
        ("src/wait.rs", "//! x\nx.unwrap();\n", "`.unwrap()` is banned"),
        ("src/wait.rs", "fn x() {}\n", "src/wait.rs:1: a file opens with"),
        ("src/wait.rs", "//! x\n// TODO later\n", "src/wait.rs:2: `TODO`"),
        ("src/wait.rs", &long, "src/wait.rs:2: longer than 100"),
        ("src/wait.rs", &function, "src/wait.rs:2: a function of 72 lines"),
        ("Cargo.toml", "", "`unsafe_code` is not forbidden"),
        ("Cargo.toml", "", "harness refuses `cargo bench -- --memory`"),
        ("README.md", "no map", "the map of the house"),
        ("src/lib.rs", "//! x\nmod wait;\npub mod net;\npub mod sim;\n", "README.md: / is drawn"),
    ] {
        let errors = errors_with(path, text);
        assert!(errors.iter().any(|found| found.contains(error)), "{error}: {errors:?}");
    }
}

#[test]
fn tests_and_comments_are_not_code() {
    let text = "//! x\n// use crate::net::Addr;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
    assert_eq!(errors_with("src/sim/task.rs", text), Vec::<String>::new());
}
