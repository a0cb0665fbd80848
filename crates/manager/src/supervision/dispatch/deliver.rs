//! Which worker gets which request.

use std::cmp::Reverse;

use super::{Dispatch, Effect};

impl Dispatch {
    /// Sends suspects to workers that have nothing else, and empties one more for the next of them.
    pub(super) fn send_suspects(&mut self) {
        while let Some(request) = self.requests.first_suspect() {
            let open = self.workers.iter().filter(|worker| worker.is_open());
            let Some((load, worker)) = open
                .map(|worker| {
                    let is_reserved = self.reserved == Some(worker.id);
                    let rank = (worker.load(), !is_reserved, Reverse(worker.used));
                    (rank, worker)
                })
                .min_by_key(|(rank, _)| *rank)
                .map(|(rank, worker)| (rank.0, worker.id))
            else {
                break;
            };
            if !self.may_isolate() {
                break;
            }
            if load > 0 {
                self.reserved = Some(worker);
                return;
            }
            self.send(request, worker, true);
        }
        self.reserved = None;
    }

    /// Whether one more worker may be kept for a suspect. Where a worker serves one at a time, that costs
    /// the others nothing.
    fn may_isolate(&self) -> bool {
        let isolated = self.workers.iter().filter(|worker| worker.alone).count();
        self.rules.in_flight == 1 || isolated < (self.workers.ready() / 2).max(1)
    }

    /// Sends what waits to the least loaded; among equals to the one that was used last, so that the
    /// others may become idle.
    pub(super) fn send_common(&mut self) {
        while let Some(request) = self.requests.first_common() {
            let limit = self.rules.in_flight;
            let free = self.workers.iter().filter(|worker| {
                worker.is_open() && worker.load() < limit && self.reserved != Some(worker.id)
            });
            let best = free.min_by_key(|worker| (worker.load(), Reverse(worker.used)));
            let Some(worker) = best.map(|worker| worker.id) else {
                return;
            };
            self.send(request, worker, false);
        }
    }

    fn send(&mut self, request: u64, worker: u64, alone: bool) {
        let attempt = self.requests.give(request, worker);
        self.uses += 1;
        if let Some(found) = self.workers.get_mut(worker) {
            found.add(request, alone, self.uses);
        }
        self.effects.push(Effect::Send {
            request,
            worker,
            attempt,
        });
    }
}
