//! Command-line code shared by the examples: seeds, Ctrl-C, printing.

use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use virtnet::Sim;

/// Set by Ctrl-C.
static STOP_REQUESTED: AtomicBool = AtomicBool::new(false);

/// Prints the result, and gives the code to exit with.
pub(crate) fn print(text: &str, code: ExitCode) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads may have read enough: `| head`.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: cannot print the result: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Lets Ctrl-C stop a sweep: what it has by then is printed.
pub(crate) fn stop_on_ctrl_c() -> &'static AtomicBool {
    let installed = ctrlc::set_handler(|| {
        // The second time is meant.
        if STOP_REQUESTED.swap(true, Relaxed) {
            std::process::exit(130);
        }
    });
    if let Err(error) = installed {
        eprintln!("warning: Ctrl-C will lose the result: {error}");
    }
    &STOP_REQUESTED
}

/// The code that a sweep exits with.
pub(crate) fn exit_code(passed: bool) -> ExitCode {
    match (passed, STOP_REQUESTED.load(Relaxed)) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(130),
        (true, false) => ExitCode::SUCCESS,
    }
}

/// A panic inside a run is that run's ending, and is printed as such; once is enough.
pub(crate) fn silence_panics_in_runs() {
    let previous_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if Sim::try_current().is_none() {
            previous_hook(panic);
        }
    }));
}

/// Reads a seed, as it is printed in either of two ways.
pub(crate) fn parse_seed(text: &str) -> Result<u64, String> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    u64::from_str_radix(digits, radix).map_err(|error| {
        format!("a seed is a number from 0 to {}, or 0x and hex: {error}", u64::MAX)
    })
}

/// Reads a range of seeds.
pub(crate) fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let range = match text.split_once("..") {
        Some((start, end)) => parse_seed(start)?..parse_seed(end)?,
        None => 0..parse_seed(text)?,
    };
    if range.is_empty() {
        return Err("there is no seed in it: give a number from 1, or A..B with A below B".into());
    }
    Ok(range)
}
