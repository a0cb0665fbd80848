use std::fs;

use procession_wire::{
    FrameHead, Framing, MessagingEnvironment,
    env::{MESSAGE_FRAMING, MESSAGE_LIMIT},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, mknodat},
    io::{FdFlags, fcntl_getfd},
};
use tempfile::TempDir;

use super::*;
use crate::Parent;

struct Pipes {
    dir: TempDir,
}

impl Pipes {
    fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["input", "output"] {
            let mode = Mode::RUSR | Mode::WUSR;
            mknodat(
                rustix::fs::CWD,
                dir.path().join(name),
                FileType::Fifo,
                mode,
                0,
            )
            .unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a parent would set.
    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let messaging = MessagingEnvironment::new(
            Framing::Frames,
            1000,
            Channel::Pipe(self.path("input")),
            Channel::Pipe(self.path("output")),
        );
        let environment = ChildEnvironment::new(self.dir.path()).with_messaging(messaging);
        environment.write()
    }

    /// A pipe as a parent holds it.
    fn hold(&self, name: &str) -> File {
        let path = self.path(name);
        File::options().read(true).write(true).open(path).unwrap()
    }
}

fn open_with(variables: &[(&'static str, OsString)]) -> Result<(Setup, Ends), ConnectError> {
    open(|name| Some(variables.iter().find(|(key, _)| *key == name)?.1.clone()))
}

fn error_with(variables: &[(&'static str, OsString)]) -> ConnectError {
    open_with(variables).unwrap_err()
}

#[test]
fn named_pipes_are_opened_blocking_and_not_inherited() {
    let pipes = Pipes::make();
    let (_input, _output) = (pipes.hold("input"), pipes.hold("output"));
    let (setup, ends) = open_with(&pipes.environment()).unwrap();
    assert_eq!(setup.framing, Framing::Frames);
    assert_eq!(setup.limit, 1000);
    assert_eq!(setup.data_dir, pipes.dir.path());
    for end in [ends.input.unwrap(), ends.output.unwrap()] {
        assert_eq!(fcntl_getfd(&end.fd).unwrap(), FdFlags::CLOEXEC);
        assert!(!fcntl_getfl(&end.fd).unwrap().contains(OFlags::NONBLOCK));
    }
}

#[test]
fn messages_go_through_named_pipes() {
    use std::io::{Read, Write};

    let pipes = Pipes::make();
    let (mut to_child, mut from_child) = (pipes.hold("input"), pipes.hold("output"));
    let (setup, ends) = open_with(&pipes.environment()).unwrap();
    let child = Parent::over(setup, ends).unwrap();
    assert_eq!(child.data_dir(), pipes.dir.path());
    assert_eq!(child.message_limit(), 1000);
    to_child.write_all(b"\0\0\0\x02\0hi").unwrap();
    assert_eq!(child.receive().unwrap().unwrap(), "hi");
    child.ready("fine").unwrap();
    drop(child);
    // All that was written is there, since we hold both sides of the pipe; bye is the last of it.
    let mut written = Vec::new();
    let bye = FrameHead::Bye { status: 0 }.prefix(0);
    while !written.ends_with(&bye) {
        let mut byte = [0];
        from_child.read_exact(&mut byte).unwrap();
        written.push(byte[0]);
    }
    let ready = FrameHead::Ready.prefix(4);
    assert!(
        written
            .windows(9)
            .any(|part| part == [&ready, &b"fine"[..]].concat())
    );
}

#[test]
fn what_is_missing_is_named() {
    let error = error_with(&[]);
    assert_eq!(error.variable(), Some(PROCESS_DATA_DIR));
    assert!(error.is_missing());

    let pipes = Pipes::make();
    let whole = pipes.environment();
    for left_out in [
        MESSAGE_FRAMING,
        MESSAGE_LIMIT,
        MESSAGE_INPUT,
        MESSAGE_OUTPUT,
        INPUT_PIPE,
        OUTPUT_PIPE,
    ] {
        let mut variables = whole.clone();
        variables.retain(|(name, _)| *name != left_out);
        let error = error_with(&variables);
        assert_eq!(error.variable(), Some(left_out));
        assert!(error.is_missing(), "{error}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("{left_out} is not set"))
        );
    }
}

#[test]
fn a_child_without_messaging_has_a_run_directory() {
    let variables = ChildEnvironment::new("/run/x").write();
    let error = error_with(&variables);
    assert!(matches!(error, ConnectError::NoMessaging), "{error:?}");
    assert!(error.is_missing());
    assert_eq!(error.variable(), Some(MESSAGE_FRAMING));

    let lookup = |name: &str| match name {
        PROCESS_DATA_DIR => Some("/run/x".into()),
        _ => Some("nonsense".into()),
    };
    assert_eq!(data_dir(lookup).unwrap(), Path::new("/run/x"));
    let error = data_dir(|_| None).unwrap_err();
    assert_eq!(error.variable(), Some(PROCESS_DATA_DIR));
}

#[test]
fn what_makes_no_sense_is_named() {
    let pipes = Pipes::make();
    for (variable, value) in [
        (MESSAGE_FRAMING, "frames/9"),
        (MESSAGE_LIMIT, "lots"),
        (MESSAGE_INPUT, "stdout"),
        (MESSAGE_OUTPUT, ""),
        (INPUT_PIPE, "relative/path"),
    ] {
        let mut variables = pipes.environment();
        for (name, old) in &mut variables {
            if *name == variable {
                *old = value.into();
            }
        }
        let error = error_with(&variables);
        assert_eq!(error.variable(), Some(variable));
        assert!(!error.is_missing(), "{error}");
        assert!(error.to_string().contains(&format!("{value:?}")), "{error}");
    }
}

#[test]
fn what_is_no_pipe_is_named() {
    for name in ["input", "output"] {
        let pipes = Pipes::make();
        let _held = [pipes.hold("input"), pipes.hold("output")];
        let variable = if name == "input" {
            INPUT_PIPE
        } else {
            OUTPUT_PIPE
        };
        let path = pipes.path(name);

        fs::remove_file(&path).unwrap();
        let error = error_with(&pipes.environment());
        assert_eq!(error.variable(), Some(variable));
        assert!(error.to_string().contains("cannot find"), "{error}");
        assert!(error.to_string().contains("No such file"), "{error}");

        fs::write(&path, "a file").unwrap();
        let error = error_with(&pipes.environment());
        assert_eq!(
            error.to_string(),
            format!("{variable} is {path:?}, which is not a pipe")
        );
        assert_eq!(fs::read(&path).unwrap(), b"a file", "it is left alone");

        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = error_with(&pipes.environment());
        assert!(matches!(error, ConnectError::NotAPipe { .. }), "{error:?}");
        assert_eq!(error.variable(), Some(variable));
    }
}

#[test]
fn without_a_parent_nobody_waits() {
    let pipes = Pipes::make();
    let error = error_with(&pipes.environment());
    assert_eq!(error.variable(), Some(OUTPUT_PIPE), "it has no reader");
    assert!(matches!(error, ConnectError::Io { .. }), "{error:?}");

    let output = pipes.hold("output");
    let (setup, ends) = open_with(&pipes.environment()).unwrap();
    let input = &ends.input.as_ref().unwrap().fd;
    let mut polled = [PollFd::new(input, PollFlags::IN)];
    assert_eq!(poll(&mut polled, Some(&Timespec::default())), Ok(1));
    let child = Parent::over(setup, ends).unwrap();
    assert!(child.receive().unwrap().is_none(), "the input has ended");
    drop(output);
    let error = child.send("anyone?").unwrap_err();
    assert!(
        matches!(error, crate::SendError::ParentGone(_)),
        "{error:?}"
    );
}

#[test]
fn a_claim_is_taken_once_and_comes_back_only_from_a_failure() {
    let claim = Claim::take().unwrap();
    assert!(matches!(Claim::take(), Err(ConnectError::AlreadyConnected)));
    drop(claim);
    Claim::take().unwrap().keep();
    let error = Claim::take().unwrap_err();
    assert!(error.to_string().contains("connected to its parent before"));
    assert_eq!(error.variable(), None);
}
