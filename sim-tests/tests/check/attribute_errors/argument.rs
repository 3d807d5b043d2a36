//! An argument that nobody passes.

/// Without a word, it would never be run.
#[virtnet::test]
#[should_panic]
async fn never(number: u32) {
    let _ = number;
}

fn main() {}
