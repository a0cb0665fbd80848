use super::*;
use crate::containment::testing::{Name, Started, end, lives, snapshot};

/// In its group: a child. Out of it: one of a session of its own, one without an environment.
const TREE: &str = "sleep 1000 >&- & echo $!
    setsid sh -c 'echo $$; exec sleep 1000 >&-' &
    setsid env -i /bin/sh -c 'echo $$; exec /bin/sleep 1000 >&-' &
    wait";

fn killed(killed: u32) -> Outcome {
    Outcome {
        killed,
        ..Outcome::default()
    }
}

fn tree(name: &Name) -> (Started, Vec<Pid>) {
    let mut child = Started::tagged(TREE, name);
    let others = (0..3).map(|_| child.pid_line()).collect();
    (child, others)
}

/// A look at all processes that shows the one of this name, which is a `sleep` by then: in the midst of
/// its `execve` it has no environment.
fn look_at(name: &Name) -> (Snapshot, Seen) {
    loop {
        let snapshot = snapshot();
        let seen = snapshot.members(name.tag(), None).first().copied().cloned();
        let Some(seen) = seen else { continue };
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", seen.pid.as_raw_pid()));
        // Looked at afterwards, and so has its environment if it had it before.
        if comm.is_ok_and(|comm| comm == "sleep\n") {
            return (snapshot, seen);
        }
    }
}

#[test]
fn a_whole_tree_is_extinguished_and_counted_without_its_root() {
    let (name, other) = (Name::new(), Name::new());
    let decoy = Started::tagged("exec sleep 1000", &other);
    let (mut child, others) = tree(&name);
    assert_eq!(extinguish(name.tree(Some(child.pid)), None).killed, 3);
    assert!(others.into_iter().all(|pid| !lives(pid)));
    assert_eq!(child.signal(), Some(9));
    assert!(decoy.is_running());
}

#[test]
fn the_tree_of_a_manager_is_that_of_all_its_processes() {
    let (one, other) = (Name::new(), Name::new());
    let two = Name {
        manager: one.manager,
        ..Name::new()
    };
    let mut ours = [&one, &two].map(|name| Started::tagged("exec sleep 1000", name));
    let decoy = Started::tagged("exec sleep 1000", &other);
    let tree = Tree {
        tag: Tag::Manager(one.manager),
        root: None,
        known: Vec::new(),
    };
    assert_eq!(extinguish(tree, None).killed, 2);
    assert!(ours.iter_mut().all(|child| child.signal() == Some(9)));
    assert!(decoy.is_running());
}

#[test]
fn what_keeps_forking_ends_too() {
    let name = Name::new();
    let script = "exec >&-; while :; do
        setsid sh -c 'sleep 1000 & sleep 1000' & sleep 0.01; done";
    let mut child = Started::tagged(script, &name);
    child.output_ends();
    extinguish(name.tree(Some(child.pid)), None);
    assert_eq!(child.signal(), Some(9));
    assert!(snapshot().members(name.tag(), None).is_empty());
}

#[test]
fn a_number_that_is_somebody_elses_by_now_gets_no_signal() {
    let name = Name::new();
    let mut child = Started::tagged("exec sleep 1000", &name);
    let (look, seen) = look_at(&name);
    let mut other = seen.clone();
    other.start += 1;
    assert!(matches!(
        send(&look, &other, None, Signal::KILL),
        Sent::Gone
    ));
    assert!(child.is_running());
    // In the same tick of the clock, but another process by its tags.
    let mut other = seen.clone();
    other.tags.clear();
    assert!(matches!(
        send(&look, &other, None, Signal::KILL),
        Sent::Gone
    ));
    assert!(matches!(send(&look, &seen, None, Signal::KILL), Sent::Yes));
    assert_eq!(child.signal(), Some(9));
    assert!(matches!(send(&look, &seen, None, Signal::KILL), Sent::Gone));
}

#[test]
fn two_scans_in_a_row_have_to_find_nothing() {
    let name = Name::new();
    let mut hunt = Hunt::new(name.tree(None), None);
    assert_eq!(hunt.round(Ok(&snapshot()), Instant::now()), None);
    let mut late = Started::tagged("exec sleep 1000", &name);
    assert_eq!(hunt.round(Ok(&look_at(&name).0), Instant::now()), None);
    assert_eq!(late.signal(), Some(9));
    let quiet = || {
        let mut snapshot = snapshot();
        snapshot.unsettled = false;
        snapshot
    };
    assert_eq!(hunt.round(Ok(&quiet()), Instant::now()), None);
    assert_eq!(hunt.round(Ok(&quiet()), Instant::now()), Some(killed(1)));
}

#[test]
fn what_is_unsettled_is_looked_at_again_but_not_for_ever() {
    let mut hunt = Hunt::new(Name::new().tree(None), None);
    let mut unsettled = Snapshot::default();
    unsettled.unsettled = true;
    let rounds = (1..100).find(|_| hunt.round(Ok(&unsettled), Instant::now()).is_some());
    assert_eq!(rounds, Some(MAX_UNSETTLED + 2));
}

#[test]
fn what_was_killed_and_does_not_go_is_given_up() {
    let name = Name::new();
    let mut child = Started::tagged("exec sleep 1000", &name);
    let (seen, _) = look_at(&name);
    let mut hunt = Hunt::new(name.tree(None), None);
    // The same scan again and again: it never goes.
    let begun = Instant::now();
    assert_eq!(hunt.round(Ok(&seen), begun), None);
    assert_eq!(hunt.round(Ok(&seen), begun + PATIENCE / 2), None);
    child.exited();
    let outcome = hunt.round(Ok(&seen), begun + PATIENCE);
    // A look at it shows that it is a zombie by now.
    assert_eq!(outcome, Some(killed(1)));
    assert_eq!(hunt.dying.len(), 1);
    assert_eq!(child.signal(), Some(9));
}

/// Numbers are used again at once where few are free, within one tick of the clock that starts are told in.
#[test]
fn somebody_with_the_number_and_start_of_what_was_killed_is_not_waited_for() {
    let (name, other) = (Name::new(), Name::new());
    let mut child = Started::tagged("exec sleep 1000", &name);
    let bystander = Started::tagged("exec sleep 1000", &other);
    let mut hunt = Hunt::new(name.tree(None), None);
    assert_eq!(hunt.round(Ok(&look_at(&name).0), Instant::now()), None);
    assert_eq!(child.signal(), Some(9));
    let (now, mut seen) = look_at(&other);
    seen.tags = hunt.dying.drain().next().expect("killed").1.tags;
    hunt.dying.insert(seen.identity(), seen);
    let ended = (0..4).find_map(|_| hunt.round(Ok(&now), Instant::now()));
    assert_eq!(ended, Some(killed(1)));
    assert!(bystander.is_running());
}

/// A hunt that keeps making progress is given up, too, in the end.
#[test]
fn a_tree_that_is_never_all_killed_is_given_up() {
    let name = Name::new();
    let mut hunt = Hunt::new(name.tree(None), None);
    let begun = Instant::now();
    let mut rounds = 0;
    let outcome = loop {
        let mut next = Started::tagged("exec sleep 1000", &name);
        let now = begun + rounds * (PATIENCE / 2);
        rounds += 1;
        let outcome = hunt.round(Ok(&look_at(&name).0), now);
        assert_eq!(next.signal(), Some(9));
        if let Some(outcome) = outcome {
            break outcome;
        }
    };
    assert_eq!((rounds - 1) * (PATIENCE / 2), LONGEST);
    assert_eq!(outcome.killed, rounds);
    assert!(outcome.left().is_some_and(|left| left.contains("faster")));
}

#[test]
fn without_scans_the_group_is_killed_at_once_and_the_hunt_is_given_up() {
    let name = Name::new();
    let mut child = Started::script("exec sleep 1000", &[]);
    let mut hunt = Hunt::new(name.tree(Some(child.pid)), None);
    let error = io::Error::from_raw_os_error(libc::EMFILE);
    let begun = Instant::now();
    assert_eq!(hunt.round(Err(&error), begun), None);
    assert_eq!(child.signal(), Some(9));
    let outcome = hunt.round(Err(&error), begun + PATIENCE);
    let left = outcome.and_then(|outcome| outcome.left());
    assert!(left.is_some_and(|left| left.contains("cannot look")));
}

/// The child has neither the tag nor the group, and its parent has gone: only the list of children
/// that was taken before names it.
#[test]
fn a_child_that_was_known_is_found_when_its_parent_is_gone() {
    let name = Name::new();
    let script =
        "setsid env -i /bin/sh -c 'echo $$; exec /bin/sleep 1000 >&-' & exec sleep 1000 >&-";
    let mut parent = Started::script(script, &[]);
    let child = parent.pid_line();
    let known = crate::containment::children(parent.pid);
    if known.is_empty() {
        // A kernel that does not tell.
        return end(child);
    }
    end(parent.pid);
    assert_eq!(parent.signal(), Some(9));
    let mut tree = name.tree(None);
    assert_eq!(extinguish(tree.clone(), None).killed, 0);
    assert!(lives(child));
    tree.known = known;
    assert_eq!(extinguish(tree, None).killed, 1);
    assert!(!lives(child));
}

#[tokio::test]
async fn hunts_share_their_scans_and_go_on_without_their_waiters() {
    let hunter = Hunter::new();
    let (name, left) = (Name::new(), Name::new());
    let (mut child, others) = tree(&name);
    let mut forsaken = Started::tagged("exec sleep 1000", &left);
    {
        let hunt = hunter.hunt(left.tree(Some(forsaken.pid)), None, false);
        tokio::pin!(hunt);
        assert!(futures_util::poll!(hunt).is_pending());
    }
    let nothing = Name::new();
    let (killed, none) = tokio::join!(
        hunter.hunt(name.tree(Some(child.pid)), None, true),
        hunter.hunt(nothing.tree(None), None, false)
    );
    assert_eq!((killed.killed, none.killed), (3, 0));
    assert_eq!(child.signal(), Some(9));
    assert_eq!(forsaken.signal(), Some(9));
    assert!(others.into_iter().all(|pid| !lives(pid)));
}

fn is_stopped(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
    stat.expect("there").contains(") T ")
}

#[tokio::test]
async fn a_signal_is_sent_once_to_each() {
    let hunter = Hunter::new();
    let name = Name::new();
    let mut child = Started::tagged(
        "setsid sh -c 'echo $$; exec sleep 1000' & exec sleep 1000",
        &name,
    );
    let far = child.pid_line();
    let tree = name.tree(Some(child.pid));
    assert_eq!(
        hunter
            .signal(tree.clone(), Signal::STOP)
            .await
            .expect("sent"),
        2
    );
    // Until then it has the other signal first.
    while ![child.pid, far].into_iter().all(is_stopped) {}
    assert_eq!(
        hunter
            .signal(tree.clone(), Signal::TERM)
            .await
            .expect("sent"),
        2
    );
    assert_eq!(hunter.signal(tree, Signal::CONT).await.expect("sent"), 2);
    assert_eq!(child.signal(), Some(15));
    let none = Name::new().tree(None);
    assert_eq!(hunter.signal(none, Signal::TERM).await.expect("none"), 0);
    end(far);
}

#[tokio::test]
async fn the_thread_ends_with_its_last_handle() {
    let hunter = Hunter::new();
    let none = hunter.hunt(Name::new().tree(None), None, true).await;
    assert_eq!(none, killed(0));
    let other = hunter.clone();
    drop(hunter);
    let none = other.hunt(Name::new().tree(None), None, true).await;
    assert_eq!(none, killed(0));
    let shared = other.shared();
    drop(other);
    while shared.upgrade().is_some() {
        tokio::task::yield_now().await;
    }
}
