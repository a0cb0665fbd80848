//! Random numbers and graphs for tests.

use super::{Graph, Node};

pub(crate) struct Random(fastrand::Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }

    /// A graph of so many nodes, whose indices say nothing of who needs whom.
    pub(crate) fn graph(&mut self, count: usize) -> Graph {
        let mut order: Vec<usize> = (0..count).collect();
        self.shuffle(&mut order);
        let mut made: Vec<Node> = (0..count).map(|at| Node::new(at.to_string())).collect();
        for later in 1..count {
            for _ in 0..self.below(4) {
                let earlier = order[self.below(later)];
                made[order[later]].needs.push(earlier.to_string());
            }
        }
        Graph::new(made).unwrap()
    }
}
