//! A generic function.

#[virtnet::test]
async fn generic<T: Default>() {}

fn main() {}
