//! Rules for the source tree: no import cycles, forbidden dependencies and words, style, and the
//! map of ARCHITECTURE.md.
//!
//! Each rule is also tested on a small tree that breaks it.

use std::collections::{BTreeMap, BTreeSet};
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
    tree.insert(
        "ARCHITECTURE.md".into(),
        std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap(),
    );
    tree.insert("Cargo.toml".into(), std::fs::read_to_string(root.join("Cargo.toml")).unwrap());
    tree
}

/// The lines of a file that are code, numbered from 1: no comments, no tests.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line));
    lines
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The modules that a file declares.
fn declared_modules(text: &str) -> Vec<&str> {
    let declared = |line| {
        let rest: &str = ["pub(crate) mod ", "pub mod ", "mod "]
            .iter()
            .find_map(|start| str::strip_prefix(line, start))?;
        rest.strip_suffix(';')
    };
    code_lines(text).filter_map(|(_, line)| declared(line)).collect()
}

/// A path of names from the root of the crate, such as `["sim", "Instant"]`.
type ItemPath = Vec<String>;

/// The module that a file is: `src/sim/mod.rs` is `["sim"]`.
fn module_of(path: &str) -> ItemPath {
    let steps = path["src/".len()..].trim_end_matches(".rs").split('/');
    steps.filter(|step| !matches!(*step, "mod" | "lib")).map(String::from).collect()
}

/// A `use` of a file: whether it is a re-export, and each path that it names, as it is written.
struct Use {
    is_public: bool,
    line: usize,
    paths: Vec<ItemPath>,
}

/// Splits a list of use trees at the commas that stand outside of braces.
fn split_trees(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut trees) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                trees.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    trees.push(&list[start..]);
    trees.into_iter().map(str::trim).filter(|tree| !tree.is_empty()).collect()
}

/// The paths of a use tree such as `crate::{net::Addr, sim::{self, Run as R}}`.
fn tree_paths(prefix: &[String], tree: &str) -> Vec<ItemPath> {
    let (head, list) = match tree.split_once('{') {
        Some((head, rest)) => (head, rest.rsplit_once('}').map(|(list, _)| list)),
        None => (tree, None),
    };
    let head = head.split(" as ").next().unwrap_or(head);
    let names = head.split("::").map(str::trim).filter(|name| !matches!(*name, "" | "self"));
    let path: ItemPath = prefix.iter().cloned().chain(names.map(String::from)).collect();
    match list {
        Some(list) => {
            split_trees(list).into_iter().flat_map(|tree| tree_paths(&path, tree)).collect()
        }
        None => vec![path],
    }
}

/// The `use` statements of a file, and each path in its code that begins with `crate::` or
/// `super::`, as the use of one.
fn uses(text: &str) -> Vec<Use> {
    let mut uses = Vec::new();
    let mut lines = code_lines(text);
    while let Some((line, first)) = lines.next() {
        let start = ["use ", "pub use ", "pub(crate) use "]
            .iter()
            .find_map(|start| first.trim_start().strip_prefix(start).map(|rest| (*start, rest)));
        let Some((start, rest)) = start else {
            for root in ["crate::", "super::"] {
                for (at, _) in first.match_indices(root) {
                    let is_whole = !first[..at]
                        .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '$' | ':' | '_'));
                    let path =
                        first[at..].split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
                    let paths = path.take(1).map(|path| tree_paths(&[], path)).next();
                    let paths = paths.filter(|_| is_whole).unwrap_or_default();
                    uses.push(Use { is_public: false, line, paths });
                }
            }
            continue;
        };
        let mut tree = rest.to_string();
        while !tree.contains(';')
            && let Some((_, more)) = lines.next()
        {
            tree.push_str(more.trim());
        }
        let tree = tree.split(';').next().unwrap_or_default();
        uses.push(Use { is_public: start != "use ", line, paths: tree_paths(&[], tree) });
    }
    uses
}

/// The modules of a tree, and which names each of them re-exports from elsewhere.
struct Modules {
    files: BTreeMap<ItemPath, String>,
    exports: BTreeMap<(ItemPath, String), ItemPath>,
}

impl Modules {
    fn new(tree: &Tree) -> Self {
        let sources = tree.keys().filter(|path| path.starts_with("src/"));
        let files = sources.map(|path| (module_of(path), path.clone())).collect();
        let mut modules = Self { files, exports: BTreeMap::new() };
        for (module, path) in modules.files.clone() {
            let exported = uses(&tree[&path]).into_iter().filter(|used| used.is_public);
            let paths = exported.flat_map(|used| used.paths);
            let paths: Vec<ItemPath> =
                paths.filter_map(|path| modules.absolute(&module, path)).collect();
            for path in paths {
                let name = path.last().cloned().unwrap_or_default();
                modules.exports.insert((module.clone(), name), path);
            }
        }
        modules
    }

    /// The path from the root, if it is one of this crate.
    fn absolute(&self, module: &[String], path: ItemPath) -> Option<ItemPath> {
        let mut base = module.to_vec();
        let mut names = path.into_iter().peekable();
        match names.peek()?.as_str() {
            "crate" => {
                names.next();
                base.clear();
            }
            "super" => {
                while names.peek().is_some_and(|name| name == "super") {
                    names.next();
                    base.pop();
                }
            }
            child => {
                let child = base.iter().cloned().chain([child.to_string()]).collect::<ItemPath>();
                self.files.get(&child)?;
            }
        }
        Some(base.into_iter().chain(names).collect())
    }

    /// The file that defines what a path names, through re-exports.
    fn file_of(&self, path: &[String]) -> Option<&str> {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let known = |len: &usize| self.files.contains_key(&path[..*len]);
            let len = (0..=path.len()).rev().find(known)?;
            let next = path.get(len).cloned();
            let export = next.and_then(|name| self.exports.get(&(path[..len].to_vec(), name)));
            match export {
                Some(target) => {
                    path = target.iter().cloned().chain(path[len + 1..].iter().cloned()).collect();
                }
                None => return self.files.get(&path[..len]).map(|file| &**file),
            }
        }
        None
    }
}

/// Every file is declared as a module, and no files use each other in a circle.
///
/// What a `mod.rs` re-exports does not count as used by it: whoever names it uses the file behind.
fn check_cycles(tree: &Tree) -> Vec<String> {
    let mut errors = Vec::new();
    let modules = Modules::new(tree);
    let mut edges: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (module, path) in &modules.files {
        if let Some((name, parent)) = module.split_last() {
            let parent = modules.files.get(parent).map(|file| &tree[file]);
            let is_declared =
                parent.is_some_and(|text| crate::tidy::declared_modules(text).contains(&&**name));
            if !is_declared {
                errors.push(format!("{path}: no `mod {name};` declares it"));
            }
        }
        for used in uses(&tree[path]).into_iter().filter(|used| !used.is_public) {
            for name in used.paths {
                if name.last().is_some_and(|name| name == "*") {
                    errors.push(format!("{path}:{}: `*` hides what is used", used.line));
                }
                let target = modules.absolute(module, name);
                let target = target.and_then(|target| modules.file_of(&target));
                if let Some(target) = target.filter(|target| *target != path) {
                    edges.entry(path).or_default().entry(target).or_insert(used.line);
                }
            }
        }
    }
    // Whatever is used by no file that is left, or uses none that is left, is in no circle.
    loop {
        let before = edges.len();
        let names: BTreeSet<&str> = edges.keys().copied().collect();
        for targets in edges.values_mut() {
            targets.retain(|target, _| names.contains(target));
        }
        edges.retain(|_, targets| !targets.is_empty());
        if edges.len() == before {
            break;
        }
    }
    for (path, targets) in edges {
        for (target, line) in targets {
            errors.push(format!("{path}:{line}: is in a circle with {target}"));
        }
    }
    errors
}

/// Dependencies that must not exist: the start of a path, words that its code must not have, why.
const FORBIDDEN_DEPENDENCIES: &[(&str, &[&str], &str)] = &[
    ("src/util/", &["crate::sim", "crate::net", "crate::simnet"], "util has no policy"),
    ("src/sim/", &["crate::net", "crate::pipenet", "simnet"], "sim knows no network"),
    ("src/net/", &["crate::sim", "crate::pipenet"], "net knows no simulator"),
    ("src/pipenet/", &["crate::sim"], "pipenet knows no simulator"),
    ("src/simnet/", &["crate::pipenet"], "networks do not know each other"),
    ("src/os/", &["crate::simnet", "crate::pipenet"], "networks do not know each other"),
    ("src/lonet/", &["crate::simnet", "crate::pipenet"], "networks do not know each other"),
    ("src/simnet/tcp/stream_buffer.rs", &["World", "Wakers"], "a buffer knows no time"),
    ("src/sim/task/executor.rs", &["sim::instant", "sim::queue"], "the executor knows no time"),
    ("src/sim/queue/", &["sim::task"], "the queue knows no tasks"),
];

/// Words that no code may have, what to use instead, and the files and folders that may have them.
const FORBIDDEN_WORDS: &[(&str, &str, &[&str])] = &[
    (
        "Instant::now",
        "virtual time",
        &[
            "src/sim/std_instant.rs",
            "src/os/run.rs",
            "src/check/",
            "src/lonet/",
            "src/util/stall_probe.rs",
        ],
    ),
    ("SystemTime::now", "virtual time", &["src/check/settings.rs", "src/lonet/network_dir.rs"]),
    ("thread::spawn", "tasks", &["src/check/exec/subprocess.rs"]),
    ("HashMap", "BTreeMap, whose order is fixed", &[]),
    ("HashSet", "BTreeSet, whose order is fixed", &[]),
    ("RandomState", "sim/choice", &["src/os/run.rs"]),
    ("seed_from_u64", "sim/choice", &["src/sim/choice/"]),
    ("std::env", "arguments; only check/ reads it", &["src/check/", "src/lonet/mod.rs"]),
    ("unsafe", "safe Rust", &[]),
    ("println!", "the trace; a library does not print", &["src/check/report/text.rs"]),
    ("dbg!", "the trace", &[]),
    ("todo!", "an issue", &[]),
    ("unimplemented!", "an issue", &[]),
    (".unwrap()", "an error, or `unreachable!` with the reason", &[]),
];

fn check_forbidden_words(tree: &Tree) -> Vec<String> {
    let mut errors = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.starts_with("src/")) {
        for (n, line) in code_lines(text) {
            for (start, words, reason) in FORBIDDEN_DEPENDENCIES {
                for word in
                    words.iter().filter(|word| path.starts_with(start) && line.contains(**word))
                {
                    errors.push(format!("{path}:{n}: `{word}` is named here, but {reason}"));
                }
            }
            for (word, instead, allowed) in FORBIDDEN_WORDS {
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

/// Words that no name in the source may have: metaphors and pronouns that once stood for a term of
/// the field.
const RETIRED: &[&str] = &[
    "adopt", "aside", "asked", "bear", "bell", "bells", "blame", "born", "bury", "census", "chaos",
    "crowd", "door", "doors", "doom", "ear", "enroll", "errand", "fabric", "feel", "felt",
    "foresee", "foreseen", "glance", "guest", "guests", "habit", "hall", "hear", "heard", "keeper",
    "knock", "knocks", "ledger", "lone", "machine", "machines", "mend", "met", "misled", "nobody",
    "nudge", "odd", "passage", "patience", "plainly", "played", "pressing", "pulse", "relax",
    "rung", "seat", "seldom", "somebody", "spun", "stir", "strike", "strikes", "swept", "tap",
    "told", "unedit", "veil", "welcome", "who", "whose", "witness", "worry",
];

/// The words of a name: `TaskId`, `task_id` and `TASK_ID` are "task" and "id".
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        was_lower = c.is_lowercase() || c.is_ascii_digit();
        if c != '_' {
            words.last_mut().unwrap().extend(c.to_lowercase());
        }
    }
    words
}

/// No name has a retired word; what stands in a string or behind `//` is no name.
fn check_retired_words(tree: &Tree) -> Vec<String> {
    let mut errors = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.starts_with("src/")) {
        for (n, line) in code_lines(text) {
            let line = line.split(" // ").next().unwrap_or_default().replace("\\\"", "");
            // Every second part is within quotation marks. A string of several lines is one of
            // prose: its lines have no names that end in `_` or `::`.
            let is_prose = line.trim_end().ends_with('\\') || line.matches('"').count() % 2 == 1;
            for part in line.split('"').step_by(2).filter(|_| !is_prose) {
                let names = part.split(|c: char| !c.is_alphanumeric() && c != '_');
                for name in names.filter(|name| !name.is_empty()) {
                    for word in words(name).iter().filter(|word| RETIRED.contains(&&***word)) {
                        errors.push(format!("{path}:{n}: `{name}`: `{word}` is retired"));
                    }
                }
            }
        }
    }
    errors
}

/// Words that no comment of the source may have: pronouns for things, and metaphors.
const RETIRED_IN_PROSE: &[&str] = &[
    "alarm",
    "alarms",
    "anybody",
    "everybody",
    "fabric",
    "knock",
    "knocks",
    "nobody",
    "shelf",
    "shelves",
    "somebody",
    "strikes",
    "struck",
    "whoever",
    "whom",
];

/// Words with which no comment may begin: a sentence starts with the thing that it is about.
const RETIRED_BEGINNINGS: &[&str] = &["How", "That", "Those", "What", "Where", "Who"];

/// The text of a line that is a comment.
fn comment_text(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    Some(text.strip_prefix(['/', '!']).unwrap_or(text).trim())
}

/// Comments have no retired word, and no paragraph of them begins with one.
fn check_prose(tree: &Tree) -> Vec<String> {
    let mut errors = Vec::new();
    let is_source = |path: &str| path.starts_with("src/") || path.starts_with("macros/");
    for (path, text) in tree.iter().filter(|(path, _)| is_source(path)) {
        let mut is_start = true;
        for (n, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line)) {
            let Some(comment) = comment_text(line) else {
                is_start = true;
                continue;
            };
            let mut words = comment.split(|c: char| !c.is_alphanumeric());
            if let Some(word) = words.clone().find(|word| RETIRED_IN_PROSE.contains(word)) {
                errors.push(format!("{path}:{n}: `{word}` is retired in comments"));
            }
            let first = words.next().unwrap_or_default();
            if is_start && RETIRED_BEGINNINGS.contains(&first) {
                errors.push(format!("{path}:{n}: a comment that begins with `{first}`"));
            }
            is_start = comment.is_empty();
        }
    }
    errors
}

/// How a file looks: its head, its lines, its functions, its unfinished ends.
fn check_style(tree: &Tree) -> Vec<String> {
    let mut errors = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".rs")) {
        if !text.starts_with("//! ") {
            errors.push(format!("{path}:1: a file opens with `//!`: what it has"));
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

/// The map of ARCHITECTURE.md has every folder of the source, and nothing else.
fn check_map(tree: &Tree) -> Vec<String> {
    let Some((_, rest)) = tree["ARCHITECTURE.md"].split_once("```text map\n") else {
        return vec![
            "ARCHITECTURE.md: the map of the source (a block ```text map) is missing".into(),
        ];
    };
    let lines = rest.lines().take_while(|line| !line.starts_with("```"));
    let drawn: BTreeSet<String> = lines
        .filter_map(|line| line.split_whitespace().next()?.strip_suffix('/'))
        .map(String::from)
        .collect();
    let sources = tree.keys().filter_map(|path| path.strip_prefix("src/"));
    let folders: BTreeSet<String> =
        sources.filter_map(|path| Some(path.rsplit_once('/')?.0.to_string())).collect();
    let missing = folders.difference(&drawn).map(|folder| {
        format!("ARCHITECTURE.md: the map lacks `{folder}/`, which is in the source")
    });
    let extra = drawn.difference(&folders).map(|folder| {
        format!("ARCHITECTURE.md: the map has `{folder}/`, which is not in the source")
    });
    missing.chain(extra).collect()
}

/// What breaks any of the rules.
fn all_errors(tree: &Tree) -> Vec<String> {
    let rules = [
        check_cycles,
        check_forbidden_words,
        check_retired_words,
        check_prose,
        check_style,
        check_map,
    ];
    rules.iter().flat_map(|rule| rule(tree)).collect()
}

#[test]
fn source_tree_satisfies_all_rules() {
    let tree = read_tree();
    assert!(tree.len() > 30, "the source is not where it was looked for");
    let errors = all_errors(&tree);
    assert!(errors.is_empty(), "{} error(s):\n{}", errors.len(), errors.join("\n"));
}

// ---- each rule, broken ----

const VALID_TREE: &[(&str, &str)] = &[
    ("Cargo.toml", "unsafe_code = \"forbid\"\nbench = false\n"),
    ("ARCHITECTURE.md", "```text map\nsim/      x\nsim/task/  y\nnet/  z\n```\n"),
    ("src/lib.rs", "//! x\nmod wait;\npub mod sim;\npub mod net;\npub use sim::Instant;\n"),
    ("src/wait.rs", "//! x\n"),
    ("src/sim/mod.rs", "//! x\nmod time;\nmod task;\npub use time::Instant;\n"),
    ("src/sim/time.rs", "//! x\nuse crate::wait::ask;\n"),
    ("src/sim/task/mod.rs", "//! x\npub(crate) mod table;\npub(crate) use table::Table;\n"),
    ("src/sim/task/table.rs", "//! x\nuse crate::{wait, sim::Instant};\n"),
    ("src/net/mod.rs", "//! x\nmod addr;\n"),
    ("src/net/addr.rs", "//! x\n/// `crate::sim` in a comment is no matter.\nfn x() {}\n"),
];

/// All errors of the valid tree with one file changed.
fn errors_with(path: &str, text: &str) -> Vec<String> {
    let mut tree: Tree =
        VALID_TREE.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    tree.insert(path.into(), text.into());
    all_errors(&tree)
}

#[test]
fn broken_rules_are_each_reported() {
    assert_eq!(errors_with("src/wait.rs", "//! x\n"), Vec::<String>::new());
    let long = format!("//! x\n// {}\n", "x".repeat(100));
    let function = format!("//! x\nfn long() {{\n{}}}\n", "    x();\n".repeat(70));
    for (path, text, error) in [
        // A circle by a path, by a re-export, by the crate's root, in the code of a function.
        (
            "src/sim/time.rs",
            "//! x\nuse crate::sim::task::table;\n",
            "sim/time.rs:2: is in a circle",
        ),
        (
            "src/sim/time.rs",
            "//! x\nuse crate::sim::task::{Table};\n",
            "with src/sim/task/table.rs",
        ),
        ("src/sim/time.rs", "//! x\nuse super::task::Table as T;\n", "with src/sim/task/table.rs"),
        ("src/wait.rs", "//! x\nuse crate::{\n    Instant,\n};\n", "src/wait.rs:2: is in a circle"),
        ("src/wait.rs", "//! x\nfn x() { crate::sim::time::y(); }\n", "with src/sim/time.rs"),
        ("src/sim/time.rs", "//! x\nuse crate::sim::task::*;\n", "src/sim/time.rs:2: `*` hides"),
        ("src/sim/time.rs", "//! x\nuse crate::net::Addr;\n", "but sim knows no network"),
        ("src/net/addr.rs", "//! x\nuse crate::sim::Sim;\n", "but net knows no simulator"),
        ("src/sim/lost.rs", "//! x\n", "src/sim/lost.rs: no `mod lost;`"),
        ("src/sim/time.rs", "//! x\nlet x = Instant::now();\n", "`Instant::now` is banned"),
        ("src/wait.rs", "//! x\nuse std::collections::HashMap;\n", "use BTreeMap"),
        ("src/wait.rs", "//! x\nx.unwrap();\n", "`.unwrap()` is banned"),
        ("src/wait.rs", "//! x\nstruct OpenDoor;\n", "`OpenDoor`: `door` is retired"),
        ("src/wait.rs", "//! x\nfn x() { y(\"door\", is_odd) }\n", "`is_odd`: `odd` is retired"),
        ("src/wait.rs", "//! x\n\n/// It tells nobody.\n", "`nobody` is retired in comments"),
        ("src/wait.rs", "//! x\n    // Is on the\n    // shelf.\n", "src/wait.rs:3: `shelf`"),
        ("src/wait.rs", "//! x\n\n/// What it is.\n", "a comment that begins with `What`"),
        ("src/wait.rs", "//! x\n/// A.\n///\n/// Those.\n", "src/wait.rs:4: a comment that begins"),
        ("src/wait.rs", "fn x() {}\n", "src/wait.rs:1: a file opens with"),
        ("src/wait.rs", "//! x\n// TODO later\n", "src/wait.rs:2: `TODO`"),
        ("src/wait.rs", &long, "src/wait.rs:2: longer than 100"),
        ("src/wait.rs", &function, "src/wait.rs:2: a function of 72 lines"),
        ("Cargo.toml", "", "`unsafe_code` is not forbidden"),
        ("Cargo.toml", "", "harness refuses `cargo bench -- --memory`"),
        ("ARCHITECTURE.md", "no map", "the map of the source"),
        ("ARCHITECTURE.md", "```text map\nsim/ x\nsim/task/ x\n```\n", "the map lacks `net/`"),
        ("src/os/mod.rs", "//! x\n", "the map lacks `os/`"),
        (
            "ARCHITECTURE.md",
            "```text map\nsim/ x\nsim/task/ x\nnet/ x\nos/ x\n```\n",
            "the map has `os/`",
        ),
    ] {
        let errors = errors_with(path, text);
        assert!(errors.iter().any(|found| found.contains(error)), "{error}: {errors:?}");
    }
}

#[test]
fn rules_ignore_tests_and_comments() {
    let text = "//! x\n// use crate::net::Addr;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
    assert_eq!(errors_with("src/sim/time.rs", text), Vec::<String>::new());
}
