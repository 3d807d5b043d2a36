//! A failing run is written as a tape and replayed from its text; a tape is also written by hand.
//!
//! ```sh
//! cargo run --example replay_tape
//! ```

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use virtnet::{Run, Sim, Tape};

/// A writer sets a value after 10 ms. The bug: the reader assumes that 11 ms are enough.
async fn race(sim: Sim) -> u32 {
    let value = Rc::new(Cell::new(0));
    let written = value.clone();
    sim.task("writer").spawn(async move {
        sim.sleep(Duration::from_millis(10)).await;
        written.set(1);
    });
    sim.sleep(Duration::from_millis(11)).await;
    value.get()
}

fn main() {
    // On the zero tape every choice is 0: no wake-up is late, and the race is won.
    assert_eq!(Run::new(0).tape(Tape::zero()).execute(race).unwrap(), 1);

    // Each seed draws its own delays, and some seed loses the race.
    let is_lost = |seed: &u64| Run::new(*seed).execute(race).unwrap() == 0;
    let seed = (0..10_000).find(is_lost).expect("a seed that loses the race");

    // With `record_choices` the tape of the outcome has each choice that is not 0.
    let outcome = Run::new(seed).record_choices().execute(race);
    let text = outcome.tape.to_string();
    println!("seed {seed} loses the race; its tape is\n\n{text}");
    assert_eq!(Run::new(0).tape(text.parse().unwrap()).execute(race).unwrap(), 0);

    // In this run the writer starts late. On a tape written by hand, its timer is 2 ms late.
    let late = &outcome.choices[0];
    println!("{}: {}", late.at, late.describe());
    let tape = Tape::zero().with("delay main/writer timer", 0, 2_000_000);
    assert_eq!(Run::new(0).tape(tape).execute(race).unwrap(), 0);
}

#[test]
fn tape_replays_the_lost_race() {
    main();
}
