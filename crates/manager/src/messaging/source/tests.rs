use std::time::Duration;

use super::*;
use crate::messaging::testing::TestPipe;

const BOUNDS: DrainBounds = DrainBounds {
    quiet: Duration::from_millis(50),
    bound: Duration::from_secs(2),
};

fn source() -> (TestPipe, Arc<Flag>, Source<TestPipe>) {
    let (pipe, exit) = (TestPipe::new(64), Arc::new(Flag::default()));
    let source = Source::new(pipe.clone(), Arc::clone(&exit), BOUNDS);
    (pipe, exit, source)
}

async fn next(source: &mut Source<TestPipe>) -> (Next, BytesMut) {
    let mut buffer = BytesMut::new();
    let next = source.next(&mut buffer, 64).await;
    (next, buffer)
}

#[tokio::test(start_paused = true)]
async fn an_end_of_file_is_the_end_whether_the_child_lives_or_not() {
    for exited in [false, true] {
        let (pipe, exit, mut source) = source();
        pipe.child_writes(b"last words");
        pipe.no_more_writers();
        if exited {
            exit.set();
        }
        assert_eq!(next(&mut source).await.1, "last words");
        assert!(matches!(
            next(&mut source).await.0,
            Next::End(OutputState::Complete)
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_exit_silence_ends_it() {
    let (pipe, exit, mut source) = source();
    pipe.child_writes(b"last words");
    exit.set();
    assert_eq!(next(&mut source).await.1, "last words");
    let since = Instant::now();
    assert!(matches!(
        next(&mut source).await.0,
        Next::End(OutputState::Cut)
    ));
    assert_eq!(since.elapsed(), BOUNDS.quiet);
}

#[tokio::test(start_paused = true)]
async fn silence_does_not_count_while_a_child_that_is_being_started_may_have_a_copy() {
    let (pipe, exit, mut source) = source();
    pipe.has_copies(true);
    exit.set();
    let starting = tokio::spawn(async move {
        tokio::time::sleep(BOUNDS.quiet * 5 / 2).await;
        pipe.has_copies(false);
        pipe
    });
    let since = Instant::now();
    assert!(matches!(
        next(&mut source).await.0,
        Next::End(OutputState::Cut)
    ));
    // Two and a half with the copy, the rest of that period, and a whole one without it.
    assert_eq!(since.elapsed(), BOUNDS.quiet * 4);
    starting.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_copy_does_not_move_the_bound() {
    let (pipe, exit, mut source) = source();
    pipe.has_copies(true);
    exit.set();
    let since = Instant::now();
    assert!(matches!(
        next(&mut source).await.0,
        Next::End(OutputState::Cut)
    ));
    assert_eq!(since.elapsed(), BOUNDS.bound);
}

#[tokio::test(start_paused = true)]
async fn each_chunk_rearms_the_silence_and_the_bound_ends_it_all() {
    let (pipe, exit, mut source) = source();
    exit.set();
    let writer = tokio::spawn(async move {
        loop {
            pipe.child_writes(b"and another thing");
            tokio::time::sleep(BOUNDS.quiet * 4 / 5).await;
        }
    });
    let since = Instant::now();
    while !matches!(next(&mut source).await.0, Next::End(OutputState::Cut)) {}
    let took = since.elapsed();
    assert!(
        took >= BOUNDS.bound && took < BOUNDS.bound + BOUNDS.quiet,
        "{took:?}"
    );
    writer.abort();
}

/// One who never stops writing leaves no moment without something to read.
#[tokio::test(start_paused = true)]
async fn the_bound_ends_it_although_there_is_always_more() {
    let (pipe, exit, mut source) = source();
    exit.set();
    let since = Instant::now();
    for _ in 0..100 {
        pipe.child_writes(b"and another thing");
        if let (Next::End(state), _) = next(&mut source).await {
            assert_eq!(state, OutputState::Cut);
            assert_eq!(since.elapsed(), BOUNDS.bound);
            return;
        }
        tokio::time::advance(BOUNDS.bound / 80).await;
    }
    panic!("it reads for ever");
}

#[tokio::test(start_paused = true)]
async fn an_exit_while_waiting_starts_the_drain() {
    let (_pipe, exit, mut source) = source();
    let waiting = tokio::spawn(async move { next(&mut source).await.0 });
    tokio::task::yield_now().await;
    exit.set();
    assert!(matches!(
        waiting.await.expect("no panic"),
        Next::End(OutputState::Cut)
    ));
}
