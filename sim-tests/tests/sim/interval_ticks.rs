//! Intervals that burst, delay or skip, as tokio's do.

use std::time::Duration;
use virtnet::simnet::ClockSkew;

use virtnet::time::{self, MissedTickBehavior};
use virtnet::{Instant, Run, Schedule, simnet};

const MS: Duration = Duration::from_millis(1);

/// For each tick when it was due and when it was taken, in milliseconds; between ticks the program
/// is busy for as long as `busy` says.
fn tick_times(behavior: MissedTickBehavior, busy: &'static [u32]) -> Vec<(u128, u128)> {
    let run = Run::new(1).schedule(Schedule::Fifo);
    let outcome = run.execute(async move |sim| {
        let mut interval = time::interval(100 * MS);
        assert_eq!(interval.missed_tick_behavior(), MissedTickBehavior::Burst);
        interval.set_missed_tick_behavior(behavior);
        assert_eq!(interval.missed_tick_behavior(), behavior);
        let mut ticks = Vec::new();
        for pause in busy {
            let due = interval.tick().await;
            let at = |instant: Instant| (instant - Instant::ZERO).as_millis();
            ticks.push((at(due), at(sim.now())));
            sim.sleep(*pause * MS).await;
        }
        ticks
    });
    outcome.unwrap()
}

/// A pause of three periods and a half, and then none.
const ONE_LATE_TICK: &[u32] = &[0, 350, 0, 0, 0, 0];

#[test]
fn burst_catches_up_with_every_tick() {
    let expected = [(0, 0), (100, 100), (200, 450), (300, 450), (400, 450), (500, 500)];
    assert_eq!(tick_times(MissedTickBehavior::Burst, ONE_LATE_TICK), expected);
    assert_eq!(MissedTickBehavior::default(), MissedTickBehavior::Burst);
}

#[test]
fn delay_continues_from_the_late_tick() {
    let expected = [(0, 0), (100, 100), (200, 450), (550, 550), (650, 650), (750, 750)];
    assert_eq!(tick_times(MissedTickBehavior::Delay, ONE_LATE_TICK), expected);
}

#[test]
fn skip_leaves_out_the_missed_ticks() {
    let expected = [(0, 0), (100, 100), (200, 450), (500, 500), (600, 600), (700, 700)];
    assert_eq!(tick_times(MissedTickBehavior::Skip, ONE_LATE_TICK), expected);
}

#[test]
fn tick_that_is_late_by_whole_periods_is_followed_by_the_next_one() {
    let busy = &[0, 400, 0, 0];
    let expected = [(0, 0), (100, 100), (200, 500), (600, 600)];
    assert_eq!(tick_times(MissedTickBehavior::Skip, busy), expected);
    assert_eq!(tick_times(MissedTickBehavior::Delay, busy), expected);
}

#[test]
fn tick_late_by_at_most_five_milliseconds_moves_no_later_tick() {
    use MissedTickBehavior::{Burst, Delay, Skip};
    for behavior in [Burst, Delay, Skip] {
        let expected = [(0, 0), (100, 105), (200, 200)];
        assert_eq!(tick_times(behavior, &[105, 0, 0]), expected, "{behavior:?}");
    }
    assert_eq!(tick_times(Delay, &[106, 0, 0]), [(0, 0), (100, 106), (206, 206)]);
    assert_eq!(tick_times(Skip, &[106, 0, 0]), [(0, 0), (100, 106), (200, 200)]);
}

#[test]
fn interval_on_a_node_counts_by_its_clock() {
    let run = Run::new(1).schedule(Schedule::Fifo);
    let due = run.execute(async |sim| {
        let net = simnet::Network::new("t");
        let node = net.node("s", async |_| std::future::pending::<()>().await);
        sim.sleep(1000 * MS).await;
        node.set_clock(ClockSkew::none().drift_ppm(1_000_000));
        let ticks = node.spawn(async {
            let mut interval = time::interval(100 * MS);
            interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let start = interval.tick().await;
            time::sleep(350 * MS).await;
            [interval.tick().await - start, interval.tick().await - start]
        });
        (ticks.await.unwrap(), sim.now() - Instant::ZERO)
    });
    assert_eq!(due.unwrap(), ([100 * MS, 400 * MS], 1200 * MS));
}
