//! The async side over real pipes, against a parent in the same process. The parent blocks the test's
//! thread, and the driver runs on another.

mod ending;
mod receiving;
mod requests;
mod sending;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use procession_wire::Framing;

use super::Parent;
use crate::test_parent::{LIMIT, TestParent, channel};

async fn connected(framing: Framing) -> (Parent, TestParent) {
    let (setup, ends, parent) = channel(framing, LIMIT);
    (Parent::over(setup, ends).await.unwrap(), parent)
}

/// Connected, greeted, and with all the credit there is.
async fn frames() -> (Parent, TestParent) {
    let (child, mut parent) = connected(Framing::Frames).await;
    parent.greet();
    (child, parent)
}

async fn lines() -> (Parent, TestParent) {
    connected(Framing::Lines).await
}

/// Polls a future once and drops it.
fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
