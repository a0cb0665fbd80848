//! The parts: one file a kind of work, one line each here.
//!
//! A part's function returns its races. A new part is a new file with such a function and a line in
//! [`PARTS`]; the runner and the table know nothing of what is measured. `transfer` and `tally` are what
//! parts share.

mod bulk;
mod end;
mod fan_out;
mod flood_in;
mod flood_out;
mod gate;
mod logs;
mod many;
mod pool;
mod request;
mod round_trip;
mod sdk_child;
mod spawn;
mod storm;
mod tally;
mod transfer;

use crate::{
    Failure,
    args::{Args, Scale},
    machine::{self, Cores},
    runner::Race,
};

/// All parts, in the order in which they run.
const PARTS: [fn(Scale) -> Vec<Race>; 13] = [
    round_trip::races,
    request::races,
    pool::races,
    flood_in::races,
    flood_out::races,
    fan_out::races,
    bulk::races,
    spawn::races,
    many::races,
    storm::races,
    end::races,
    logs::races,
    sdk_child::races,
];

/// The races that were asked for.
pub(crate) fn races(args: &Args) -> Vec<Race> {
    let all = PARTS.iter().flat_map(|part| part(args.scale));
    match &args.only {
        Some(name) => all.filter(|race| race.title().contains(name)).collect(),
        None => all.collect(),
    }
}

/// An error when a race's child runs elsewhere than the race says.
pub(crate) fn check_cores(pid: Option<u32>, cores: Cores) -> Result<(), Failure> {
    let count = machine::cores_of(pid.ok_or("the child has no process id")?)?;
    if cores == Cores::One && count != 1 {
        return Err(format!("the child may run on {count} cores and not on one").into());
    }
    Ok(())
}

/// How many of many children we start at a time, where that is not what is measured.
pub(crate) const STARTS: usize = 16;

/// The descriptors that a parent of so many children has open: three for each, and some for itself.
pub(crate) fn open_files(children: usize) -> u64 {
    3 * children as u64 + 200
}
