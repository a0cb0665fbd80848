//! The start of a manager: the sweep of what dead ones have left, and the guard.

use std::io;
use std::sync::Arc;

use super::context::Context;
use crate::containment::{Guard, Swept};
use crate::events::Event;
use crate::run_dir::ManagerDir;

/// Sweeps what dead managers have left in the working directory, starts the guard, and stays with it.
pub(super) async fn start_up(context: Arc<Context>) {
    let dir = Arc::clone(&context.dir);
    let with_guard = context.with_guard;
    let started = context.pool.run(move || {
        let swept = dir.sweep();
        (swept, with_guard.then(|| dir.start_guard()))
    });
    let (swept, guard) = match started.await {
        Ok((swept, guard)) => (swept, guard.transpose()),
        Err(error) => (Vec::new(), Err(error)),
    };
    tell(&context, swept);
    context.ready.set();
    tokio::join!(sweep_beside(&context), stay_with(&context, guard));
}

/// Sweeps what dead managers have left beside a private working directory. Nothing waits for it.
async fn sweep_beside(context: &Context) {
    if let Some(sweep) = context.dir.sweep_beside() {
        tell(context, context.pool.run(sweep).await.unwrap_or_default());
    }
}

fn tell(context: &Context, swept: Vec<Swept>) {
    for swept in swept {
        context.events.tell_early(Event::Swept(swept));
    }
}

async fn stay_with(context: &Context, guard: io::Result<Option<Guard>>) {
    let error = match guard {
        Ok(None) => return,
        Ok(Some(guard)) => {
            let mut kept = Kept {
                dir: Arc::clone(&context.dir),
                guard: Some(guard),
            };
            match &mut kept.guard {
                Some(guard) => guard.ended().await,
                None => return,
            }
        }
        Err(error) => error,
    };
    tracing::warn!(%error, "there is no guard: children would outlive this program if it was killed");
    let reason = error.to_string();
    context
        .events
        .tell_early(Event::GuardUnavailable { reason });
}

/// The guard while it is watched. Whatever ends the watching, the runtime's own end included, it goes
/// back to the directory: that dismisses it when there is nothing left to guard.
struct Kept {
    dir: Arc<ManagerDir>,
    guard: Option<Guard>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            self.dir.keep_guard(guard);
        }
    }
}
