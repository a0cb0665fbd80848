use std::{
    io::Write,
    sync::{Arc, mpsc::sync_channel},
    thread,
};

use futures::StreamExt;
use procession_wire::{Frame, Framing};
use tokio::{runtime::Builder, test};

use super::{connected, frames};
use crate::{
    SendError,
    test_parent::{LIMIT, channel, until},
    tokio::Parent,
};

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_clone_flushes_says_bye_and_closes_both_ends() {
    let (child, mut parent) = frames().await;
    let endpoint = Arc::downgrade(child.endpoint());
    let other = child.clone();
    child.feed("fed").await.unwrap();
    drop(child);
    other.feed("and more").await.unwrap();
    drop(other);
    assert_eq!(parent.next_message(), b"fed");
    assert_eq!(parent.next_message(), b"and more");
    assert_eq!(parent.next(), Some(Frame::Bye { status: 0 }));
    assert_eq!(parent.next(), None);
    // The driver ends too.
    until(|| endpoint.upgrade().is_none());
    assert!(parent.to_child.unwrap().write_all(b"x").is_err());
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn finish_says_bye_for_all_clones_and_wakes_all_who_wait() {
    let (child, mut parent) = connected(Framing::Frames).await;
    parent.greet_without_credit();
    let other = child.clone();
    let sending = child.clone();
    let sender = tokio::spawn(async move { sending.send("never sent").await });
    let receiving = child.messages();
    let receiver = tokio::spawn(receiving.count());
    child.ready("fine").await.unwrap();
    child.finish(7).await.unwrap();
    assert_eq!(parent.next(), Some(Frame::Ready("fine".into())));
    assert_eq!(parent.next(), Some(Frame::Bye { status: 7 }));
    assert_eq!(parent.next(), None);
    assert!(matches!(sender.await.unwrap(), Err(SendError::Finished)));
    assert_eq!(receiver.await.unwrap(), 0);
    for outcome in [
        other.send("x").await,
        other.feed("x").await,
        other.flush().await,
        other.ready("").await,
    ] {
        assert!(matches!(outcome, Err(SendError::Finished)), "{outcome:?}");
    }
    assert!(other.receive().await.unwrap().is_none());
    other.finish(8).await.unwrap();
}

#[test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_does_not_keep_the_connection() {
    let (child, mut parent) = frames().await;
    let mut messages = child.messages();
    parent.message(b"one");
    assert_eq!(messages.next().await.unwrap().unwrap(), "one");
    let waiting = tokio::spawn(async move { messages.next().await.is_none() });
    drop(child);
    assert_eq!(parent.next(), Some(Frame::Bye { status: 0 }));
    assert!(waiting.await.unwrap());
}

#[test]
async fn a_drop_flushes_with_no_help_from_the_runtime() {
    let (setup, ends, mut parent) = channel(Framing::Frames, LIMIT);
    let (greeted, greeting) = sync_channel(1);
    let reader = thread::spawn(move || {
        parent.greet();
        greeted.send(()).unwrap();
        let message = parent.next_message();
        (message.len(), parent.next())
    });
    let child = Parent::over(setup, ends).await.unwrap();
    greeting.recv().unwrap();
    while !crate::lock(&child.endpoint().inbox).session.may_send() {
        tokio::task::yield_now().await;
    }
    // More than the pipe holds, on the only thread of this runtime.
    child.feed(vec![1; 1_000_000]).await.unwrap();
    drop(child);
    let (len, bye) = reader.join().unwrap();
    assert_eq!(len, 1_000_000);
    assert_eq!(bye, Some(Frame::Bye { status: 0 }));
}

#[std::prelude::v1::test]
fn when_the_runtime_ends_first_those_who_wait_are_told_and_bye_is_said() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_io()
        .build()
        .unwrap();
    let (child, mut parent) = runtime.block_on(connected(Framing::Frames));
    parent.greet_without_credit();
    let receiving = child.clone();
    let receiver = thread::spawn(move || elsewhere(receiving.receive()));
    drop(runtime);
    assert!(receiver.join().unwrap().unwrap().is_none());
    let outcome = elsewhere(child.send("too late"));
    assert!(matches!(outcome, Err(SendError::Io(_))), "{outcome:?}");
    drop(child);
    assert_eq!(parent.next(), Some(Frame::Bye { status: 0 }));
}

/// Runs it on a runtime of its own.
fn elsewhere<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}
