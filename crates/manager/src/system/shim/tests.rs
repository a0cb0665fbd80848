//! Real processes, started through the real helper.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use super::wire::{CommandKind, Event, Exit, Left, Step, Strings, code};
use super::*;

const SECONDS: Option<Duration> = Some(Duration::from_secs(20));

fn shim() -> Shim {
    Shim::start(&HelperProgram::default()).expect("the helper runs")
}

/// Steps that run `/bin/sh -c script`.
fn shell(body: &mut Body<'_>, script: &str) {
    let arguments = format!("sh\0-c\0{script}\0");
    body.step(&Step::Arguments(Strings(arguments.as_bytes())));
    body.step(&Step::Environment(Strings(b"PATH=/bin:/usr/bin\0")));
    body.step(&Step::Execute(b"/bin/sh\0"));
}

fn started(shim: &Shim, script: &str) -> (Tree, Started) {
    let mut body = Body::default();
    body.step(&Step::Session);
    shell(&mut body, script);
    let tree = shim.spawn(&body).expect("asked");
    let started = tree.started().expect("runs");
    (tree, started)
}

fn event(tree: &Tree) -> Event {
    tree.next(SECONDS).expect("told").expect("not the end")
}

fn exit(tree: &Tree) -> Exit {
    match event(tree) {
        Event::Exited(exit) => exit,
        other => panic!("{other:?} instead of the exit"),
    }
}

/// A tree whose script has written a line, and the pipe that all of the tree has as its standard
/// output.
fn up(shim: &Shim, script: &str) -> (Tree, Started, io::PipeReader) {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let mut body = Body::default();
    body.step(&Step::Session);
    let index = body.descriptor(writer.as_fd());
    body.step(&Step::Descriptor { index, target: 1 });
    shell(&mut body, script);
    let tree = shim.spawn(&body).expect("asked");
    let started = tree.started().expect("runs");
    drop(body);
    drop(writer);
    let mut line = [0; 3];
    reader.read_exact(&mut line).expect("it is up");
    (tree, started, reader)
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = Pid::from_raw(pid).expect("a number");
    rustix::process::kill_process(pid, signal).expect("ours");
}

/// Everything that the tree writes to its standard output, run to its end.
fn output(prepare: impl FnOnce(&mut Body<'_>)) -> String {
    let shim = shim();
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let mut body = Body::default();
    body.step(&Step::Session);
    let index = body.descriptor(writer.as_fd());
    body.step(&Step::Descriptor { index, target: 1 });
    prepare(&mut body);
    let tree = shim.spawn(&body).expect("asked");
    tree.started().expect("runs");
    drop(body);
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    assert!(matches!(event(&tree), Event::Exited(_)));
    assert_eq!(event(&tree), Event::Gone { killed: 0 });
    text
}

#[test]
fn the_exit_is_told_as_waitid_tells_it_and_then_that_nothing_is_left() {
    let shim = shim();
    for (script, code, status) in [("exit 7", 1, 7), ("kill -9 $$", 2, 9), ("exit 0", 1, 0)] {
        let (tree, _) = started(&shim, script);
        let exit = exit(&tree);
        assert_eq!((exit.code, exit.status), (code, status), "{script}");
        assert!(exit.max_rss_kib > 0);
        assert_eq!(event(&tree), Event::Gone { killed: 0 });
        assert_eq!(tree.next(SECONDS).expect("told"), None);
    }
}

#[test]
fn a_failing_step_is_named() {
    let shim = shim();
    let mut body = Body::default();
    body.step(&Step::Session);
    body.step(&Step::Execute(b"/no/such/program\0"));
    let failure = shim
        .spawn(&body)
        .expect("asked")
        .started()
        .expect_err("fails");
    let SpawnFailure::Step { code, place, error } = failure else {
        panic!("{failure:?}")
    };
    assert_eq!((code, place), (code::EXECUTE, 1));
    assert_eq!(error.kind(), io::ErrorKind::NotFound);

    let mut body = Body::default();
    body.step(&Step::Session).step(&Step::Session);
    shell(&mut body, "true");
    let failure = shim
        .spawn(&body)
        .expect("asked")
        .started()
        .expect_err("fails");
    let SpawnFailure::Step { code, place, .. } = failure else {
        panic!("{failure:?}")
    };
    assert_eq!((code, place), (code::SESSION, 1));

    let mut body = Body::default();
    body.step(&Step::Session);
    let failure = shim
        .spawn(&body)
        .expect("asked")
        .started()
        .expect_err("fails");
    assert!(
        matches!(
            failure,
            SpawnFailure::Step {
                code: code::NO_PROGRAM,
                ..
            }
        ),
        "{failure:?}"
    );
}

#[test]
fn a_child_starts_with_nothing_but_what_it_was_given() {
    let text = output(|body| {
        shell(
            body,
            "ls /proc/self/fd; grep -E 'Sig(Blk|Ign)' /proc/self/status; ulimit -n",
        );
    });
    let words: Vec<_> = text.split_whitespace().collect();
    // 3 is the directory that `ls` reads.
    assert_eq!(&words[..4], ["0", "1", "2", "3"], "{text}");
    let zeros = "0000000000000000";
    assert_eq!(&words[4..8], ["SigBlk:", zeros, "SigIgn:", zeros], "{text}");
}

#[test]
fn limits_niceness_umask_and_directory_are_set() {
    let text = output(|body| {
        body.step(&Step::Limit {
            resource: 7,
            soft: 50,
            hard: 60,
        })
        .step(&Step::Nice(5))
        .step(&Step::Umask(0o027))
        .step(&Step::OomScore(321))
        .step(&Step::Enter(b"/usr\0"));
        shell(
            body,
            "ulimit -Sn; ulimit -Hn; nice; umask; cat /proc/self/oom_score_adj; pwd",
        );
    });
    assert_eq!(text, "50\n60\n5\n0027\n321\n/usr\n");
}

#[test]
fn a_long_body_goes_by_a_memory_file() {
    let long = "x".repeat(120_000);
    let text = output(|body| {
        let arguments = format!("sh\0-c\0echo ${{#1}} ${{#2}}\0sh\0{long}\0{long}\0");
        body.step(&Step::Arguments(Strings(arguments.as_bytes())));
        body.step(&Step::Execute(b"/bin/sh\0"));
    });
    assert_eq!(text, "120000 120000\n");
}

#[test]
fn a_kill_ends_the_whole_tree_and_counts_it() {
    let shim = shim();
    let script = "sleep 1000 & setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000') &
        exec sleep 1000";
    let (tree, _) = started(&shim, script);
    tree.command(1, CommandKind::Kill).expect("sent");
    let mut events = [event(&tree), event(&tree)];
    events.sort_by_key(|event| matches!(event, Event::Exited(_)));
    assert!(
        matches!(
            events[0],
            Event::Answer {
                number: 1,
                count: 0,
                errno: 0
            }
        ),
        "{events:?}"
    );
    assert!(matches!(event(&tree), Event::Gone { .. }));
    assert_eq!(tree.next(SECONDS).expect("told"), None);
}

#[test]
fn a_dropped_tree_is_killed_with_what_left_its_session() {
    let shim = shim();
    let script = "(setsid sh -c 'echo up; exec sleep 1000') & wait";
    let (tree, _, mut output) = up(&shim, script);
    drop(tree);
    // All that hold the pipe are gone.
    assert_eq!(output.read(&mut [0]).expect("the end"), 0);
}

#[test]
fn what_is_left_after_the_exit_is_listed_and_stays_until_it_is_killed() {
    let shim = shim();
    let (tree, root) = started(&shim, "(setsid sleep 1000 &) ; exit 3");
    assert_eq!(exit(&tree).status, 3);
    tree.command(9, CommandKind::List).expect("sent");
    let Event::Left(Left {
        number: 9,
        count: 1,
        named,
    }) = event(&tree)
    else {
        panic!("no list")
    };
    assert!(named[0].0 > root.pid && named[0].1 == 0, "{named:?}");
    tree.command(10, CommandKind::Kill).expect("sent");
    assert!(matches!(event(&tree), Event::Answer { number: 10, .. }));
    assert_eq!(event(&tree), Event::Gone { killed: 1 });
}

#[test]
fn signals_go_to_the_root_to_its_group_and_to_the_tree() {
    let shim = shim();
    for kind in [
        CommandKind::SignalRoot(15),
        CommandKind::SignalGroup(15),
        CommandKind::SignalTree(15),
    ] {
        let (tree, _) = started(&shim, "exec sleep 1000");
        tree.command(3, kind).expect("sent");
        assert_eq!(
            event(&tree),
            Event::Answer {
                number: 3,
                count: 1,
                errno: 0
            }
        );
        assert_eq!((exit(&tree).status), 15);
        assert_eq!(event(&tree), Event::Gone { killed: 0 });
    }
}

#[test]
fn a_keeper_that_is_killed_leaves_nothing() {
    let shim = shim();
    let script = "setsid sleep 1000 & echo up; exec sleep 1000";
    let (tree, root, mut output) = up(&shim, script);
    signal(root.keeper, rustix::process::Signal::KILL);
    assert_eq!(tree.next(SECONDS).expect("told"), None);
    assert_eq!(output.read(&mut [0]).expect("the end"), 0);
}

#[test]
fn trees_outlive_a_shim_that_is_killed() {
    let shim = shim();
    let (tree, _) = started(&shim, "exec sleep 1000");
    rustix::process::kill_process(shim.pid(), rustix::process::Signal::KILL).expect("ours");
    let _ = waitpid(Some(shim.pid()), WaitOptions::empty());
    tree.command(1, CommandKind::SignalRoot(15)).expect("sent");
    assert_eq!(
        event(&tree),
        Event::Answer {
            number: 1,
            count: 1,
            errno: 0
        }
    );
    assert_eq!(exit(&tree).status, 15);
    let mut body = Body::default();
    shell(&mut body, "true");
    let error = shim.spawn(&body).expect_err("nobody there");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn the_helper_runs_in_three_ways() {
    let root = tempfile::tempdir().expect("a directory");
    let run = |program: &HelperProgram| Shim::start(program).map(|shim| assert!(shim.has_null()));
    let mut program = HelperProgram {
        directory: Some(root.path().to_owned()),
        without_memory_file: true,
        ..HelperProgram::default()
    };
    run(&program).expect("from a file");
    assert_eq!(
        std::fs::read_dir(root.path()).expect("there").count(),
        0,
        "the file is gone"
    );
    program.directory = Some(root.path().join("missing"));
    let error = run(&program).expect_err("no way left").to_string();
    assert!(
        error.contains("missing") && error.contains("helper"),
        "{error}"
    );
    let named = root.path().join("helper");
    std::fs::write(&named, program::bytes()).expect("written");
    rustix::fs::chmod(&named, rustix::fs::Mode::from_raw_mode(0o755)).expect("set");
    program.named = Some(named);
    run(&program).expect("from a named path");
}

#[test]
fn a_keeper_that_a_child_stops_is_continued() {
    let shim = shim();
    let (tree, root, _output) = up(&shim, "kill -STOP $PPID; echo up; exec sleep 1000");
    tree.command(4, CommandKind::SignalGroup(0)).expect("sent");
    assert_eq!(
        event(&tree),
        Event::Answer {
            number: 4,
            count: 1,
            errno: 0
        }
    );
    signal(root.keeper, rustix::process::Signal::STOP);
    tree.command(5, CommandKind::SignalRoot(15)).expect("sent");
    assert_eq!(
        event(&tree),
        Event::Answer {
            number: 5,
            count: 1,
            errno: 0
        }
    );
    assert_eq!(exit(&tree).status, 15);
    assert_eq!(event(&tree), Event::Gone { killed: 0 });
}

#[test]
fn a_keeper_whose_descriptors_are_taken_away_kills_its_tree() {
    use rustix::process::{Resource, Rlimit, prlimit};
    let shim = shim();
    let (tree, root, mut output) = up(&shim, "setsid sleep 1000 & echo up; exec sleep 1000");
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    prlimit(Pid::from_raw(root.keeper), Resource::Nofile, none).expect("may be set");
    tree.command(1, CommandKind::List).expect("sent");
    let mut rest = Vec::new();
    output
        .read_to_end(&mut rest)
        .expect("all that have it are gone");
    while let Some(event) = tree.next(SECONDS).expect("told") {
        assert!(matches!(event, Event::Left(_)), "{event:?}");
    }
}

/// Processes that are killed together must not be reaped by a parent of theirs, or let go by the
/// kernel since the parent ignores SIGCHLD.
#[test]
fn the_count_is_exact_whatever_parents_do_with_their_children() {
    let shim = shim();
    for before in ["trap '' CHLD", "true"] {
        let sleeps = "sleep 1000 & ".repeat(20);
        let script = format!("{before}; {sleeps} echo up; while :; do wait; done");
        for _ in 0..5 {
            let (tree, _, _output) = up(&shim, &script);
            tree.command(1, CommandKind::Kill).expect("sent");
            let mut killed = None;
            while let Some(event) = tree.next(SECONDS).expect("told") {
                if let Event::Gone { killed: count } = event {
                    killed = Some(count);
                }
            }
            assert_eq!(killed, Some(20), "{before}");
        }
    }
}

#[test]
fn events_are_read_before_the_end_also_where_a_command_was_not_taken() {
    let shim = shim();
    for _ in 0..100 {
        let mut body = Body::default();
        body.step(&Step::Group);
        shell(&mut body, "exit 3");
        let tree = shim.spawn(&body).expect("asked");
        tree.started().expect("runs");
        for number in 0..3 {
            // It may be gone already.
            let _ = tree.command(number, CommandKind::SignalRoot(0));
        }
        let events = std::iter::from_fn(|| tree.next(SECONDS).expect("told"));
        let told: Vec<_> = events
            .filter(|it| !matches!(it, Event::Answer { .. }))
            .collect();
        assert!(
            matches!(told[..], [Event::Exited(_), Event::Gone { killed: 0 }]),
            "{told:?}"
        );
    }
}

#[test]
fn a_root_is_reaped_before_its_failure_is_told() {
    let shim = shim();
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let mut body = Body::default();
    body.step(&Step::Session);
    let index = body.descriptor(writer.as_fd());
    body.step(&Step::Descriptor { index, target: 1 });
    body.step(&Step::Execute(b"/no/such/program\0"));
    let tree = shim.spawn(&body).expect("asked");
    tree.started().expect_err("fails");
    drop(body);
    drop(writer);
    assert_eq!(
        reader.read(&mut [0]).expect("the end"),
        0,
        "nobody has it any more"
    );
    assert_eq!(tree.next(SECONDS).expect("told"), None);
}

#[test]
fn the_helper_starts_without_standard_streams() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("helper");
    std::fs::write(&path, program::bytes()).expect("written");
    rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o755)).expect("set");
    let (ours, theirs) = pair().expect("sockets");
    let mut sh = Command::new("/bin/sh");
    sh.args(["-c", r#"exec "$0" >&- 2>&-"#])
        .arg(&path)
        .stdin(Stdio::from(theirs));
    let mut child = sh.spawn().expect("runs");
    drop(sh);
    let event = receive(ours.as_fd(), SECONDS).expect("told");
    assert!(
        matches!(event, Some(Event::Ready { has_null: true, .. })),
        "{event:?}"
    );
    drop(ours);
    assert!(child.wait().expect("ends").success());
}
