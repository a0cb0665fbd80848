//! Procession beside what a user would pick instead, in one run.
//!
//! `cargo run --release -p procession-bench` runs every part; `--only NAME` those whose name has
//! NAME in it; `--quick` with fewer rounds and less work; `--list` says what there is.
//!
//! ```text
//!  parts ── races ──► runner ── one sample at a time ──► peers ── child (this binary again)
//!                       │
//!                       └─► stats ──► table
//! ```
//!
//! - A **part** is one kind of work (`parts/`, a file each) and offers one or more races.
//! - A **race** is that work under one setting, done by us and by each peer. Its rounds alternate
//!   between all of them, so that a drifting machine hurts everybody alike.
//! - A **peer** is a library, or raw pipes, behind one small trait (`peers/`).
//! - A **child** is this binary, started with `child` as its first argument (`child/`).
//!
//! Every sample runs in a fresh runtime and is bounded in time; the children end with their input,
//! and by a deadline of their own should everything else fail.

mod args;
mod child;
mod machine;
mod parts;
mod peers;
mod runner;
mod stats;
mod table;

use std::process::ExitCode;

/// Any error: a benchmark can only report it.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(child::ARGUMENT) {
        return child::main(arguments);
    }
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(usage) => return table::usage(&usage),
    };
    let races = parts::races(&args);
    if args.list {
        return table::list(&races);
    }
    if races.is_empty() {
        return table::usage("no part has such a name: --list shows them all");
    }
    table::machine(&machine::describe(), args.scale);
    let outcomes = runner::run(races, args.scale);
    table::print(&outcomes)
}
