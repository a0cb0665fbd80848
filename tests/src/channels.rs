//! The channels that most behaviours are tested over.

use procession_manager::{Framing, Messaging};

/// Lines and frames, each over standard input and output and over named pipes.
pub fn all_channels() -> [Messaging; 4] {
    [
        Messaging::standard_io().framing(Framing::Lines),
        Messaging::standard_io().framing(Framing::Frames),
        Messaging::named_pipes().framing(Framing::Lines),
        Messaging::named_pipes().framing(Framing::Frames),
    ]
}
