//! The protocol byte by byte, and its readers against any bytes.

use proptest::prelude::*;

use super::wire::*;

fn bytes_of(steps: &[Step<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for step in steps {
        step.write(&mut |part| bytes.extend_from_slice(part));
    }
    bytes
}

/// One of each, with its bytes.
const STEPS: [(Step<'static>, &[u8]); 22] = [
    (Step::Session, b"\x01\0\0\0\0\0\0\0"),
    (Step::Group, b"\x02\0\0\0\0\0\0\0"),
    (
        Step::Descriptor {
            index: 3,
            target: 1,
        },
        b"\x03\0\x03\0\x04\0\0\0\x01\0\0\0",
    ),
    (
        Step::Own {
            target: 2,
            user: 0x0102_0304,
            group: 5,
        },
        b"\x04\0\0\0\x0c\0\0\0\x02\0\0\0\x04\x03\x02\x01\x05\0\0\0",
    ),
    (Step::Nice(-2), b"\x05\0\0\0\x04\0\0\0\xfe\xff\xff\xff"),
    (Step::Umask(0o22), b"\x06\0\0\0\x04\0\0\0\x12\0\0\0"),
    (
        Step::Limit {
            resource: 7,
            soft: 64,
            hard: u64::MAX,
        },
        b"\x07\0\x07\0\x10\0\0\0\x40\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
    ),
    (Step::OomScore(1000), b"\x08\0\0\0\x04\0\0\0\xe8\x03\0\0"),
    (Step::Cgroup { index: 9 }, b"\x09\0\x09\0\0\0\0\0"),
    (
        Step::Groups(b"\x01\0\0\0\x02\0\0\0"),
        b"\x0a\0\0\0\x08\0\0\0\x01\0\0\0\x02\0\0\0",
    ),
    (Step::GroupId(100), b"\x0b\0\0\0\x04\0\0\0\x64\0\0\0"),
    (Step::UserId(100), b"\x0c\0\0\0\x04\0\0\0\x64\0\0\0"),
    (Step::EnterDescriptor { index: 1 }, b"\x0d\0\x01\0\0\0\0\0"),
    (Step::Enter(b"/\0"), b"\x0e\0\0\0\x02\0\0\0/\0"),
    (
        Step::Terminal { target: 0 },
        b"\x0f\0\0\0\x04\0\0\0\0\0\0\0",
    ),
    (Step::NoNewPrivileges, b"\x10\0\0\0\0\0\0\0"),
    (Step::Landlock { index: 2 }, b"\x11\0\x02\0\0\0\0\0"),
    (
        Step::Seccomp(b"\x06\0\0\0\0\0\xff\x7f"),
        b"\x12\0\0\0\x08\0\0\0\x06\0\0\0\0\0\xff\x7f",
    ),
    (
        Step::Arguments(Strings(b"a\0\0")),
        b"\x13\0\0\0\x03\0\0\0a\0\0",
    ),
    (
        Step::Environment(Strings(b"A=b\0")),
        b"\x14\0\0\0\x04\0\0\0A=b\0",
    ),
    (Step::Execute(b"/bin/a\0"), b"\x15\0\0\0\x07\0\0\0/bin/a\0"),
    (
        Step::ExecuteDescriptor { index: 4 },
        b"\x16\0\x04\0\0\0\0\0",
    ),
];

const EVENTS: [Event; 7] = [
    Event::Ready {
        pid: 7,
        has_null: true,
    },
    Event::Started { pid: 9, keeper: 8 },
    Event::Failed {
        code: 21,
        place: 3,
        errno: 2,
    },
    Event::Exited(Exit {
        code: 1,
        status: 7,
        user_micros: 0x0102_0304_0506_0708,
        system_micros: 2,
        max_rss_kib: 3,
    }),
    Event::Gone { killed: 5 },
    Event::Answer {
        number: 6,
        count: 1,
        errno: 3,
    },
    Event::Left(Left {
        number: 4,
        count: 2,
        named: [
            (11, 0),
            (12, 1),
            (0, 0),
            (0, 0),
            (0, 0),
            (0, 0),
            (0, 0),
            (0, 0),
        ],
    }),
];

#[test]
fn every_step_has_its_bytes_and_is_read_back() {
    for (step, bytes) in STEPS {
        assert_eq!(bytes_of(&[step]), bytes, "{step:?}");
        let read: Vec<_> = Steps::new(bytes).collect();
        assert_eq!(read, [Ok(step)]);
    }
    let all = STEPS.map(|(step, _)| step);
    let bytes = bytes_of(&all);
    let read: Vec<_> = Steps::new(&bytes).map(|step| step.expect("read")).collect();
    assert_eq!(read, all);
}

#[test]
fn a_step_that_is_cut_or_longer_than_its_kind_is_named_with_its_place() {
    for (step, bytes) in STEPS {
        let mut all = bytes_of(&[Step::Session]);
        all.extend_from_slice(bytes);
        for length in 9..all.len() {
            let read: Vec<_> = Steps::new(&all[..length]).collect();
            assert_eq!(read.len(), 2, "{step:?} cut at {length}");
            let code = if length < 16 {
                code::REQUEST
            } else {
                step.code()
            };
            assert_eq!(
                read[1],
                Err(Malformed { code, place: 1 }),
                "{step:?} cut at {length}"
            );
        }
        let longer = u8::try_from(bytes.len() - 8 + 1).expect("short");
        let mut all = bytes.to_vec();
        all[4] = longer;
        all.push(b'x');
        let read = Steps::new(&all).next().expect("one");
        assert_eq!(
            read,
            Err(Malformed {
                code: step.code(),
                place: 0
            }),
            "{step:?}"
        );
    }
}

#[test]
fn strings_end_with_their_only_nul_byte() {
    for path in [&b""[..], b"\0", b"a", b"a\0b\0", b"a\0\0"] {
        for step in [Step::Execute(path), Step::Enter(path)] {
            let bytes = bytes_of(&[step]);
            let read = Steps::new(&bytes).next().expect("one");
            assert_eq!(
                read,
                Err(Malformed {
                    code: step.code(),
                    place: 0
                }),
                "{path:?}"
            );
        }
    }
    let list = Strings(b"a\0\0bc\0");
    assert_eq!(
        list.iter().collect::<Vec<_>>(),
        [&b"a\0"[..], b"\0", b"bc\0"]
    );
    assert_eq!(Strings(b"").iter().count(), 0);
}

#[test]
fn heads_commands_and_events_have_their_bytes() {
    for (request, bytes) in [
        (Request::Host, b"\x01\0\0\0\x01\0\0\0\0\0\0\0"),
        (
            Request::Tree { leads_group: false },
            b"\x01\0\0\0\x02\0\0\0\0\0\0\0",
        ),
        (
            Request::Tree { leads_group: true },
            b"\x01\0\0\0\x02\0\0\0\x01\0\0\0",
        ),
    ] {
        assert_eq!(request.write(), *bytes);
        assert_eq!(Request::read(bytes), Some(request));
        assert_eq!(Request::read(&bytes[..11]), None);
    }
    let head = BodyHead {
        is_in_file: false,
        length: 4,
    };
    assert_eq!(head.write(), *b"\x01\0\0\0\0\0\0\0\x04\0\0\0");
    assert_eq!(
        BodyHead::read(b"\x01\0\0\0\0\0\0\0\x04\0\0\0body"),
        Some((head, &b"body"[..]))
    );
    assert_eq!(BodyHead::read(b"\x01\0\0\0\0\0\0\0\x04\0\0\0bod"), None);
    let head = BodyHead {
        is_in_file: true,
        length: 0x0102,
    };
    assert_eq!(BodyHead::read(&head.write()), Some((head, &b""[..])));
    let command = Command {
        number: 7,
        kind: CommandKind::SignalTree(15),
    };
    assert_eq!(
        command.write(),
        *b"\x01\0\0\0\x03\0\0\0\x07\0\0\0\x0f\0\0\0"
    );
    let event = Event::Answer {
        number: 6,
        count: 1,
        errno: 3,
    }
    .write();
    assert_eq!(
        event[..20],
        *b"\x01\0\0\0\x06\0\0\0\x06\0\0\0\x01\0\0\0\x03\0\0\0"
    );
    assert!(event[20..].iter().all(|byte| *byte == 0));
    for event in EVENTS {
        assert_eq!(Event::read(&event.write()), Some(event));
    }
}

#[test]
fn another_version_is_refused_by_both_sides() {
    let mut request = Request::Host.write();
    let mut head = BodyHead {
        is_in_file: true,
        length: 9,
    }
    .write();
    let mut command = Command {
        number: 1,
        kind: CommandKind::Kill,
    }
    .write();
    let mut event = EVENTS[0].write();
    for first in [
        &mut request[0],
        &mut head[0],
        &mut command[0],
        &mut event[0],
    ] {
        *first += 1;
    }
    assert_eq!(Request::read(&request), None);
    assert_eq!(BodyHead::read(&head), None);
    assert_eq!(Command::read(&command), None);
    assert_eq!(Event::read(&event), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let steps: Vec<_> = Steps::new(&bytes).collect();
        let wrong = steps.iter().filter(|step| step.is_err()).count();
        prop_assert!(wrong <= 1);
        if wrong == 0 {
            // What was read is what was written: nothing is passed over.
            let steps: Vec<_> = steps.into_iter().map(|step| step.expect("read")).collect();
            prop_assert_eq!(bytes_of(&steps).len(), bytes.len());
        }
        if let Some(command) = Command::read(&bytes) {
            prop_assert_eq!(&command.write()[..], &bytes[..]);
        }
        let _ = (Request::read(&bytes), BodyHead::read(&bytes), Event::read(&bytes));
    }
}
