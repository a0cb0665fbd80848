//! Random numbers and graphs for tests.

use super::{Graph, Node};

/// A small generator of numbers that are random enough (xorshift64*). The seed must not be zero.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % bound
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
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
