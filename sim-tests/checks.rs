//! A check in a `main`, which the tests execute with arguments of every kind.
//!
//! ```text
//! checks HEX [..]          a check whose name is these bytes, and which fails with seed 3
//! checks HEX thread [..]   the same on a thread that is called `sweeper`
//! ```
//!
//! What else is given changes nothing. The report is printed, and the program ends by
//! `std::process::exit`, as programs do.

use virtnet::check::Check;

fn report(name: &str) -> String {
    let report = Check::new(name).seeds(3..20).run(|sim| async move {
        let coins = (0..3).filter(|n| sim.choose(&format!("coin {n}"), 2) == 0).count();
        assert!(coins > 3, "a check in a program");
    });
    report.to_string()
}

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let hex = arguments.next().unwrap_or_default().into_string().unwrap_or_default();
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or(b'?');
    let name: Vec<u8> = (0..hex.len() / 2).map(|n| digits(2 * n)).collect();
    let name = String::from_utf8_lossy(&name).into_owned();
    let text = if arguments.next().is_some_and(|next| next == "thread") {
        let thread = std::thread::Builder::new().name("sweeper".into());
        thread.spawn(move || report(&name)).ok().and_then(|thread| thread.join().ok())
    } else {
        Some(report(&name))
    };
    println!("{}", text.unwrap_or_default());
    std::process::exit(0);
}
