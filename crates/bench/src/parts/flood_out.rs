//! Flood out: messages of 64 bytes to the child, until it has confirmed that it has them all.

use super::transfer::{Style, Transfer};
use crate::{
    args::Scale,
    child::Order,
    machine::Cores,
    peers::{Heim, Ours, Raw, Task},
    runner::{Bound, Contestant, LIMIT, Measure, ROUNDS, Race},
};

const SIZE: usize = 64;
/// How many, for each style: a round is to take about a quarter of a second, or less.
const FED: usize = 500_000;
const ONE_BY_ONE: usize = 100_000;
/// For those that take longer than that for each.
const HEIM: usize = 25_000;
const SCRIPTED: usize = 20_000;
/// How many tasks share a child.
const TASKS: usize = 16;

pub(super) fn races(scale: Scale) -> Vec<Race> {
    vec![sink(scale), one_by_one(scale), tasks(scale)]
}

fn sink(scale: Scale) -> Race {
    // Fewer would take too short a time to tell anything, also in a quick run.
    let all = messages(FED);
    let heim = messages(scale.work(HEIM));
    race(
        "named pipes, sink",
        vec![
            all.outward::<Ours>(Style::Fed),
            all.outward_blocking(Style::Fed)
                .bound(Bound::AtLeast(0.5))
                .note("a buffered writer on raw pipes, in a thread"),
            all.outward::<Raw>(Style::Fed),
            heim.outward::<Heim>(Style::OneByOne)
                .note("has no sink: one by one here too"),
        ],
    )
}

fn one_by_one(scale: Scale) -> Race {
    let all = messages(scale.work(ONE_BY_ONE));
    let heim = messages(scale.work(HEIM));
    let mut contestants = vec![
        all.outward::<Ours>(Style::OneByOne),
        one_write_each(all).bound(Bound::AtLeast(0.6)),
        all.outward::<Raw>(Style::OneByOne),
        heim.outward::<Heim>(Style::OneByOne)
            .bound(Bound::AtLeast(4.0)),
    ];
    contestants.extend(messages(scale.work(SCRIPTED)).scripts(Task::FloodOut));
    race("named pipes, one by one", contestants)
}

fn tasks(scale: Scale) -> Race {
    let all = messages(scale.work(ONE_BY_ONE));
    let heim = messages(scale.work(HEIM));
    race(
        "named pipes, one by one from 16 tasks",
        vec![
            all.outward_by_tasks::<Ours>(TASKS),
            one_write_each(all).bound(Bound::AtLeast(1.0)),
            heim.outward_by_tasks::<Heim>(TASKS)
                .bound(Bound::AtLeast(4.0)),
        ],
    )
}

fn one_write_each(messages: Transfer) -> Contestant {
    messages
        .outward_blocking(Style::OneByOne)
        .note("one write a message, in a thread")
}

fn messages(count: usize) -> Transfer {
    Transfer {
        order: Order { count, size: SIZE },
        unit: 1,
    }
}

fn race(setting: &'static str, contestants: Vec<Contestant>) -> Race {
    Race {
        part: "flood out",
        rounds: ROUNDS,
        limit: LIMIT,
        setting,
        measure: Measure::Rate,
        cores: Cores::All,
        contestants,
    }
}
