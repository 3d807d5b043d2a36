//! What is no function.

#[virtnet::test]
struct NoFunction;

fn main() {}
