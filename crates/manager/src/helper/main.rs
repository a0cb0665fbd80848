//! The helper: a small program that starts, reaps and contains the children of a manager.
//!
//! ```text
//! host ── socket ──► shim ── fork ──► keeper ── fork, exec ──► root and all its descendants
//!   ▲                 parent of the     │  subreaper of one tree
//!   └─────────────────── socket ────────┘  started, exited, gone
//! ```
//!
//! One program, three parts that a process can play:
//!
//! - The **shim** ([`shim`]) is what the host starts, once for each manager. It takes requests and
//!   forks a keeper for each. It is also the subreaper behind the keepers: what a keeper that was
//!   killed leaves comes to the shim, which kills it.
//! - A **keeper** ([`keeper`]) has one tree: it forks the root, reaps every process of the tree,
//!   tells the host what happens, and kills the tree when the host says so or is gone.
//! - The **set-up** ([`setup`]) is what the root does between its fork and its program.
//!
//! There is no standard library, no allocation and one thread. All waiting is in one `ppoll` a
//! process; nothing else may block, since a shim or keeper that waits contains nothing. `wire` has
//! the protocol, which the library shares; `sys` has the system calls.

#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

mod keeper;
mod memory;
mod setup;
mod shim;
mod sys;
#[allow(dead_code, reason = "the library uses the other half")]
mod wire;

/// The stack is aligned, and nothing else is set up. The host's socket is descriptor 0.
extern "C" fn main() -> ! {
    shim::run(0)
}

/// Nothing here panics on purpose. A shim that did would end all trees, by the end of its sockets.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(101)
}

/// Referred to by the core library, whose functions are built to unwind; nothing here unwinds.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
