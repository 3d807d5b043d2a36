//! Endless loops, limits of a run, and what the library says of time, tasks and nodes.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use virtnet::simnet::{ClockSkew, Network, Node};
use virtnet::{
    Ending, Instant, JoinErrorReason, Limit, NodeDeath, Outcome, Run, Schedule, Sim, Stall, pipenet,
};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::MAX;
const SCHEDULES: [Schedule; 3] = [Schedule::Fifo, Schedule::Random, Schedule::Pct { depth: 3 }];

/// What the run ended by, and the tasks that did not end, if it is a livelock.
fn livelock_culprits<T>(outcome: Outcome<T>) -> (Option<Limit>, Vec<String>) {
    let limit = outcome.limit();
    match outcome.ending {
        Ending::Livelock(Stall { culprits, culprit, .. }) => {
            assert_eq!(culprit.as_ref(), culprits.first());
            (limit, culprits)
        }
        ending => panic!("{ending}"),
    }
}

#[test]
fn accept_loop_on_a_closed_host_with_yields_is_a_livelock() {
    for schedule in SCHEDULES {
        let outcome = Run::new(3).schedule(schedule).execute(async |_| {
            let net = Network::new("t");
            let host = net.new_host("a").await.unwrap();
            let listener = host.listen(":1").await.unwrap();
            host.close().unwrap();
            loop {
                if listener.accept().await.is_err() {
                    virtnet::time::yield_now().await;
                }
            }
        });
        let Outcome::<()> { steps, elapsed, .. } = outcome;
        assert!((100_000..100_200).contains(&steps), "{schedule}: {steps} steps");
        assert!(elapsed < SEC, "{schedule}: {elapsed:?}");
        let text = outcome.to_string();
        let start = "livelock limit of 100000 consecutive polls of self-woken tasks reached, ";
        assert!(text.starts_with(start), "{schedule}: {text}");
        assert!(text.contains("\n  main woke itself without end\n"), "{schedule}: {text}");
        assert_eq!(
            livelock_culprits(outcome),
            (Some(Limit::SelfWokenPolls(100_000)), vec!["main".to_string()]),
        );
    }
}

#[test]
fn tasks_that_yield_without_end_are_a_livelock_that_names_them() {
    for schedule in SCHEDULES {
        let outcome: Outcome<()> = Run::new(4).schedule(schedule).execute(async |sim| {
            for name in ["a", "b", "c"] {
                sim.task(name).spawn(async move {
                    loop {
                        sim.yield_now().await;
                    }
                });
            }
            pending::<()>().await;
        });
        assert!((100_000..100_200).contains(&outcome.steps), "{schedule}: {}", outcome.steps);
        let text = outcome.to_string();
        let (limit, names) = livelock_culprits(outcome);
        let line = format!("\n  {} woke themselves without end\n", names.join(", "));
        assert!(text.contains(&line), "{schedule}: {text}");
        assert_eq!(limit, Some(Limit::SelfWokenPolls(100_000)), "{schedule}");
        // Pct may hold one task back for longer than that.
        let all = ["main/a", "main/b", "main/c"];
        let found = all.iter().filter(|name| names.contains(&name.to_string())).count();
        assert!(found == names.len() && found >= 2, "{schedule}: {names:?}");
    }
}

#[test]
fn livelock_of_seven_tasks_names_five_and_counts_the_others() {
    let outcome: Outcome<()> = Run::new(4).livelock_limit(100).execute(async |sim| {
        for n in 0..7 {
            sim.task(&format!("t{n}")).spawn(async move {
                loop {
                    sim.yield_now().await;
                }
            });
        }
        pending::<()>().await;
    });
    let text = outcome.to_string();
    let line =
        "\n  main/t0, main/t1, main/t2, main/t3, main/t4 and 2 more woke themselves without end";
    assert!(text.contains(line), "{text}");
}

/// A program that goes on without end, and in which no timer fires.
type EndlessProgram = fn(Sim);

/// Each mixes tasks that wake themselves with tasks that wake others.
const MIXED_WAKE_PROGRAMS: [(&str, EndlessProgram); 5] = [
    ("one task yields and wakes another in each round", |sim| {
        let (to, mut from) = mpsc::unbounded();
        sim.spawn(async move { while from.next().await.is_some() {} });
        sim.spawn(async move {
            loop {
                to.unbounded_send(()).unwrap();
                sim.yield_now().await;
            }
        });
    }),
    ("one task yields and wakes another in turn", |sim| {
        let (to_b, mut from_a) = mpsc::unbounded();
        let (to_a, mut from_b) = mpsc::unbounded();
        sim.spawn(async move {
            while from_a.next().await.is_some() {
                to_a.unbounded_send(()).unwrap();
            }
        });
        sim.spawn(async move {
            loop {
                sim.yield_now().await;
                to_b.unbounded_send(()).unwrap();
                from_b.next().await;
            }
        });
    }),
    ("two tasks hand a turn to each other and yield", |sim| {
        let (to_b, mut from_a) = mpsc::unbounded();
        let (to_a, mut from_b) = mpsc::unbounded();
        sim.spawn(async move {
            while from_a.next().await.is_some() {
                sim.yield_now().await;
                to_a.unbounded_send(()).unwrap();
            }
        });
        sim.spawn(async move {
            loop {
                to_b.unbounded_send(()).unwrap();
                from_b.next().await;
                sim.yield_now().await;
            }
        });
    }),
    ("one task spawns another that yields, and joins it", |sim| {
        sim.spawn(async move {
            loop {
                sim.spawn(async move { sim.yield_now().await }).await.unwrap();
            }
        });
    }),
    ("one task joins others by a waker that is not its own", |sim| {
        sim.spawn(async move {
            let mut tasks = FuturesUnordered::new();
            loop {
                tasks.push(sim.spawn(async {}));
                tasks.next().await.unwrap().unwrap();
            }
        });
    }),
];

#[test]
fn tasks_that_wake_themselves_and_others_in_turn_are_a_livelock() {
    for (name, program) in MIXED_WAKE_PROGRAMS {
        for schedule in SCHEDULES {
            let run = Run::new(5).schedule(schedule).livelock_limit(1_000).time_limit(MAX);
            let outcome: Outcome<()> = run.execute(async move |sim| {
                program(sim);
                pending::<()>().await;
            });
            let steps = outcome.steps;
            assert!(outcome.ending.name() == "livelock", "{name}, {schedule}: {}", outcome.ending);
            assert!(steps < 100_000, "{name}, {schedule}: {steps} steps");
            assert!(!livelock_culprits(outcome).1.is_empty());
        }
    }
}

#[test]
fn many_tasks_that_yield_a_few_times_each_are_no_livelock() {
    let outcome = Run::new(6).execute(async |sim| {
        let tasks: FuturesUnordered<_> = (0..40_000)
            .map(|_| {
                sim.spawn(async move {
                    for _ in 0..4 {
                        sim.yield_now().await;
                    }
                })
            })
            .collect();
        tasks.count().await
    });
    assert_eq!(outcome.unwrap(), 40_000);
}

#[test]
fn spin_on_a_task_that_the_schedule_holds_back_ends() {
    let longest = (0..200)
        .map(|seed| {
            let run = Run::new(seed).schedule(Schedule::Pct { depth: 2 }).livelock_limit(500);
            let outcome = run.execute(async |sim| {
                let task = sim.spawn(async {});
                while !task.is_finished() {
                    sim.yield_now().await;
                }
            });
            let (elapsed, steps) = (outcome.elapsed, outcome.steps);
            outcome.unwrap();
            assert!(steps < 1_000, "seed {seed}: {steps} steps");
            elapsed
        })
        .max();
    assert!(longest > Some(100 * MS), "no seed holds the task back for long: {longest:?}");
}

#[test]
fn spinning_task_beside_a_timer_ends_at_the_step_limit() {
    for schedule in SCHEDULES {
        let outcome: Outcome<()> =
            Run::new(7).schedule(schedule).livelock_limit(20_000).step_limit(100_000).execute(
                async |sim| {
                    sim.task("heartbeat").spawn(async move {
                        loop {
                            sim.sleep(10 * MS).await;
                        }
                    });
                    loop {
                        sim.yield_now().await;
                    }
                },
            );
        assert_eq!(outcome.limit(), Some(Limit::Steps(100_000)), "{schedule}: {}", outcome.ending);
        assert_eq!((outcome.ending.name(), outcome.steps), ("step limit", 100_000));
    }
}

#[test]
fn spinning_task_beside_deliveries_or_faults_ends_at_the_step_limit() {
    let limit_beside = |fault: bool| {
        let outcome: Outcome<()> =
            Run::new(7).livelock_limit(500).step_limit(50_000).execute(async move |sim| {
                let net = Network::new("t");
                let (_a, b) = (net.new_host("a").await.unwrap(), net.new_host("b").await.unwrap());
                let mut rounds = 0;
                loop {
                    if rounds % 200 == 0 && fault {
                        net.partition(&["a"], &["b"]);
                        net.heal();
                    } else if rounds % 200 == 0 {
                        drop(b.dial("a:1").await);
                    }
                    sim.yield_now().await;
                    rounds += 1;
                }
            });
        outcome.limit()
    };
    assert_eq!(limit_beside(true), Some(Limit::Steps(50_000)));
    assert_eq!(limit_beside(false), Some(Limit::Steps(50_000)));
}

#[test]
fn spin_until_a_distant_timer_is_a_livelock_unless_the_limit_is_higher() {
    let run = |run: Run| {
        run.execute(async |sim| {
            let sleeper = sim.spawn(async move { sim.sleep(25 * MS).await });
            while !sleeper.is_finished() {
                sim.yield_now().await;
            }
        })
    };
    let (limit, names) = livelock_culprits(run(Run::new(8).livelock_limit(10_000)));
    assert_eq!((limit, names), (Some(Limit::SelfWokenPolls(10_000)), vec!["main".to_string()]));
    run(Run::new(8).livelock_limit(30_000)).unwrap();
}

/// A program that goes on for as long as it may, and how.
type Program = fn(Sim);

#[test]
fn outcome_names_the_limit_that_ended_it_and_its_value() {
    let sleeps: Program = |sim| {
        sim.spawn(sim.sleep(MAX));
    };
    let yields: Program = |sim| {
        sim.spawn(async move {
            loop {
                sim.yield_now().await;
            }
        });
    };
    let talks: Program = |sim| {
        let (to_b, mut from_a) = mpsc::unbounded();
        let (to_a, mut from_b) = mpsc::unbounded();
        to_a.unbounded_send(()).unwrap();
        for (to, from) in [(to_b, &mut from_b), (to_a, &mut from_a)] {
            let mut from = std::mem::replace(from, mpsc::unbounded().1);
            sim.spawn(async move {
                while from.next().await.is_some() {
                    to.unbounded_send(()).unwrap();
                }
            });
        }
    };
    let fifo = || Run::new(1).schedule(Schedule::Fifo);
    let random = || Run::new(1).livelock_limit(50);
    let at_instant = "livelock limit of 50 polls of one task at one instant";
    let self_woken = "livelock limit of 50 consecutive polls of self-woken tasks";
    let chain = "livelock limit of 500 wake-ups in a chain from task to task";
    let cases: [(Run, Program, &str, Limit, &str); 6] = [
        (fifo(), sleeps, "time limit", Limit::Time(3600 * SEC), "time limit of 3600s"),
        (
            fifo().time_limit(1500 * MS),
            sleeps,
            "time limit",
            Limit::Time(1500 * MS),
            "time limit of 1.5s",
        ),
        (fifo().step_limit(70), yields, "step limit", Limit::Steps(70), "step limit of 70 steps"),
        (fifo().livelock_limit(50), talks, "livelock", Limit::PollsAtInstant(50), at_instant),
        (random(), yields, "livelock", Limit::SelfWokenPolls(50), self_woken),
        (random(), talks, "livelock", Limit::Chain(500), chain),
    ];
    for (run, program, name, limit, text) in cases {
        let outcome: Outcome<()> = run.execute(async move |sim| {
            program(sim);
            pending::<()>().await;
        });
        let printed = outcome.to_string();
        assert_eq!((outcome.ending.name(), outcome.limit()), (name, Some(limit)), "{printed}");
        assert!(
            printed.starts_with(&format!("{text} reached, the run was stopped: at ")),
            "{printed}"
        );
    }
    assert_eq!(Run::new(1).execute(async |_| pending::<()>().await).limit(), None);
    assert_eq!(Run::new(1).execute(async |_| ()).limit(), None);
    assert_eq!(Run::new(1).step_limit(1).execute(async |_| ()).limit(), None);
}

#[test]
fn step_limit_or_livelock_limit_of_zero_admits_no_poll() {
    let ending_of = |run: Run| {
        let outcome = run.execute(async |_| ());
        assert_eq!((outcome.steps, outcome.elapsed), (0, Duration::ZERO));
        (outcome.ending.name(), outcome.limit())
    };
    assert_eq!(ending_of(Run::new(1).step_limit(0)), ("step limit", Some(Limit::Steps(0))));
    let no_poll = ("livelock", Some(Limit::PollsAtInstant(0)));
    assert_eq!(ending_of(Run::new(1).livelock_limit(0)), no_poll);
    assert_eq!(ending_of(Run::new(1).livelock_limit(0).step_limit(1)), no_poll);
}

#[test]
fn time_limit_of_zero_admits_work_that_takes_no_time() {
    let run = || Run::new(1).schedule(Schedule::Fifo).time_limit(Duration::ZERO);
    let outcome = run().execute(async |sim| {
        sim.sleep(Duration::ZERO).await;
        sim.yield_now().await;
        sim.spawn(async { 7 }).await
    });
    assert_eq!(outcome.unwrap(), Ok(7));
    let outcome = run().execute(async |sim| sim.sleep(Duration::from_nanos(1)).await);
    assert_eq!(outcome.limit(), Some(Limit::Time(Duration::ZERO)), "{}", outcome.ending);
    assert_eq!((outcome.elapsed, outcome.steps), (Duration::ZERO, 1));
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// The last instant of a run: 292 years.
const LAST: Duration = Duration::from_nanos(i64::MAX as u64 - 1);

fn unlimited_fifo_run() -> Run {
    Run::new(0).schedule(Schedule::Fifo).time_limit(MAX)
}

#[test]
fn time_limit_of_years_is_reached_exactly() {
    for limit in [2 * YEAR, 3 * YEAR, 100 * YEAR, 292 * YEAR] {
        let outcome: Outcome<()> = unlimited_fifo_run().time_limit(limit).execute(async |sim| {
            loop {
                sim.sleep(DAY).await;
            }
        });
        assert_eq!(outcome.limit(), Some(Limit::Time(limit)), "{}", outcome.ending);
        assert_eq!(outcome.elapsed, limit);
    }
}

#[test]
fn run_without_time_limit_ends_at_292_years_as_end_of_time() {
    for limit in [LAST, LAST + Duration::from_nanos(1), MAX] {
        let ticks = Rc::new(Cell::new(0));
        let seen = ticks.clone();
        let outcome: Outcome<()> =
            unlimited_fifo_run().time_limit(limit).execute(async move |sim| {
                loop {
                    sim.sleep(YEAR).await;
                    seen.set(seen.get() + 1);
                }
            });
        assert_eq!(
            (ticks.get(), outcome.elapsed, outcome.limit()),
            (292, LAST, Some(Limit::EndOfTime))
        );
        let text = "end of representable time, 292 years reached, the run was stopped: at ";
        assert!(outcome.to_string().starts_with(text), "{outcome}");
    }
}

#[test]
fn sleep_fires_at_the_last_instant_and_never_after_it() {
    let sleep_until = |at: Instant| {
        let outcome = unlimited_fifo_run().execute(async move |sim| {
            sim.sleep_until(at).await;
            sim.now()
        });
        assert_eq!(outcome.elapsed, LAST);
        match outcome.ending {
            Ending::Done(now) => Ok(now),
            Ending::TimeLimit(stall) => Err(stall.tasks[0].state.to_string()),
            ending => panic!("{ending}"),
        }
    };
    let last = Instant::ZERO + LAST;
    assert_eq!(sleep_until(last), Ok(last));
    for later in [last + Duration::from_nanos(1), last + 2 * YEAR, last + MAX] {
        assert_eq!(sleep_until(later), Err(format!("waits for sleep until {later:?}")));
    }
}

#[test]
fn instant_arithmetic_saturates_at_both_ends() {
    let end = Instant::from_nanos(u64::MAX);
    assert_eq!((Instant::ZERO + MAX, end + Duration::from_nanos(1), end + MAX), (end, end, end));
    assert_eq!((Instant::ZERO - MAX, Instant::ZERO - end), (Instant::ZERO, Duration::ZERO));
    let mut at = Instant::ZERO + 300 * YEAR;
    at += 300 * YEAR;
    assert_eq!(at, end);
    at -= MAX;
    assert_eq!(at, Instant::ZERO);
}

#[test]
fn instants_up_to_292_years_convert_to_std_and_back() {
    unlimited_fifo_run()
        .execute(async |sim| {
            let (start, end) = (sim.now(), sim.now() + LAST);
            assert_eq!(end.into_std() - start.into_std(), LAST);
            assert_eq!(Instant::from_std(end.into_std()), end);
        })
        .unwrap();
}

#[test]
fn many_timers_over_292_years_fire_in_order_at_their_instants() {
    const COUNT: u64 = 5_000;
    let outcome = unlimited_fifo_run().execute(async |sim| {
        let fired = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..COUNT)
            .map(|n| {
                // Prime to their number, so that each comes once, in no order; close to each other
                // at the beginning and far from each other in the end.
                let n = n * 1_877 % COUNT;
                let part = (n as f64 / COUNT as f64).powi(9);
                let at = Instant::ZERO + LAST.mul_f64(part) + Duration::from_nanos(n);
                let fired = fired.clone();
                sim.spawn(async move {
                    sim.sleep_until(at).await;
                    fired.borrow_mut().push((at, sim.now()));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        fired.take()
    });
    let fired = outcome.unwrap();
    assert_eq!(fired.len() as u64, COUNT);
    assert!(fired.is_sorted() && fired.iter().all(|(at, now)| at == now));
    assert!(fired.last().unwrap().0 > Instant::ZERO + 290 * YEAR);
}

#[test]
fn node_clocks_near_the_end_of_time_saturate_and_never_overflow() {
    for (offset, drift) in [
        (i64::MAX, i32::MAX),
        (i64::MIN, i32::MAX),
        (i64::MAX, -999_999),
        (i64::MIN, -999_999),
        (0, 1),
        (-1, -1),
    ] {
        let outcome: Outcome<()> = unlimited_fifo_run().execute(async move |sim| {
            let net = Network::new("t");
            let node = net.node("n", async |_| {
                loop {
                    let sim = Sim::current();
                    let _ = (sim.system_time(), sim.now() + YEAR);
                    sim.sleep(20 * YEAR).await;
                }
            });
            sim.sleep(SEC).await;
            let size = Duration::from_nanos(i64::unsigned_abs(offset));
            let skew = if offset < 0 { ClockSkew::behind(size) } else { ClockSkew::ahead(size) };
            node.set_clock(skew.drift_ppm(drift));
            sim.sleep_until(Instant::ZERO + LAST - YEAR).await;
            node.set_clock(skew.drift_ppm(drift));
            node.set_poll_cost(MAX);
            sim.sleep(MAX).await;
        });
        assert_eq!((outcome.limit(), outcome.elapsed), (Some(Limit::EndOfTime), LAST));
    }
}

#[test]
fn network_in_the_291st_year_connects_and_delivers() {
    unlimited_fifo_run()
        .execute(async |sim| {
            sim.sleep(291 * YEAR).await;
            for net in [Network::new("s").region(""), pipenet::Network::new("p").subnetwork()] {
                let (a, b) = (net.new_host("a").await.unwrap(), net.new_host("b").await.unwrap());
                let listener = b.listen(":1").await.unwrap();
                let (x, y) = futures::join!(a.dial("b:1"), listener.accept());
                let (mut x, mut y) = (x.unwrap(), y.unwrap());
                for _ in 0..100 {
                    let mut received = [0; 5];
                    let (sent, read) =
                        futures::join!(x.write_all(b"hello"), y.read_exact(&mut received));
                    sent.unwrap();
                    read.unwrap();
                    assert_eq!(&received, b"hello");
                }
            }
            assert!(sim.now() > Instant::ZERO + 291 * YEAR);
        })
        .unwrap();
}

/// Waits for longer than any fault lasts.
async fn wait_forever() {
    pending::<()>().await;
}

/// What is done to a node, as what it dies by, and the words for that.
type NodeDeathCase = (fn(&Node), NodeDeath, &'static str);

#[test]
fn join_of_a_task_whose_node_died_names_the_node_and_its_death() {
    let deaths: [NodeDeathCase; 3] = [
        (Node::crash, NodeDeath::Crash, "crashed"),
        (Node::power_off, NodeDeath::PowerOff, "lost its power"),
        (Node::restart, NodeDeath::Restart, "was restarted"),
    ];
    for (kill, death, verb) in deaths {
        for join_late in [false, true] {
            Run::new(1)
                .execute(async move |sim| {
                    let net = Network::new("t");
                    let node = net.node("s", async |_| {});
                    sim.sleep(SEC).await;
                    let task = node.spawn(async { wait_forever().await });
                    let joining = async {
                        if join_late {
                            sim.sleep(2 * SEC).await;
                            node.restart();
                            sim.sleep(SEC).await;
                        }
                        task.await
                    };
                    let (joined, ()) = futures::join!(joining, async {
                        sim.sleep(SEC).await;
                        kill(&node);
                    });
                    let error = joined.unwrap_err();
                    let reason = JoinErrorReason::NodeDied { node: "s".into(), death };
                    assert_eq!(error.reason(), &reason);
                    assert!(error.task().starts_with("node/s/"), "{error}");
                    let text = format!("task {} was dropped: its node \"s\" {verb}", error.task());
                    assert_eq!(error.to_string(), text);
                })
                .unwrap();
        }
    }
}

#[test]
fn join_of_a_task_spawned_on_a_node_that_is_down_names_the_node() {
    for kill in [Node::crash, Node::power_off] {
        Run::new(1)
            .execute(async move |sim| {
                let net = Network::new("t");
                let node = net.node("s", async |_| {});
                sim.sleep(SEC).await;
                kill(&node);
                // Before and after it is dead: both calls come after the one that kills it.
                for _ in 0..2 {
                    let task = node.spawn(wait_forever());
                    assert!(task.is_finished());
                    task.abort();
                    let error = task.await.unwrap_err();
                    let reason = JoinErrorReason::NodeDown { node: "s".into() };
                    assert_eq!(error.reason(), &reason);
                    let text =
                        format!("task {} was not started: the node \"s\" is down", error.task());
                    assert_eq!(error.to_string(), text);
                    assert!(
                        error.task().starts_with("(spawned at sim-tests/tests/sim/"),
                        "{error}"
                    );
                    sim.sleep(SEC).await;
                }
                node.restart();
                let reason = JoinErrorReason::NodeDown { node: "s".into() };
                assert_eq!(node.spawn(wait_forever()).await.unwrap_err().reason(), &reason);
                sim.sleep(SEC).await;
                assert_eq!(
                    node.spawn(async { 5 }).await.map_err(|join_error| join_error.to_string()),
                    Ok(5)
                );
            })
            .unwrap();
    }
}

#[test]
fn join_after_an_abort_and_a_crash_reports_which_took_effect_first() {
    for (abort_first, reason) in [
        (Some(true), JoinErrorReason::Aborted),
        // Tasks that are aborted are dropped before what is done to nodes.
        (Some(false), JoinErrorReason::Aborted),
        (None, JoinErrorReason::NodeDied { node: "s".into(), death: NodeDeath::Crash }),
    ] {
        Run::new(1)
            .execute(async move |sim| {
                let net = Network::new("t");
                let node = net.node("s", async |_| {});
                sim.sleep(SEC).await;
                let task = node.spawn(async { wait_forever().await });
                sim.sleep(SEC).await;
                match abort_first {
                    Some(true) => {
                        task.abort();
                        node.crash();
                    }
                    Some(false) => {
                        node.crash();
                        task.abort();
                    }
                    None => {
                        node.crash();
                        sim.sleep(SEC).await;
                        task.abort();
                    }
                }
                assert_eq!(task.await.unwrap_err().reason(), &reason);
            })
            .unwrap();
    }
}

#[test]
fn task_survives_close_host_and_a_finished_task_keeps_its_output_after_a_crash() {
    Run::new(1)
        .execute(async |sim| {
            let net = Network::new("t");
            let node = net.node("s", async |_| {});
            sim.sleep(SEC).await;
            let running = node.spawn(async move {
                sim.sleep(2 * SEC).await;
                1
            });
            let done = node.spawn(async { 2 });
            node.close_host();
            assert_eq!(running.await.map_err(|error| error.to_string()), Ok(1));
            node.crash();
            sim.sleep(SEC).await;
            assert_eq!(done.await.map_err(|error| error.to_string()), Ok(2));
        })
        .unwrap();
}

#[test]
fn spawn_in_a_destructor_of_a_dead_node_or_a_finished_run_reports_which() {
    /// Spawns when it is dropped, and keeps what joining that gives.
    struct SpawnOnDrop(Rc<RefCell<Vec<JoinErrorReason>>>);
    impl Drop for SpawnOnDrop {
        fn drop(&mut self) {
            let mut task = Box::pin(virtnet::spawn(async {}));
            let joined = task.as_mut().now_or_never().expect("it never began");
            self.0.borrow_mut().push(joined.unwrap_err().reason().clone());
        }
    }
    let reasons = Rc::new(RefCell::new(Vec::new()));
    let seen = reasons.clone();
    Run::new(1)
        .execute(async move |sim| {
            let net = Network::new("t");
            let node = net.node("s", async |_| {});
            sim.sleep(SEC).await;
            for on_node in [true, false] {
                let spawns = SpawnOnDrop(seen.clone());
                let task = async move {
                    let _spawns = spawns;
                    wait_forever().await;
                };
                drop(if on_node { node.spawn(task) } else { sim.spawn(task) });
            }
            sim.sleep(SEC).await;
            node.crash();
            sim.sleep(SEC).await;
        })
        .unwrap();
    let down = JoinErrorReason::NodeDown { node: "s".into() };
    assert_eq!(reasons.take(), [down, JoinErrorReason::RunOver]);
}
