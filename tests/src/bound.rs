//! Waiting with a bound, for events and for facts outside of the program.

use std::env;
use std::fmt::Display;
use std::panic::Location;
use std::time::{Duration, Instant};

/// How long one step of a test may take before it counts as hanging.
const STEP: Duration = Duration::from_secs(30);
/// How often a fact outside of the program is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// By how much the bounds are looser here: 5 under CI (the variable `CI` is set), otherwise 1.
pub fn ci_factor() -> u32 {
    match env::var_os("CI") {
        Some(value) if !value.is_empty() => 5,
        _ => 1,
    }
}

/// A future that must not take for ever.
pub trait Within: Future + Sized {
    /// Awaits it for at most 30 seconds (more under CI), and panics with `what` when that is over.
    #[track_caller]
    fn within(self, what: impl Display) -> impl Future<Output = Self::Output> {
        let caller = Location::caller();
        async move {
            match tokio::time::timeout(STEP * ci_factor(), self).await {
                Ok(output) => output,
                Err(tokio::time::error::Elapsed { .. }) => {
                    panic!("waited too long for {what}, at {caller}")
                }
            }
        }
    }
}

impl<F: Future> Within for F {}

/// Looks again and again until `look` returns something, for at most `bound` (more under CI).
///
/// Only for what no event tells: other processes as seen in `/proc`, files and logs that grow.
///
/// # Panics
/// When the bound is reached, with `what`.
#[track_caller]
pub fn eventually<T>(
    what: impl Display,
    bound: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + bound * ci_factor();
        let mut ticks = tokio::time::interval(LOOK_AGAIN);
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "waited {bound:?} for {what}, at {caller}"
            );
        }
    }
}

/// [`eventually`] where no runtime is left.
///
/// # Panics
/// When the bound is reached, with what `look` last said was in the way.
#[track_caller]
pub fn eventually_blocking<T>(
    what: impl Display,
    bound: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + bound * ci_factor();
    loop {
        match look() {
            Ok(found) => return found,
            Err(_) if Instant::now() < deadline => std::thread::park_timeout(LOOK_AGAIN),
            Err(reason) => panic!("waited {bound:?} for {what}: {reason}"),
        }
    }
}
