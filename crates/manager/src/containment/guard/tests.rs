use super::*;
use crate::containment::testing::{Name, Started, snapshot};
use crate::run_dir::testing::{fast_directory, make_levels};
use procession_wire::env::PROCESSION_TREE;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

fn dirs(root: &Path) -> Vec<PathBuf> {
    let names = [
        "plain",
        "with a space",
        "it's \"$HOME\" `x`",
        "new\nline",
        "-rf",
    ];
    let dirs = names.map(|name| root.join(name)).to_vec();
    for dir in &dirs {
        fs::create_dir_all(dir.join("in/it")).expect("made");
        fs::write(dir.join("in/file"), "text").expect("written");
    }
    dirs
}

fn guard(manager: Uuid, dirs: &[PathBuf]) -> Guard {
    let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
    Guard::start(manager, None, &dirs).expect("starts")
}

#[test]
fn an_abandoned_guard_kills_what_is_tagged_and_removes_the_directories() {
    let root = tempfile::tempdir().expect("a directory");
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("kept"), "text").expect("written");
    let dirs = dirs(root.path());
    std::os::unix::fs::symlink(outside.path(), dirs[0].join("link")).expect("linked");
    let kept = root.path().join("plain2");
    fs::create_dir(&kept).expect("made");

    let (name, other) = (Name::new(), Name::new());
    let (list, foreign) = (name.list(), other.list());
    let nested = format!("{foreign}{list}");
    let below = format!("{list}{foreign}");
    let mut ours = [&list, &nested, &below]
        .map(|list| Started::script("exec sleep 1000", &[("A", "1"), (PROCESSION_TREE, list)]));
    let similar = format!("x{list}");
    let decoys = [
        (PROCESSION_TREE, &foreign),
        (PROCESSION_TREE, &similar),
        ("PROCESSION_TREE2", &list),
        ("MY_PROCESSION_TREE", &list),
        ("OTHER", &list),
    ]
    .map(|(variable, list)| Started::script("exec sleep 1000", &[(variable, list)]));

    let reaped = guard(name.manager, &dirs).abandon().expect("ended");
    assert!(reaped.status.success(), "{:?}", reaped.status);
    assert!(ours.iter_mut().all(|child| child.signal() == Some(9)));
    assert!(decoys.iter().all(Started::is_running));
    assert!(dirs.iter().all(|dir| !dir.exists()));
    assert!(kept.exists() && outside.path().join("kept").exists());
}

/// 64 GiB of zeros, which take no memory and long to look at.
#[test]
fn a_process_with_an_endless_environment_hides_no_other() {
    let name = Name::new();
    let Some(liar) = Started::with_environ(64 << 30) else {
        return;
    };
    let mut child = Started::tagged("exec sleep 1000", &name);
    let reaped = guard(name.manager, &[]).abandon().expect("ended");
    assert!(reaped.status.success(), "{:?}", reaped.status);
    assert_eq!(child.signal(), Some(9));
    assert!(liar.is_running());
}

#[test]
fn a_dismissed_guard_has_done_nothing_and_is_reaped() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = dirs(root.path());
    let name = Name::new();
    let child = Started::tagged("exec sleep 1000", &name);
    let guards = [(); 2].map(|()| guard(name.manager, &dirs));
    let pids = guards.each_ref().map(|guard| guard.pid);
    let [dismissed, dropped] = guards;
    dismissed.dismiss();
    drop(dropped);
    for pid in pids {
        let gone = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
        assert_eq!(gone.err(), Some(rustix::io::Errno::CHILD));
    }
    assert!(child.is_running());
    assert!(dirs.iter().all(|dir| dir.exists()));
}

#[test]
fn a_stopped_guard_can_be_dismissed() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = dirs(root.path());
    let guard = guard(Uuid::new_v4(), &dirs);
    send(&guard, Signal::STOP);
    guard.dismiss();
    assert!(dirs.iter().all(|dir| dir.exists()));
}

#[test]
fn signals_that_end_others_do_not_end_it() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = dirs(root.path());
    let guard = guard(Uuid::new_v4(), &dirs);
    let signals = [
        Signal::HUP,
        Signal::INT,
        Signal::TERM,
        Signal::QUIT,
        Signal::TSTP,
    ];
    let wanted = signals
        .iter()
        .fold(0, |bits, signal| bits | 1 << (signal.as_raw() - 1));
    while ignored(&guard) & wanted != wanted {
        std::thread::yield_now();
    }
    for signal in signals {
        send(&guard, signal);
    }
    // It lives, and does its work.
    assert!(guard.abandon().expect("ended").status.success());
    assert!(dirs.iter().all(|dir| !dir.exists()));
}

#[tokio::test]
async fn its_end_is_told_and_waiting_for_it_can_be_broken_off() {
    let mut guard = guard(Uuid::new_v4(), &[]);
    {
        let ended = guard.ended();
        tokio::pin!(ended);
        assert!(futures_util::poll!(ended).is_pending());
    }
    send(&guard, Signal::KILL);
    let error = guard.ended().await;
    assert!(error.to_string().contains("signal: 9"), "{error}");
    let again = guard.ended();
    tokio::pin!(again);
    assert!(futures_util::poll!(again).is_pending());
}

#[test]
fn it_is_known_by_its_command_line_alone_in_its_group_and_without_a_tag() {
    let manager = Uuid::new_v4();
    let guard = guard(manager, &[PathBuf::from("/nowhere/at all")]);
    let read = |name: &str| fs::read(format!("/proc/{}/{name}", guard.pid())).expect("there");
    // The spawn returns in the midst of `execve(2)`, where it has no arguments for a moment yet.
    let line = loop {
        match read("cmdline") {
            line if line.is_empty() => std::thread::yield_now(),
            line => break line,
        }
    };
    assert_eq!(read("environ"), b"");
    assert!(is_one(&line), "{}", line.escape_ascii());
    assert_eq!(rustix::process::getpgid(Some(guard.pid)), Ok(guard.pid));
    assert_eq!(
        fs::read_link(format!("/proc/{}/cwd", guard.pid())).expect("there"),
        Path::new("/")
    );
    guard.dismiss();

    let other = |name: &str, id: &str| format!("/bin/sh\0-c\0script\0{name}\0{id}\0");
    let id = manager.to_string();
    assert!(is_one(other("procession-guard", &id).as_bytes()));
    for decoy in [
        other("procession", &id),
        other("procession-guard", "nobody"),
        format!("/bin/sh\0procession-guard\0{id}\0"),
        format!("procession-guard\0-c\0{id}\0"),
        String::new(),
    ] {
        assert!(!is_one(decoy.as_bytes()), "{decoy}");
    }
}

#[test]
fn many_processes_are_killed_in_a_moment() {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = dirs(root.path());
    let name = Name::new();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 >&- & done; exec sleep 1000 >&-";
    let mut children: Vec<_> = (0..15).map(|_| Started::tagged(script, &name)).collect();
    children.iter_mut().for_each(Started::output_ends);
    let guard = guard(name.manager, &dirs);
    guard.abandon().expect("ended");
    assert!(snapshot().members(name.tag(), None).is_empty());
    assert!(children.iter_mut().all(|child| child.signal() == Some(9)));
    assert!(dirs.iter().all(|dir| !dir.exists()));
}

fn send(guard: &Guard, signal: Signal) {
    pidfd_send_signal(guard.pidfd.fd().expect("there"), signal).expect("sent");
}

/// The signals that it ignores, as bits. See `proc_pid_status(5)`.
fn ignored(guard: &Guard) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", guard.pid())).expect("there");
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    u64::from_str_radix(line.expect("a line").trim(), 16).expect("bits")
}

#[test]
fn any_depth_and_what_has_no_rights_is_removed() {
    let root = fast_directory();
    let dirs = dirs(root.path());
    make_levels(&dirs[0], 15_000);
    let shut = dirs[1].join("in");
    fs::set_permissions(shut, PermissionsExt::from_mode(0o000)).expect("set");
    let guard = guard(Uuid::new_v4(), &dirs);
    assert!(guard.abandon().expect("ended").status.success());
    assert!(dirs.iter().all(|dir| !dir.exists()));
}

/// In a mount namespace of one thread, which the guard is in too.
#[test]
fn as_root_what_is_mounted_is_left_to_the_next_manager() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let outside = root.path().join("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("precious"), "text").expect("written");
    let manager = Uuid::new_v4();
    let dir = root.path().join(manager.to_string());
    let mounted = dir.join("run/mounted");
    fs::create_dir_all(&mounted).expect("made");
    fs::write(dir.join(".procession"), "text").expect("written");
    let thread = std::thread::spawn(move || {
        if !crate::run_dir::testing::mount(&outside, &mounted) {
            return;
        }
        let guard = guard(manager, std::slice::from_ref(&dir));
        guard.abandon().expect("ended");
        assert!(outside.join("precious").exists());
        assert!(dir.join(".procession").exists());
    });
    thread.join().expect("no panic");
}
