//! The random generator of a task.

use crate::sim::world::current::{current_run, enter_run};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, TryRng};
use std::convert::Infallible;

/// A random generator of the run, by ChaCha with 8 rounds.
///
/// It is a token like [`Sim`](crate::Sim): each call draws from the stream of the task that is
/// being polled. A stream is keyed by the seed and the task, so that the draws of one task do not
/// shift those of another.
///
/// ```
/// use virtnet::rand_core::Rng;
/// let draw = || virtnet::Run::new(7).execute(async |sim| sim.rng().next_u64()).unwrap();
/// assert_eq!(draw(), draw());
/// ```
#[derive(Clone, Debug)]
pub struct SimRng {
    pub(crate) run: u64,
}

impl SimRng {
    fn draw<R>(&self, draw: impl FnOnce(&mut ChaCha8Rng) -> R) -> R {
        enter_run(self.run, |world| draw(world.rng()))
    }
}

impl TryRng for SimRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.draw(|rng| rng.next_u32()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.draw(|rng| rng.next_u64()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.draw(|rng| rng.fill_bytes(bytes));
        Ok(())
    }
}

/// Returns the current task's random generator; see [`Sim::rng`](crate::Sim::rng).
///
/// # Panics
///
/// Outside a run.
#[track_caller]
pub fn rng() -> SimRng {
    SimRng { run: current_run("virtnet::rng") }
}
