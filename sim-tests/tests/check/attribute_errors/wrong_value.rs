//! Values of the wrong type, and none.

#[virtnet::test(seeds = true)]
async fn seeds_are_a_number() {}

#[virtnet::test(time_limit = 5)]
async fn a_duration_has_a_unit() {}

#[virtnet::test(jobs = 1.5)]
async fn threads_are_whole() {}

#[virtnet::test(check_determinism = 3)]
async fn a_switch_is_on_or_off() {}

#[virtnet::test(schedule)]
async fn a_schedule_has_a_name() {}

fn main() {}
