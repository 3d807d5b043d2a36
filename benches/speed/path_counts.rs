//! Functions and files of the library that run for one byte, one choice, one fault, one wake-up.
//!
//! A debug build has no inlining, so that callgrind sees each call. A function belongs to an
//! operation if it is called once more for each operation more: the calls of `2n` operations are
//! compared with those of `n`. Closures count as the function in which they stand. Every accessor
//! counts, and so does the step of the run loop that a byte or a wake-up needs.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use futures::channel::mpsc;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use virtnet::simnet::Network;
use virtnet::{Conn, Run, Schedule, Sim};

/// An operation that is repeated.
struct Path {
    name: &'static str,
    run: fn(u64),
    /// The files and functions that were counted when last looked at: more is a regression.
    previous: (usize, usize),
    /// The files that it is to need at most.
    goal: usize,
}

const PATHS: [Path; 4] = [
    Path { name: "byte", run: bytes, previous: (45, 152), goal: 16 },
    Path { name: "choice", run: choices, previous: (12, 26), goal: 10 },
    Path { name: "fault", run: faults, previous: (31, 86), goal: 10 },
    Path { name: "wake-up", run: wakeups, previous: (22, 60), goal: 8 },
];

const N: u64 = 50;

fn run<F: AsyncFnOnce(Sim) + 'static>(program: F) {
    let run = Run::new(1).schedule(Schedule::Random);
    run.execute(|sim| async move { program(sim).await }).unwrap();
}

/// Two connected hosts.
async fn connected_pair(net: &Network) -> [Conn; 2] {
    let listener = net.new_host("b").await.unwrap().listen(":1").await.unwrap();
    let client = net.new_host("a").await.unwrap();
    let (dialed, accepted) = futures::join!(client.dial("b:1"), listener.accept());
    [dialed.unwrap(), accepted.unwrap()]
}

/// A byte is written, delivered, and read by a task that waits for it, which sends it back.
fn bytes(n: u64) {
    run(async move |sim| {
        let net = Network::new("t");
        let [mut a, mut b] = connected_pair(&net).await;
        sim.spawn(async move {
            for _ in 0..n {
                b.read_exact(&mut [0]).await.unwrap();
                b.write_all(&[7]).await.unwrap();
            }
        });
        for _ in 0..n {
            a.write_all(&[7]).await.unwrap();
            a.read_exact(&mut [0]).await.unwrap();
        }
    });
}

fn choices(n: u64) {
    run(async move |sim| {
        for _ in 0..n {
            sim.choose("way", 3);
        }
    });
}

/// A hold begins and ends while a connection is open.
fn faults(n: u64) {
    run(async move |_| {
        let net = Network::new("t");
        let _conns = connected_pair(&net).await;
        for _ in 0..n {
            net.hold("a", "b");
            net.release("a", "b");
        }
    });
}

/// A task wakes another through the waker of a channel.
fn wakeups(n: u64) {
    run(async move |sim| {
        let (mut sender, mut receiver) = mpsc::channel(0);
        sim.spawn(async move {
            for _ in 0..n {
                futures::SinkExt::send(&mut sender, ()).await.unwrap();
            }
        });
        while receiver.next().await.is_some() {}
    });
}

/// Runs `n` operations, for callgrind.
pub(crate) fn run_once(name: &str, n: u64) {
    let path = PATHS.iter().find(|path| path.name == name).expect("the name of a path");
    (path.run)(n);
}

/// Prints the files and functions of each operation. Returns whether none has more than before.
pub(crate) fn report() -> bool {
    if !cfg!(debug_assertions) {
        eprintln!("functions are counted in a debug build: leave out `--release`");
        return false;
    }
    let mut passed = true;
    for path in &PATHS {
        let Some((twice, once)) = count_calls(path.name, 2 * N).zip(count_calls(path.name, N))
        else {
            eprintln!("valgrind could not be run: install it to count calls");
            return false;
        };
        let is_per_operation =
            |(key, calls): &(&Function, &u64)| **calls >= once.get(*key).copied().unwrap_or(0) + N;
        let functions: BTreeSet<&Function> =
            twice.iter().filter(is_per_operation).map(|(key, _)| key).collect();
        let files: BTreeSet<&str> = functions.iter().map(|function| &*function.file).collect();
        let (max_files, max_functions) = path.previous;
        let is_more = files.len() > max_files || functions.len() > max_functions;
        passed &= !is_more;
        let remark = if is_more { "  REGRESSION" } else { "" };
        println!(
            "one {}: {} files (before {max_files}, goal {}), {} functions (before \
             {max_functions}){remark}",
            path.name,
            files.len(),
            path.goal,
            functions.len(),
        );
        for file in files {
            let names = functions.iter().filter(|function| function.file == file);
            let names: Vec<&str> = names.map(|function| &*function.name).collect();
            println!("  {file}: {}", names.join(", "));
        }
    }
    passed
}

/// A function of the library.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Function {
    file: String,
    name: String,
}

/// Counts the calls of each function of the library in `n` operations.
fn count_calls(name: &str, n: u64) -> Option<BTreeMap<Function, u64>> {
    let program = std::env::current_exe().ok()?;
    let out_file = std::env::temp_dir().join(format!("virtnet-paths-{}", std::process::id()));
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", out_file.display()))
        .arg(&program)
        .args(["--path-once", name, &n.to_string()])
        .output();
    let text = std::fs::read_to_string(&out_file);
    let _ = std::fs::remove_file(&out_file);
    ran.ok().filter(|output| output.status.success())?;
    Some(parse_calls(&text.ok()?))
}

/// Reads callgrind's format: `fl=` and `fn=` begin a function; `cfi=` or `cfl=`, `cfn=` and
/// `calls=` are a call in it.
fn parse_calls(text: &str) -> BTreeMap<Function, u64> {
    let mut calls = BTreeMap::new();
    let (mut file, mut called_file, mut called) = ("", "", "");
    for line in text.lines() {
        match line.split_once('=') {
            Some(("fl" | "fi" | "fe", value)) => (file, called_file) = (value, value),
            Some(("fn", _)) => called_file = file,
            Some(("cfi" | "cfl", value)) => called_file = value,
            Some(("cfn", value)) => called = value,
            Some(("calls", value)) => {
                let count = value.split_whitespace().next().and_then(|count| count.parse().ok());
                if let Some(function) = library_function(called_file, called) {
                    *calls.entry(function).or_default() += count.unwrap_or(0);
                }
                called_file = file;
            }
            _ => {}
        }
    }
    calls
}

/// The function of the library with this name, if it is one.
fn library_function(file: &str, name: &str) -> Option<Function> {
    let (_, file) = file.rsplit_once("/src/").filter(|_| name.contains("virtnet::"))?;
    let is_ours = ["util/", "sim/", "net/", "simnet/"].iter().any(|it| file.starts_with(it));
    let name = name.split("::{{closure}}").next()?.split("'2").next()?;
    is_ours.then(|| Function { file: file.into(), name: short_name(name) })
}

/// The last two parts of a path, without types in angle brackets.
fn short_name(name: &str) -> String {
    let mut depth = 0;
    let is_outside = |c: &char| {
        depth += i32::from(*c == '<') - i32::from(*c == '>');
        depth == 0 && *c != '>'
    };
    let plain: String = name.chars().filter(is_outside).collect();
    let parts: Vec<&str> = plain.split("::").filter(|part| !part.is_empty()).collect();
    parts[parts.len().saturating_sub(2)..].join("::")
}
