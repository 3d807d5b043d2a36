//! A `Check` in a program's `main`, executed with various arguments by the replay command tests.
//!
//! ```text
//! checks HEX [..]          a check with these bytes as its name, which fails with seed 3
//! checks HEX thread [..]   the same check on a thread named `sweeper`
//! ```
//!
//! Further arguments are ignored. The report is printed, and the program ends by
//! `std::process::exit`.

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
    let byte_at = |offset: usize| u8::from_str_radix(&hex[offset..offset + 2], 16).unwrap_or(b'?');
    let name: Vec<u8> = (0..hex.len() / 2).map(|n| byte_at(2 * n)).collect();
    let name = String::from_utf8_lossy(&name).into_owned();
    let text = if arguments.next().is_some_and(|option| option == "thread") {
        let thread = std::thread::Builder::new().name("sweeper".into());
        thread.spawn(move || report(&name)).ok().and_then(|thread| thread.join().ok())
    } else {
        Some(report(&name))
    };
    println!("{}", text.unwrap_or_default());
    std::process::exit(0);
}
