//! Flood in: the child sends messages of 64 bytes as fast as it can, in writes of 64 KiB.

use super::transfer::Transfer;
use crate::{
    args::Scale,
    child::Order,
    machine::Cores,
    peers::{Heim, Ours, Peer, Raw, Task},
    runner::{Bound, LIMIT, Measure, ROUNDS, Race},
};

const SIZE: usize = 64;
const MESSAGES: usize = 1_000_000;
/// For Node and Python, which take longer than that for each.
const SCRIPTED: usize = 20_000;

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let count = scale.work(MESSAGES);
    let all = messages(count, SIZE);
    let lines = messages(count, SIZE - Heim::DELIMITER);
    let scripted = messages(scale.work(SCRIPTED), SIZE);
    let heim = "a message of 63 bytes, so that its reads of 4 KiB cut none; \
                a buffer for the whole round, so that it loses none";
    let mut contestants = vec![
        all.inward::<Ours>(count),
        all.inward_blocking()
            .bound(Bound::AtLeast(0.5))
            .note("a buffered reader on raw pipes, in a thread"),
        all.inward::<Raw>(count),
        lines
            .inward::<Heim>(count)
            .bound(Bound::AtLeast(2.5))
            .note(heim),
    ];
    contestants.extend(scripted.scripts(Task::FloodIn));
    vec![Race {
        part: "flood in",
        rounds: ROUNDS,
        limit: LIMIT,
        setting: "named pipes",
        measure: Measure::Rate,
        cores: Cores::All,
        contestants,
    }]
}

fn messages(count: usize, size: usize) -> Transfer {
    Transfer {
        order: Order { count, size },
        unit: 1,
    }
}
