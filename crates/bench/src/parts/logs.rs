//! Logs: output at full speed, what that costs the parent, and finding the last lines of many.
//!
//! The lines of the flood are of 100 bytes, written 64 KiB at a time by this binary; those of the queries are
//! `seq`'s, 79 MB. A query's time has nothing else in it than the query.

mod flood;
mod query;

use std::time::Duration;

use flood::Cost;
use procession_manager::LogRoute;

use crate::{
    args::Scale,
    machine::Cores,
    peers::{Heim, Ours, Peer},
    runner::{Bound, Contestant, Measure, Race, Sample, Work, limit, work},
};

/// Each child prints all of its lines anew, and proc-heim takes seconds for them.
const LIMIT: Duration = Duration::from_mins(1);
const BYTES: usize = 1_000_000_000;
const LINES: usize = 10_000_000;
/// Of CPU time in the parent, for so many megabytes.
const CPU: (Duration, usize) = (Duration::from_secs(1), 1000);

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let bytes = scale.work(BYTES);
    let lines = scale.work(LINES);
    let ours = |again, route| {
        one(
            Ours::NAME,
            None,
            work(move || query::ours(lines, route, again)),
        )
    };
    let heim = |bound| one(Heim::NAME, Some(bound), work(move || query::heim(lines)));
    let count = || {
        one(
            "wc -l",
            Some(Bound::AtMost(2.0)),
            work(move || query::count(lines)),
        )
    };
    let flood = |name, route, cost| one(name, None, work(move || flood::ours(bytes, route, cost)));
    let cat = |bound, cost| one("cat > file", bound, work(move || flood::cat(bytes, cost)));
    vec![
        race(
            "output through a pipe",
            scale.heavy(5),
            Measure::Bandwidth,
            vec![
                flood(Ours::NAME, LogRoute::Pipe, Cost::Time),
                cat(Some(Bound::AtLeast(0.7)), Cost::Time),
                flood("our file route", LogRoute::File, Cost::Time),
            ],
        ),
        race(
            "CPU time a MB",
            scale.heavy(5),
            Measure::Time,
            vec![
                flood(Ours::NAME, LogRoute::Pipe, Cost::Cpu),
                limit("limit of 1 s a GB", Sample::took(CPU.1, CPU.0)),
                cat(None, Cost::Cpu),
                flood("our file route", LogRoute::File, Cost::Cpu),
            ],
        ),
        race(
            "first query, pipe",
            scale.heavy(3),
            Measure::Time,
            vec![
                ours(false, LogRoute::Pipe),
                count(),
                heim(Bound::AtMost(1.0)),
            ],
        ),
        race(
            "first query, file",
            scale.heavy(3),
            Measure::Time,
            vec![
                ours(false, LogRoute::File),
                count(),
                heim(Bound::AtMost(1.0)),
            ],
        ),
        race(
            "second query, pipe",
            scale.heavy(3),
            Measure::Rate,
            vec![ours(true, LogRoute::Pipe), heim(Bound::AtLeast(500.0))],
        ),
        race(
            "second query, file",
            scale.heavy(3),
            Measure::Rate,
            vec![ours(true, LogRoute::File), heim(Bound::AtLeast(500.0))],
        ),
    ]
}

fn race(
    setting: &'static str,
    rounds: usize,
    measure: Measure,
    contestants: Vec<Contestant>,
) -> Race {
    Race {
        part: "logs",
        rounds,
        limit: LIMIT,
        setting,
        measure,
        cores: Cores::All,
        contestants,
    }
}

fn one(name: &'static str, bound: Option<Bound>, work: Work) -> Contestant {
    Contestant {
        name,
        bound,
        note: None,
        work,
    }
}
