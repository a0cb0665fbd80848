//! Procession beside what a user would pick instead, in one run.
//!
//! `cargo run --release -p procession-bench` runs every part; `--only NAME` those whose name has
//! NAME in it; `--quick` with fewer rounds and less work, and fails only at a gross loss; `--list`
//! says what there is. Every run leaves its figures as `bench.json` in the target directory.
//! `--report` writes `docs/performance.md` anew, `--from FILE` takes figures from such a file.
//!
//! ```text
//!  parts ── races ──► runner ── one sample at a time ──► peers ── child (this binary again)
//!                       │
//!                       └─► stats ──► figures ──► table, bench.json, report
//! ```
//!
//! - A **part** is one kind of work (`parts/`, a file each) and offers one or more races.
//! - A **race** is that work under one setting, done by us and by each peer. Its rounds alternate
//!   between all of them, so that a drifting machine hurts everybody alike.
//! - A **peer** is a library, or raw pipes, behind one small trait (`peers/`). Beside them are blocking
//!   system calls with no runtime, and what Node and Python bring along, where these are there.
//! - A **child** is this binary, started with `child` as its first argument (`child/`); those that are
//!   measured by themselves are a package beside it (`children/`), which cargo builds for that.
//!
//! Every sample runs in a fresh runtime and is bounded in time; the children end with their input,
//! and by a deadline of their own should everything else fail.

mod args;
mod child;
mod figures;
mod machine;
mod parts;
mod peers;
mod places;
mod report;
mod runner;
mod stats;
mod table;

use std::{process::ExitCode, time::Instant};

use crate::{args::Args, figures::Figures};

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
    match run(&args) {
        Ok(code) => code,
        Err(failure) => table::failure(&failure),
    }
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let Some(figures) = figures(args)? else {
        return Ok(ExitCode::SUCCESS);
    };
    table::print(&figures);
    if args.from.is_none() {
        table::written(&figures.write()?);
    }
    if args.report {
        table::written(&report::write(&figures)?);
    }
    Ok(figures.verdict())
}

/// Those of the file, or of the races that were asked for; `None` where these are only listed.
fn figures(args: &Args) -> Result<Option<Figures>, Failure> {
    if let Some(path) = &args.from {
        return Figures::read(path).map(Some);
    }
    let races = parts::races(args);
    if args.list {
        table::list(&races);
        return Ok(None);
    }
    if races.is_empty() {
        return Err("no part has such a name: --list shows them all".into());
    }
    // Before all that work, and not after it.
    if args.report {
        report::check()?;
    }
    let started = Instant::now();
    let outcomes = runner::run(races, args.scale);
    Ok(Some(Figures::of(&outcomes, args.scale, started.elapsed())))
}
