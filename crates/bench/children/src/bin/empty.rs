//! Does nothing: what starting and ending any Rust program costs.

fn main() {}
