use proptest::prelude::*;

use super::*;

fn batch(numbers: Range<u32>) -> Batch {
    let mut chunk = Vec::new();
    let mut payloads = Vec::new();
    for number in numbers {
        let start = u32::try_from(chunk.len()).expect("small");
        chunk.extend(number.to_be_bytes());
        payloads.push(start..start + 4);
    }
    Batch::new(chunk.into(), payloads.into_iter().collect())
}

fn buffer(messages: usize, overflow: Overflow) -> Buffer {
    Buffer::new(Limits {
        messages,
        bytes: 1 << 20,
        overflow,
    })
}

fn number(message: &Message) -> u32 {
    u32::from_be_bytes(message.as_bytes().try_into().expect("four bytes"))
}

/// Takes everything: numbers, and how many were lost before which.
fn drain(buffer: &mut Buffer) -> (Vec<u32>, u64) {
    let (mut numbers, mut lost) = (Vec::new(), 0);
    loop {
        buffer.release();
        match buffer.take(Waker::noop()) {
            Taken::Run(mut run) => {
                while let Some(message) = run.next() {
                    numbers.push(number(&message));
                }
            }
            Taken::Error(ReceiveMessageError::LostMessages(count)) => lost += count,
            Taken::Error(_) => {}
            Taken::Empty | Taken::Ended => return (numbers, lost),
        }
    }
}

#[test]
fn a_blocking_buffer_has_room_for_exactly_what_it_may_hold() {
    let mut buffer = buffer(3, Overflow::Block);
    let (limits, many) = (buffer.limits(), batch(0..10));
    assert_eq!(buffer.room(&many, 0, limits), 3);
    buffer.push(many.clone(), 0..3);
    assert_eq!(buffer.room(&many, 3, limits), 0);
    let Taken::Run(run) = buffer.take(Waker::noop()) else {
        panic!("a run")
    };
    assert_eq!(run.len(), 1);
    assert_eq!(
        buffer.room(&many, 3, limits),
        0,
        "the consumer is busy with it"
    );
    buffer.release();
    assert!(buffer.wakes_reader());
    assert_eq!(buffer.room(&many, 3, limits), 1);
    buffer.push(many.clone(), 3..4);
    assert_eq!(drain(&mut buffer).0, [1, 2, 3]);
}

#[test]
fn room_is_in_bytes_too_and_one_message_may_overshoot() {
    let mut buffer = Buffer::new(Limits {
        messages: 100,
        bytes: credit::cost(4) + 1,
        overflow: Overflow::Block,
    });
    let limits = buffer.limits();
    assert_eq!(buffer.room(&batch(0..10), 0, limits), 2);
}

#[test]
fn the_newest_stay_and_the_lost_are_counted_where_they_were() {
    let mut buffer = buffer(3, Overflow::DropOldest);
    buffer.push(batch(0..5), 0..5);
    buffer.push(batch(5..7), 0..2);
    assert!(matches!(
        buffer.take(Waker::noop()),
        Taken::Error(ReceiveMessageError::LostMessages(4))
    ));
    assert_eq!(drain(&mut buffer), (vec![4, 5, 6], 0));
}

#[test]
fn an_error_keeps_its_place_between_messages() {
    let mut buffer = buffer(10, Overflow::Block);
    buffer.push(batch(0..1), 0..1);
    buffer.push_error(ReceiveMessageError::MessageTooLarge { limit: 9 });
    buffer.push(batch(1..2), 0..1);
    buffer.end();
    assert!(matches!(buffer.take(Waker::noop()), Taken::Run(_)));
    assert!(matches!(buffer.take(Waker::noop()), Taken::Error(_)));
    assert!(matches!(buffer.take(Waker::noop()), Taken::Run(_)));
    assert!(matches!(buffer.take(Waker::noop()), Taken::Ended));
}

#[test]
fn errors_have_a_bound_and_no_message_counts_as_lost_for_them() {
    for overflow in [Overflow::Block, Overflow::DropOldest] {
        let mut buffer = buffer(3, overflow);
        buffer.push(batch(7..8), 0..1);
        for run in 0..1000 {
            buffer.push_error(ReceiveMessageError::MessageTooLarge { limit: 9 });
            buffer.push_error(ReceiveMessageError::NewRun(run));
        }
        assert!(buffer.segments.len() <= 4, "{}", buffer.segments.len());
        assert_eq!(drain(&mut buffer), (vec![7], 0));
        assert_eq!((buffer.errors, buffer.dropped()), (0, 0));
    }
}

#[test]
fn what_is_put_back_comes_first_again() {
    let mut first = buffer(64, Overflow::Block);
    first.push(batch(0..10), 0..10);
    let Taken::Run(mut run) = first.take(Waker::noop()) else {
        panic!("a run")
    };
    assert_eq!(run.len(), 4);
    run.next();
    first.put_back(run);
    first.release();
    let mut next = buffer(64, Overflow::Block);
    next.push(batch(10..12), 0..2);
    next.adopt(&mut first);
    assert_eq!(drain(&mut next).0, (1..12).collect::<Vec<_>>());
    assert_eq!(next.held_cost(), 0);
}

proptest! {
    /// What arrived and what was reported lost is all there was, in order, and never too much held.
    #[test]
    fn drop_oldest_accounts_for_every_message(
        capacity in 1..40usize,
        steps in prop::collection::vec((prop::bool::ANY, 0..30u32), 1..60),
    ) {
        let mut buffer = buffer(capacity, Overflow::DropOldest);
        let (mut sent, mut got, mut lost) = (0, Vec::new(), 0);
        for (push, count) in steps {
            if push {
                let batch = batch(sent..sent + count);
                buffer.push(batch.clone(), 0..batch.len());
                sent += count;
                prop_assert!(buffer.held <= capacity);
            } else {
                buffer.release();
                match buffer.take(Waker::noop()) {
                    Taken::Run(mut run) => while let Some(message) = run.next() {
                        got.push(number(&message));
                    },
                    Taken::Error(ReceiveMessageError::LostMessages(count)) => lost += count,
                    _ => {}
                }
            }
        }
        let (rest, more_lost) = drain(&mut buffer);
        got.extend(rest);
        prop_assert!(got.is_sorted());
        prop_assert_eq!(got.len() as u64 + lost + more_lost, u64::from(sent));
        prop_assert_eq!(buffer.held_cost(), 0);
    }
}
