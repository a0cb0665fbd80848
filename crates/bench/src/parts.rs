//! The parts: one file a kind of work, one line each here.
//!
//! A part's function returns its races. A new part is a new file with such a function and a line in
//! [`PARTS`]; the runner and the table know nothing of what is measured.

mod bulk;
mod flood_in;
mod flood_out;
mod logs;
mod round_trip;
mod spawn;

use crate::{
    Failure,
    args::{Args, Scale},
    machine::{self, Cores},
    peers::Peer,
    runner::Race,
};

/// All parts, in the order in which they run.
const PARTS: [fn(Scale) -> Vec<Race>; 6] = [
    round_trip::races,
    flood_in::races,
    flood_out::races,
    bulk::races,
    spawn::races,
    logs::races,
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
async fn check_cores(peer: &mut impl Peer, cores: Cores) -> Result<(), Failure> {
    let count = machine::cores_of(peer.pid().await?)?;
    if cores == Cores::One && count != 1 {
        return Err(format!("the child may run on {count} cores and not on one").into());
    }
    Ok(())
}

/// Receives until so many bytes of payload have come: who loses or duplicates is found out.
async fn receive_bytes(peer: &mut impl Peer, expected: usize) -> Result<(), Failure> {
    let mut bytes = 0;
    while bytes < expected {
        bytes += peer.receive().await?;
    }
    if bytes > expected {
        return Err(format!("{bytes} bytes came and {expected} were sent").into());
    }
    Ok(())
}
