//! The task of a pool: it starts and ends workers, and looks at the clock and at their memory.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::shared::{Order, Shared};
use super::{Make, worker};
use crate::clock;
use crate::handle::ProcessManagerHandle;
use crate::process::{Control, Process};
use crate::supervision::dispatch::Input;

/// How often the memory of the workers is looked at.
const MEMORY_LOOK: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) manager: ProcessManagerHandle,
    pub(super) make: Arc<Make>,
    /// Of a worker, in bytes.
    pub(super) memory_limit: Option<u64>,
}

impl Driver {
    /// Runs until nothing of the pool is left but what does not end.
    pub(super) async fn run(self) {
        let mut workers = JoinSet::new();
        let mut next_look = self.memory_limit.map(|_| clock::now() + MEMORY_LOOK);
        self.shared.step(Input::Start);
        loop {
            for order in self.shared.take_orders() {
                self.carry_out(order, &mut workers).await;
            }
            if self.shared.is_over() && workers.len() <= self.shared.stuck() {
                break;
            }
            let due = self.shared.next_due();
            tokio::select! {
                () = self.shared.driver.notified() => {}
                () = until(due) => self.shared.step(Input::Tick),
                _ = workers.join_next(), if !workers.is_empty() => {}
                () = until(next_look) => {
                    self.look_at_memory().await;
                    next_look = Some(clock::now() + MEMORY_LOOK);
                }
            }
        }
        // First: the tasks that wait for what does not end go now.
        self.shared.end();
    }

    async fn carry_out(&self, order: Order, workers: &mut JoinSet<()>) {
        match order {
            Order::Start(number) => {
                let shared = Arc::clone(&self.shared);
                let (manager, make) = (self.manager.clone(), Arc::clone(&self.make));
                workers.spawn(worker::run(shared, manager, number, make));
            }
            // Whether it is still there to be asked does not matter.
            Order::Stop(process) => {
                process.ask(Control::Stop { grace: None }).await;
            }
            Order::Kill(process) => Process::kill_soon(&process),
        }
    }

    async fn look_at_memory(&self) {
        let Some(limit) = self.memory_limit else {
            return;
        };
        for (worker, process) in self.shared.ready_processes() {
            let Some(pid) = process.info().pid().filter(|pid| *pid > 0) else {
                continue;
            };
            let held = tokio::task::spawn_blocking(move || resident(pid)).await;
            if let Ok(Some(held)) = held
                && held > limit
            {
                self.shared.step(Input::OverMemory { worker });
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}

/// The memory that a process holds, in bytes: `VmRSS` of its `/proc/<pid>/status` (`proc_pid_status(5)`), which
/// counts in units of 1,024 bytes.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let units = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    units.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_more_than_nothing() {
        let held = resident(std::process::id()).expect("we are there");
        assert!(held > 100 * 1024, "{held} bytes");
        assert_eq!(resident(0), None);
    }
}
