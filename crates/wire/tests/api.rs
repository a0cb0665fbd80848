//! What users of the crate rely on without writing it down: threads, clones, sizes.

use std::{fmt::Debug, panic::RefUnwindSafe};

use procession_wire::{
    Channel, ChildEnvironment, CreditExceeded, EncodeError, EnvironmentError, EnvironmentErrorKind,
    Features, Frame, FrameDecoder, FrameError, FrameHead, FramePrefix, Framing, Hello, LineDecoder,
    LineStep, LineTooLong, Message, MessagingEnvironment, ParsedFrame, ReceiveWindow, SendCredit,
    TreeTag, UnknownFraming,
};

fn ordinary<T: Clone + Debug + Send + Sync + Unpin + RefUnwindSafe + 'static>() {}

fn small<T: Copy>(most: usize) {
    assert!(size_of::<T>() <= most, "{} bytes", size_of::<T>());
}

fn error<T: std::error::Error + Clone + PartialEq + Send + Sync + 'static>() {}

#[test]
fn values_cross_threads_and_are_cloned() {
    ordinary::<Message>();
    ordinary::<Frame>();
    ordinary::<FrameDecoder>();
    ordinary::<ParsedFrame>();
    ordinary::<LineDecoder>();
    ordinary::<LineStep>();
    ordinary::<SendCredit>();
    ordinary::<ReceiveWindow>();
    ordinary::<Channel>();
    ordinary::<ChildEnvironment>();
    ordinary::<MessagingEnvironment>();
    ordinary::<EnvironmentErrorKind>();
    ordinary::<TreeTag>();
    #[cfg(feature = "codec")]
    {
        ordinary::<procession_wire::codec::LineCodec>();
        ordinary::<procession_wire::codec::FrameCodec>();
    }
}

#[test]
fn what_is_copied_is_small() {
    small::<Framing>(1);
    small::<Features>(4);
    small::<Hello>(12);
    small::<FrameHead>(24);
    small::<FramePrefix>(40);
    #[cfg(any(feature = "json", feature = "message-pack"))]
    small::<procession_wire::MessageFormat>(2);
    #[cfg(feature = "message-pack")]
    small::<procession_wire::Encoding>(1);
}

#[test]
fn errors_are_errors() {
    error::<EncodeError>();
    error::<FrameError>();
    error::<LineTooLong>();
    error::<CreditExceeded>();
    error::<EnvironmentError>();
    error::<UnknownFraming>();
    #[cfg(any(feature = "json", feature = "message-pack"))]
    error::<procession_wire::SerdeError>();
}

#[test]
fn what_a_child_must_not_inherit_is_complete() {
    use procession_wire::env::RESERVED;

    let mut messaging = MessagingEnvironment::new(
        Framing::Frames,
        1,
        Channel::Pipe("/i".into()),
        Channel::Pipe("/o".into()),
    );
    messaging.lease = Some(std::time::Duration::from_nanos(1));
    let written = ChildEnvironment::new("/d")
        .with_messaging(messaging)
        .write();
    assert_eq!(written.len(), 8);
    assert!(
        written.contains(&("MESSAGE_LEASE", "1".into())),
        "a lease is rounded up"
    );
    for (variable, _) in written {
        assert!(RESERVED.contains(&variable), "{variable}");
    }
    for variable in [
        "PROCESSION_TREE",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_PIDFDID",
        "LISTEN_FDNAMES",
    ] {
        assert!(RESERVED.contains(&variable), "{variable}");
    }
    assert_eq!(RESERVED.len(), 16);
}

#[test]
fn a_limit_beyond_what_a_frame_can_say_is_the_highest() {
    use procession_wire::{MAX_MESSAGE_LIMIT, frame::check_payload};

    let (input, output) = (Channel::Stdio, Channel::None);
    let messaging = MessagingEnvironment::new(Framing::Frames, usize::MAX, input, output);
    let written = ChildEnvironment::new("/d")
        .with_messaging(messaging)
        .write();
    assert!(written.contains(&("MESSAGE_LIMIT", MAX_MESSAGE_LIMIT.to_string().into())));
    let (highest, over) = (MAX_MESSAGE_LIMIT, MAX_MESSAGE_LIMIT + 1);
    assert_eq!(check_payload(highest, usize::MAX), Ok(()));
    let error = EncodeError::TooLarge {
        len: over,
        limit: highest,
    };
    assert_eq!(check_payload(over, usize::MAX), Err(error));
    let prefix = FrameHead::Request { id: 1 }.prefix(highest);
    assert_eq!(prefix[..5], [0xff, 0xff, 0xfc, 0x07, 0x01]);
    let error = FrameDecoder::new(usize::MAX)
        .parse(b"\xff\xff\xff\xff\0")
        .unwrap_err();
    let len = u32::MAX as usize;
    assert_eq!(
        error,
        FrameError::TooLarge {
            len,
            limit: MAX_MESSAGE_LIMIT
        }
    );
}

#[test]
fn features_are_sets() {
    let both = Features::CREDIT | Features::from_bits(0b110);
    assert_eq!(both.bits(), 0b111);
    assert!(both.contains(Features::CREDIT));
    assert!(
        !both.contains(Features::from_bits(0b1001)),
        "a part of it is not all of it"
    );
    assert!(both.contains(Features::NONE));
}

#[test]
fn an_extension_never_passes_for_another_kind() {
    let head = FrameHead::Extension { kind: 0x12 };
    assert_eq!(head.kind(), 0x92);
    assert_eq!(head.prefix(0)[..], *b"\0\0\0\0\x92");
}

#[test]
fn a_lease_is_a_number_that_can_be_read() {
    use std::time::Duration;

    for (lease, written) in [
        (Duration::ZERO, "1".to_owned()),
        (Duration::from_micros(2001), "3".to_owned()),
        (Duration::MAX, u64::MAX.to_string()),
    ] {
        let (input, output) = (Channel::Stdio, Channel::None);
        let messaging =
            MessagingEnvironment::new(Framing::Frames, 1, input, output).with_lease(lease);
        let variables = ChildEnvironment::new("/d")
            .with_messaging(messaging)
            .write();
        let value = variables.iter().find(|(name, _)| *name == "MESSAGE_LEASE");
        assert_eq!(value, Some(&("MESSAGE_LEASE", written.into())));
    }
}

#[cfg(unix)]
#[test]
fn paths_need_not_be_utf8() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};

    let path = OsString::from_vec(b"/run/\xff".to_vec());
    let environment = ChildEnvironment::new(&path);
    assert_eq!(environment.write(), [("PROCESS_DATA_DIR", path.clone())]);
    let read = ChildEnvironment::read(|name| (name == "PROCESS_DATA_DIR").then(|| path.clone()));
    assert_eq!(read, Ok(environment));

    let error = ChildEnvironment::read(|name| match name {
        "PROCESS_DATA_DIR" => Some("/run".into()),
        _ => Some(path.clone()),
    })
    .unwrap_err();
    assert_eq!(error.variable(), "MESSAGE_FRAMING");
    assert!(error.to_string().contains("/run/\u{fffd}"), "{error}");
}
