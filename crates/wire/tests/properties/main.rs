//! What holds for every stream, however it is cut: properties, not examples.

mod credit;
mod frames;
mod lines;
mod memory;
mod strategy;
