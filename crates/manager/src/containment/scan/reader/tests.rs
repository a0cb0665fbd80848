use super::*;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::Pid;

use crate::containment::Tag;
use crate::containment::testing::Name;

/// Files as those of `/proc`, of which some never come: a FIFO is opened when somebody else opens
/// it.
struct Proc(tempfile::TempDir);

impl Proc {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn scanner(&self) -> Scanner {
        Scanner {
            root: Some(self.0.path().to_owned()),
            ..Scanner::default()
        }
    }

    fn process(&self, pid: i32) -> PathBuf {
        let path = self.0.path().join(pid.to_string());
        std::fs::create_dir(&path).expect("made");
        let fields = format!("S 1 {pid} 22 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2");
        std::fs::write(path.join("stat"), format!("{pid} (sh) {fields}")).expect("written");
        path
    }

    fn tagged(&self, pid: i32, name: &Name) {
        let environ = format!("PROCESSION_TREE={}\0", name.list());
        std::fs::write(self.process(pid).join("environ"), environ).expect("written");
    }

    fn stalled(&self, pid: i32) -> PathBuf {
        let path = self.process(pid).join("environ");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).expect("made");
        path
    }
}

/// Lets a read of a FIFO come to its end.
fn release(path: &Path) {
    drop(open(path, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).expect("there"));
}

fn found(snapshot: &Snapshot, tag: Tag) -> Vec<i32> {
    let members = snapshot.members(tag, None);
    members.iter().map(|seen| seen.pid.as_raw_pid()).collect()
}

#[test]
fn a_process_whose_memory_does_not_come_is_passed_over_until_it_does() {
    let (proc, name) = (Proc::new(), Name::new());
    proc.tagged(100_001, &name);
    let path = proc.stalled(100_002);
    proc.tagged(100_003, &name);
    let mut scanner = proc.scanner();
    for _ in 0..3 {
        let snapshot = scanner.scan().expect("a scan");
        let mut found = found(&snapshot, name.tag());
        found.sort_unstable();
        assert_eq!(found, [100_001, 100_003]);
        assert!(snapshot.unsettled, "it is worth another look");
        let pid = Pid::from_raw(100_002).expect("not zero");
        assert!(snapshot.has(pid), "what needs no memory is known of it");
        assert_eq!(scanner.stalled.len(), 1, "one thread waits for it");
    }
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn a_reader_that_was_given_up_ends_with_its_read() {
    let (proc, name) = (Proc::new(), Name::new());
    let path = proc.stalled(100_001);
    let mut scanner = proc.scanner();
    scanner.scan().expect("a scan");
    let waiting = scanner.stalled[0].waiting.clone();
    std::fs::rename(&path, path.with_extension("read")).expect("renamed");
    let environ = format!("PROCESSION_TREE={}\0", name.list());
    std::fs::write(&path, environ).expect("written");
    release(&path.with_extension("read"));
    while waiting.strong_count() > 0 {
        thread::yield_now();
    }
    let snapshot = scanner.scan().expect("a scan");
    assert!(scanner.stalled.is_empty() && !snapshot.unsettled);
    assert_eq!(found(&snapshot, name.tag()), [100_001]);
}

/// A second each would be too long for a test of all of them: the others are made up.
#[test]
fn there_are_no_more_threads_than_wait_for_a_few_processes() {
    let proc = Proc::new();
    let paths = [100_001, 100_002].map(|pid| proc.stalled(pid));
    let mut scanner = proc.scanner();
    scanner.scan().expect("two are few");
    let alive = Arc::new(());
    while scanner.stalled.len() <= MAX_STALLED {
        let number = 100_010 + i32::try_from(scanner.stalled.len()).expect("few");
        scanner.stalled.push(Stalled {
            process: (Pid::from_raw(number).expect("not zero"), 1),
            waiting: Arc::downgrade(&alive),
        });
    }
    let error = scanner.scan().expect_err("too many");
    assert!(error.to_string().contains("too many"), "{error}");
    drop(alive);
    scanner.scan().expect("a scan");
    for path in paths {
        release(&path);
    }
}

#[test]
fn a_process_that_stalls_after_the_scan_gets_no_signal_yet() {
    let (proc, name) = (Proc::new(), Name::new());
    proc.tagged(100_001, &name);
    let mut scanner = proc.scanner();
    let snapshot = scanner.scan().expect("a scan");
    let seen = snapshot.members(name.tag(), None)[0].clone();
    assert!(snapshot.is_still(&seen).expect("told"));
    std::fs::remove_dir_all(proc.0.path().join("100001")).expect("removed");
    let path = proc.stalled(100_001);
    for _ in 0..2 {
        let error = snapshot.is_still(&seen).expect_err("not known");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
    let snapshot = scanner.scan().expect("a scan");
    assert_eq!(scanner.stalled.len(), 1, "one thread waits for it");
    assert!(snapshot.members(name.tag(), None).is_empty());
    release(&path);
}

#[test]
fn the_thread_ends_with_its_scanner() {
    let proc = Proc::new();
    let mut scanner = proc.scanner();
    let snapshot = scanner.scan().expect("a scan");
    let waiting = snapshot.reader.as_ref().expect("a thread").waiting.clone();
    drop(scanner);
    drop(snapshot);
    while waiting.strong_count() > 0 {
        thread::yield_now();
    }
}
