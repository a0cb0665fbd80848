use super::*;
use crate::containment::testing::{Name, Started, end, lives, members, root_of, snapshot};
use std::os::unix::process::CommandExt;
use std::process::Command;

use procession_wire::env::PROCESSION_TREE;
use uuid::Uuid;

#[test]
fn a_stat_is_read_after_the_name_whatever_that_is() {
    let fields = "S 1 22 22 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 4242 1 2";
    let expected = Stat {
        state: b'S',
        parent: 1,
        group: 22,
        flags: 4_194_560,
        threads: 3,
        start: 4242,
    };
    for name in ["sh", "a b", ") Z 9 (", "()", "\u{e9}\n"] {
        let text = format!("22 ({name}) {fields}");
        assert_eq!(Stat::parse(text.as_bytes()).as_ref(), Some(&expected));
    }
    assert_eq!(Stat::parse(b"22 (sh) S 1"), None);
    assert_eq!(Stat::parse(b""), None);
}

#[test]
fn a_zombie_is_dead_unless_its_threads_run() {
    let stat = |state, threads| Stat {
        state,
        parent: 1,
        group: 1,
        flags: 0,
        threads,
        start: 1,
    };
    assert!(stat(b'S', 1).alive() && stat(b'D', 1).alive() && stat(b'Z', 2).alive());
    assert!(!stat(b'Z', 1).alive() && !stat(b'X', 1).alive());
}

#[test]
fn a_zombie_stays_known_and_is_no_member() {
    let name = Name::new();
    let mut child = Started::tagged("exit 0", &name);
    child.output_ends();
    child.exited();
    assert!(snapshot().root(&root_of(child.pid)).is_some());
    assert_eq!(members(&name.tree(Some(child.pid))), []);
    assert!(!lives(child.pid));
}

/// They are next to each other, so that all but the first are told by a pidfd.
#[test]
fn zombies_in_a_row_are_told_from_what_lives_between_them() {
    let name = Name::new();
    let started: Vec<_> = (0..12)
        .map(|number| match number % 4 {
            3 => Started::tagged("exec sleep 1000 >&-", &name),
            _ => Started::tagged("exit 0", &name),
        })
        .collect();
    let (living, ended): (Vec<_>, Vec<_>) = started
        .into_iter()
        .enumerate()
        .partition(|(number, _)| number % 4 == 3);
    for (_, child) in &ended {
        child.exited();
    }
    // In the midst of its `execve` none has an environment.
    let all = |snapshot: &Snapshot| snapshot.members(name.tag(), None).len() == living.len();
    let snapshot = until(snapshot, all);
    for (_, child) in &ended {
        assert!(snapshot.is_ending(child.pid) && !snapshot.has(child.pid));
        assert!(snapshot.root(&root_of(child.pid)).is_some());
    }
    let found = snapshot.members(name.tag(), None).into_iter();
    let found: HashSet<_> = found.map(|seen| seen.pid).collect();
    let expected = living.iter().map(|(_, child)| child.pid).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_has_left_session_and_parent_is_found_by_its_tag() {
    let name = Name::new();
    let script = "setsid sh -c '(echo $$; exec sleep 1000 >&-) & ' & wait; exec sleep 1000";
    let mut child = Started::tagged(script, &name);
    let _parent = child.pid_line();
    let found = until(|| members(&name.tree(None)), |found| found.len() == 2);
    assert!(found.contains(&child.pid));
    // Not of the group, nor a descendant any more.
    let far = found.into_iter().find(|&pid| pid != child.pid);
    let far = far.expect("two");
    let snapshot = snapshot();
    let seen = &snapshot.seen[snapshot.by_pid[&far.as_raw_pid()]];
    assert_ne!(seen.group, child.pid.as_raw_pid());
    assert_ne!(seen.parent, child.pid.as_raw_pid());
    end(far);
}

#[test]
fn what_erased_its_environment_is_found_by_its_parents() {
    let name = Name::new();
    let script = "setsid env -i /bin/sh -c '/bin/sleep 1000 >&- & echo $$; wait' & wait";
    let mut child = Started::tagged(script, &name);
    let inner = child.pid_line();
    let find = || members(&name.tree(Some(child.pid)));
    let found = until(find, |found| found.len() >= 3);
    assert!(found.contains(&inner) && found.contains(&child.pid));
    // From a tagged process too, where the root does not count.
    assert!(members(&name.tree(None)).contains(&inner));
    found
        .into_iter()
        .filter(|pid| *pid != child.pid)
        .for_each(end);
}

#[test]
fn the_group_counts_without_a_tag_while_the_root_is_our_child() {
    let name = Name::new();
    // Orphaned, so that only the group is left to know it by.
    let script = "sh -c 'sleep 1000 >&- & echo $!'; exec sleep 1000 >&-";
    let mut child = Started::script(script, &[]);
    let member = child.pid_line();
    child.output_ends();
    let found = members(&name.tree(Some(child.pid)));
    assert!(found.contains(&member) && found.contains(&child.pid));
    assert_eq!(members(&name.tree(None)), []);
    // A process that is there, but not our child.
    assert_eq!(members(&name.tree(Some(member))), []);
    // Our child, but not the one that was meant: that was reaped, and its number used again.
    let mut gone = Command::new("true").spawn().expect("starts");
    let pid = Pid::from_raw(gone.id().cast_signed()).expect("a number");
    let mut other = root_of(pid);
    gone.wait().expect("reaped");
    other.pid = child.pid;
    assert!(snapshot().members(name.tag(), Some(&other)).is_empty());
    end(member);
}

#[test]
fn a_guard_and_what_it_starts_are_passed_over() {
    let name = Name::new();
    let mut command = Command::new("/bin/sh");
    // The tree's root starts a guard without an environment, as a manager does.
    let script = "setsid env -i /bin/sh -c '/bin/sleep 1000 >&- & echo $!; echo $$; wait' \
                  procession-guard 6f0a5c2e-9d3b-4a57-8f43-2b9c1c0d7e11 & wait";
    command
        .args(["-c", script])
        .env(PROCESSION_TREE, name.list());
    let mut child = Started::command(command);
    let (inner, guard) = (child.pid_line(), child.pid_line());
    assert_eq!(members(&name.tree(Some(child.pid))), [child.pid]);
    [inner, guard].into_iter().for_each(end);
}

#[test]
fn what_is_ending_lives_until_it_is_a_zombie() {
    let tags = vec![Tag::Manager(Uuid::new_v4())];
    let known = Seen {
        pid: Pid::from_raw(100_001).expect("not zero"),
        start: 1,
        parent: 1,
        group: 7,
        alive: true,
        guard: false,
        bare: false,
        tags: tags.clone(),
    };
    let lives = |change: fn(&mut Seen)| {
        let mut now = known.clone();
        change(&mut now);
        let mut snapshot = Snapshot::default();
        snapshot.add(now);
        snapshot.lives(&known)
    };
    assert!(lives(|_| {}));
    assert!(lives(|now| (now.bare, now.tags) = (true, Vec::new())));
    assert!(!lives(|now| now.alive = false));
    assert!(!lives(|now| now.tags = Vec::new()));
    assert!(!lives(|now| now.start = 2));
    assert!(!lives(|now| now.group = 8));
}

#[test]
fn neither_this_process_nor_the_first_is_a_member() {
    let own = rustix::process::getpid();
    let tag = Tag::Manager(Uuid::new_v4());
    let mut snapshot = Snapshot::default();
    for (pid, parent) in [(own.as_raw_pid(), 1), (1, 0), (100_001, own.as_raw_pid())] {
        let index = snapshot.add(Seen {
            pid: Pid::from_raw(pid).expect("not zero"),
            start: 1,
            parent,
            group: pid,
            alive: true,
            guard: false,
            bare: true,
            tags: Vec::new(),
        });
        if pid != 100_001 {
            snapshot.by_tag.entry(tag).or_default().push(index);
        }
    }
    assert!(snapshot.members(tag, None).is_empty());
}

#[test]
fn a_process_whose_first_thread_has_ended_is_found() {
    if Command::new("python3").arg("--version").output().is_err() {
        return;
    }
    let name = Name::new();
    let mut command = Command::new("python3");
    let script = "import threading, time, ctypes, sys\n\
                  threading.Thread(target=lambda: time.sleep(1000)).start()\n\
                  sys.stdout.close()\n\
                  ctypes.CDLL(None).pthread_exit(None)";
    command
        .args(["-c", script])
        .env(PROCESSION_TREE, name.list());
    command.arg0("python3");
    let child = Started::command(command);
    let leader_ended = || {
        let stat = ProcReader::default().stat(child.pid).expect("readable");
        stat.expect("there").leader_ended()
    };
    until(leader_ended, |ended| *ended);
    assert_eq!(members(&name.tree(None)), [child.pid]);
    assert!(lives(child.pid));
}

/// Looks again until it is so.
fn until<T>(look: impl Fn() -> T, so: impl Fn(&T) -> bool) -> T {
    loop {
        let seen = look();
        if so(&seen) {
            return seen;
        }
        std::thread::yield_now();
    }
}

#[test]
fn of_an_environment_without_end_a_bounded_part_is_read() {
    let Some(liar) = Started::with_environ(64 << 30) else {
        return;
    };
    let mut reader = ProcReader::default();
    let stat = reader.stat(liar.pid).expect("readable").expect("there");
    let mut tags = Vec::new();
    let length = reader.environ(liar.pid, &stat, &mut tags).expect("read");
    assert_eq!(length, Some(MAX_ENVIRON));
    assert!(tags.is_empty());
    assert_eq!(reader.buffer.len(), BUFFER);
    assert!(lives(liar.pid));
}

/// The largest that a program can be started with is searched to its end.
#[test]
fn a_tag_behind_all_other_variables_is_found() {
    let name = Name::new();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo $$; exec sleep 1000 >&-"]);
    command.env_clear();
    let value = "x".repeat(100_000);
    for number in 0..10 {
        command.env(format!("A{number}"), &value);
    }
    // The order is that of their names.
    command.env(PROCESSION_TREE, name.list());
    let mut child = Started::command(command);
    child.pid_line();
    assert_eq!(members(&name.tree(None)), [child.pid]);
}
