//! Parents and children that show Procession at work.
//!
//! Each program in `src/bin` is a whole example, run by `cargo run --bin NAME`: `quickstart`,
//! `json_worker`, `message_pack_worker`, `typed_request`, `conversation`, `shell_child`, `python_child`,
//! `python_pool`, `services`, `fan_out` and `logs`. Where the child is a Rust program, the example starts itself once more, with an
//! argument. `sdk_worker` and `sdk_worker_async` are children that any parent can try requests on.
//!
//! The children in `children` are single files that need no library, ours included. This crate
//! says only where they are, so that tests can start them too.

/// Path of a Python child that sends each line back, over standard input and output.
pub const LINES_ECHO_PY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/children/lines_echo.py");

/// Path of a Python child that sends each message back in frames, over standard input and output
/// or over named pipes, as its environment says.
pub const FRAMES_ECHO_PY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/children/frames_echo.py");

/// Path of a complete Python child: messages, requests, items, cancels, credit, stop, lease.
pub const WORKER_PY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/children/worker.py");

/// Path of the same child for Node.
pub const WORKER_MJS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/children/worker.mjs");
