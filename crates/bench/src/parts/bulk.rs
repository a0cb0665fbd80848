//! Bulk: messages of 1 MiB, each way.

use super::transfer::{Style, Transfer};
use crate::{
    args::Scale,
    child::Order,
    machine::Cores,
    peers::{Heim, Ours, Raw, Task},
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race},
};

const SIZE: usize = 1024 * 1024;
const MESSAGES: usize = 512;
/// For proc-heim, which keeps a place for each piece of the round.
const HEIM: usize = 64;
/// proc-heim makes a message of what a read brings, and that may be little.
const LEAST_READ: usize = 512;
/// For Node and Python, which are slower.
const SCRIPTED: usize = 64;

/// What a pipe can do as it is made.
const RAW: &str = "reads and writes of 64 KiB or more on pipes of the default size, in a thread";

pub(super) fn races(scale: Scale) -> Vec<Race> {
    vec![inward(scale), outward(scale)]
}

fn inward(scale: Scale) -> Race {
    let all = messages(scale.work(MESSAGES));
    let heim = messages(scale.work(HEIM));
    let mut contestants = vec![
        all.inward::<Ours>(all.order.count),
        all.inward_blocking().bound(Bound::AtLeast(0.85)).note(RAW),
        all.inward::<Raw>(all.order.count),
        heim.inward::<Heim>(heim.order.bytes() / LEAST_READ)
            .note("cuts messages at 4 KiB: bytes are counted, not messages"),
    ];
    contestants.extend(messages(scale.work(SCRIPTED)).scripts(Task::FloodIn));
    race("1 MiB in, named pipes", contestants)
}

fn outward(scale: Scale) -> Race {
    let all = messages(scale.work(MESSAGES));
    let heim = messages(scale.work(HEIM));
    let mut contestants = vec![
        all.outward::<Ours>(Style::OneByOne),
        // Through the buffer, which takes the length and lets the message itself pass by, uncopied.
        all.outward_blocking(Style::Fed)
            .bound(Bound::AtLeast(0.85))
            .note(RAW),
        all.outward::<Raw>(Style::OneByOne),
        heim.outward::<Heim>(Style::OneByOne),
    ];
    contestants.extend(messages(scale.work(SCRIPTED)).scripts(Task::FloodOut));
    race("1 MiB out, named pipes", contestants)
}

fn messages(count: usize) -> Transfer {
    Transfer {
        order: Order { count, size: SIZE },
        unit: SIZE,
    }
}

fn race(setting: &'static str, contestants: Vec<Contestant>) -> Race {
    Race {
        part: "bulk",
        rounds: ROUNDS,
        limit: LIMIT,
        setting,
        measure: Measure::Bandwidth,
        cores: Cores::All,
        contestants,
    }
}
