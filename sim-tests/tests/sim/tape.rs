//! Tapes: text round-trips, every text is parsed or refused, and a tape replays its run.

use std::cell::RefCell;
use std::rc::Rc;

use virtnet::rand_core::Rng;
use virtnet::{Run, Schedule, Tape};

#[test]
fn tape_text_round_trips() {
    let tapes = [
        Tape::zero(),
        Tape::zero().with("choose main coin", 0, 1).with("delay main/a%20b timer", 12, 99_000),
        Tape::from_bytes(&[0, 255, 16]),
        Tape::from_bytes(&[]),
        Tape::zero().with("", 0, 0).with(" odd  subject ", 1, u64::MAX).with("#", 1, 1).with(
            "a = b",
            u64::MAX,
            2,
        ),
        Tape::zero().with("# not a comment", 3, 4).with("new\nline\r\u{85}", 5, 6),
        Tape::zero().with("seed", 1, 2).with("default zero", 1, 2),
        Run::new(500).schedule(Schedule::Pct { depth: 3 }).execute(async |_| ()).tape,
    ];
    for tape in tapes {
        let text = tape.to_string();
        assert_eq!(text.parse::<Tape>().as_ref(), Ok(&tape), "{text}");
        assert_eq!(text.parse::<Tape>().unwrap().to_string(), text);
    }
}

#[test]
fn tape_display_has_version_schedule_seed_and_overrides() {
    let outcome = Run::new(500).schedule(Schedule::Pct { depth: 3 }).execute(async |_| ());
    let tape = outcome.tape.with("choose main coin", 2, 1);
    let text = "virtnet tape 1\nschedule pct:3\nseed 0x1f4\nchoose main coin 2 = 1\n";
    assert_eq!(tape.to_string(), text);
    assert_eq!(tape.overrides(), 1);
}

#[test]
fn malformed_tape_is_an_error_with_line_and_reason() {
    let error = |text: &str| text.parse::<Tape>().unwrap_err().to_string();
    let tape = |line: &str| error(&format!("# a comment\n\nvirtnet tape 1\n{line}\n"));
    assert_eq!(
        error(""),
        "tape, line 1: expected `virtnet tape 1`, found no line that says anything"
    );
    assert_eq!(
        error("virtnet tape 2\n"),
        "tape, line 1: expected `virtnet tape 1`, found \"virtnet tape 2\""
    );
    for (line, reason) in [
        ("seed twelve", "\"twelve\" is no number from 0 to 2^64 - 1"),
        ("seed -1", "\"-1\" is no number from 0 to 2^64 - 1"),
        (
            "schedule pct:0",
            "`pct:0` is no schedule: expected `fifo`, `random` or `pct:N` with N from 1",
        ),
        ("default bytes 0", "`bytes` has an odd number of digits: 1"),
        ("default bytes 0g", "`bytes` may hold hexadecimal digits only: \"0g\""),
        ("default bytes +1", "`bytes` may hold hexadecimal digits only: \"+1\""),
        ("default bytesff", "expected `zero` or `bytes 00ff..`: \"bytesff\""),
        ("seed 0x+5", "\"0x+5\" is no number from 0 to 2^64 - 1"),
        (
            "schedule pct:+3",
            "`pct:+3` is no schedule: expected `fifo`, `random` or `pct:N` with N from 1",
        ),
        ("default ones", "expected `zero` or `bytes 00ff..`: \"ones\""),
        ("x 1 = 2\nx 1 = 3", "\"x 1\" is given twice"),
        ("seed 1\nseed 1", "`seed` is given twice"),
        ("lonely = 3", "\"lonely\" lacks an ordinal before ` = `"),
        ("x 1 = ", "\"\" is no number from 0 to 2^64 - 1"),
        ("x y = 1", "\"y\" is no number from 0 to 2^64 - 1"),
        (
            "what is",
            "expected `schedule`, `seed`, `default` or `subject ordinal = value`, \
             found \"what is\"",
        ),
    ] {
        let at = 3 + line.lines().count();
        assert_eq!(tape(line), format!("tape, line {at}: {reason}"), "{line}");
    }
}

#[test]
fn tape_with_irregular_whitespace_is_parsed() {
    let tape = "virtnet tape 1\n\tdefault   zero\n  choose  main\tcoin  0  =  1 \n";
    let tape: Tape = tape.parse().unwrap();
    assert_eq!(tape, Tape::zero().with("choose main coin", 0, 1));
    let coin = Run::new(0).tape(tape).execute(async |sim| sim.choose("coin", 2));
    assert_eq!(coin.unwrap(), 1);
}

#[test]
fn tape_with_tabs_is_parsed_like_one_with_spaces() {
    let tabs = "virtnet tape 1\nseed\t0x5\ndefault\tzero\nchoose\tmain coin\t0 =\t1\n";
    let blanks = "virtnet tape 1\nseed 0x5\ndefault zero\nchoose main coin 0 = 1\n";
    assert_eq!(tabs.parse::<Tape>().unwrap().to_string(), blanks);
}

#[test]
fn tape_overrides_choices_under_fifo() {
    let fifo = Run::new(0).schedule(Schedule::Fifo).execute(async |_| ()).tape;
    let tape = fifo.with("select main select", 0, 1).with("delay main timer", 0, 500);
    let outcome = Run::new(0).tape(tape).execute(async |sim| {
        let picked = virtnet::select! { n = async { 0 } => n, n = async { 1 } => n };
        sim.sleep(std::time::Duration::from_nanos(100)).await;
        (picked, sim.now().as_nanos())
    });
    assert_eq!(outcome.unwrap(), (1, 600));
}

#[test]
fn random_text_crashes_neither_the_tape_parser_nor_a_run() {
    let tapes = Rc::new(RefCell::new(Vec::new()));
    let parsed_tapes = tapes.clone();
    let seed_text = Tape::zero()
        .with("choose main coin", 0, 1)
        .with("priority main/w spawn", 1, 77)
        .to_string();
    Run::new(1)
        .time_limit(std::time::Duration::MAX)
        .execute(async move |sim| {
            let mut rng = sim.rng();
            for _ in 0..3_000 {
                let mut bytes = seed_text.clone().into_bytes();
                for _ in 0..rng.next_u32() % 6 {
                    let at = rng.next_u32() as usize % bytes.len();
                    match rng.next_u32() % 4 {
                        0 => bytes.truncate(at.max(1)),
                        1 => bytes[at] = rng.next_u32() as u8,
                        2 => bytes.insert(at, b'\n'),
                        _ => bytes.reverse(),
                    }
                }
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Ok(tape) = text.parse::<Tape>() {
                    assert_eq!(tape.to_string().parse::<Tape>().as_ref(), Ok(&tape));
                    parsed_tapes.borrow_mut().push(tape);
                }
            }
        })
        .unwrap();
    let tapes = tapes.take();
    assert!(tapes.len() > 100);
    for tape in tapes {
        let outcome = Run::new(0).tape(tape).execute(program);
        assert!(outcome.is_done(), "{}", outcome.ending);
    }
}

/// A small program with every kind of choice in it.
async fn program(sim: virtnet::Sim) -> Vec<(usize, u64)> {
    let workers: Vec<_> = (0..5)
        .map(|_| {
            sim.task("worker").spawn(async move {
                sim.sleep(std::time::Duration::from_millis(1)).await;
                let picked = virtnet::select! {
                    () = sim.sleep(std::time::Duration::from_millis(2)) => 100,
                    () = sim.sleep(std::time::Duration::from_millis(2)) => 200,
                };
                (picked + sim.choose("side", 7), sim.now().as_nanos())
            })
        })
        .collect();
    let mut results = Vec::new();
    for worker in workers {
        results.push(worker.await.unwrap());
    }
    results
}

#[test]
fn tape_of_an_outcome_replays_its_run() {
    for schedule in [Schedule::Fifo, Schedule::Random, Schedule::Pct { depth: 2 }] {
        let first = Run::new(77).schedule(schedule).execute(program);
        let replayed = Run::new(1).tape(first.tape.clone()).execute(program);
        assert_eq!(first.fingerprint, replayed.fingerprint, "{schedule}");
        assert_eq!(first.unwrap(), replayed.unwrap());
    }
}

#[test]
fn run_on_a_byte_tape_leaves_a_keyed_tape_that_replays_it() {
    for n in 0..200u64 {
        let bytes: Vec<u8> = (0..n).map(|i| ((i * n * 37) >> 2) as u8).collect();
        for schedule in [Schedule::Random, Schedule::Pct { depth: 3 }] {
            let first =
                Run::new(5).schedule(schedule).tape(Tape::from_bytes(&bytes)).execute(program);
            let text = first.tape.to_string();
            assert!(!text.contains("bytes"), "{text}");
            let keyed: Tape = text.parse().unwrap();
            let replayed = Run::new(6).tape(keyed).execute(program);
            assert_eq!(first.fingerprint, replayed.fingerprint, "{text}");
        }
    }
}

#[test]
fn zero_tape_gives_one_run_for_all_seeds_except_random_words() {
    let zero = |seed| Run::new(seed).tape(Tape::zero()).execute(program).fingerprint;
    assert_eq!(zero(1), zero(2));
    let words = |seed| Run::new(seed).tape(Tape::zero()).execute(async |sim| sim.rng().next_u64());
    assert_ne!(words(1).unwrap(), words(2).unwrap());
}

#[test]
fn tape_with_unknown_keys_and_large_values_is_legal() {
    let tape = Tape::zero()
        .with("choose main/worker side", 0, 7 * 1_000 + 3)
        .with("choose main/worker side", 99, 1)
        .with("delay nobody timer", 0, 1)
        .with("no such family", 0, u64::MAX)
        .with("delay main/worker#1 timer", 0, u64::MAX);
    let results = Run::new(0).tape(tape).execute(program).unwrap();
    assert_eq!(results[0].0, 103);
    assert!(results[2..].iter().all(|result| *result == (100, 3_000_000)), "{results:?}");
    assert!(results[1].1 > 3_000_000, "{results:?}");
}
