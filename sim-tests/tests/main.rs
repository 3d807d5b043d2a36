//! All tests, grouped by the part of the library that they test.

mod tidy;

// The world.
mod endings;
mod time;
mod tasks;
mod select;
mod tape;
mod keyed;
mod exploration;
mod determinism;
mod handles;

// The network.
mod support;
mod lab;
mod conformance;
mod closing;
mod cancel;
mod drops;
mod strangers;
mod tracing;
mod reference;

// The simulated network.
mod simnet;

// Several processes.
mod lonet;

// The operating system.
mod os;
mod tls;
mod real;

// The same on several networks.
mod expected;
mod closed;

// Many runs.
mod process;
mod attribute;
mod replays;
mod planted;
mod shelf;
mod properties;
mod fuzzed;
mod lines;
mod bytes;
mod viewer;
mod apart;
mod lost;
mod results;

// What was reported as wrong.
mod reported;
