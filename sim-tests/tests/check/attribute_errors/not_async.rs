//! A function that is not async.

#[virtnet::test]
fn not_async(_sim: virtnet::Sim) {}

fn main() {}
