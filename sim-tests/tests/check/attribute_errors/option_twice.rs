//! An option that is given twice.

#[virtnet::test(seeds = 1000, seeds = "5..105")]
async fn option_twice() {}

fn main() {}
