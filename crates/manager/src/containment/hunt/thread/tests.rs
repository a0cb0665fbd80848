use super::*;
use crate::containment::testing::{Name, Started, lives, snapshot};

fn thread() -> Thread {
    Thread::new(Arc::default())
}

fn hunt(tree: Tree, urgent: bool) -> Job {
    Job::Hunt {
        hunt: Box::new(Hunt::new(tree, None)),
        urgent,
        done: oneshot::channel().0,
    }
}

#[test]
fn what_has_just_got_a_signal_is_not_killed_before_the_next_scan() {
    let name = Name::new();
    let mut child = Started::tagged("trap '' TERM; echo $$; exec sleep 1000 >&-", &name);
    let pid = child.pid_line();
    while snapshot().members(name.tag(), None).is_empty() {}
    let mut thread = thread();
    thread.jobs = vec![
        hunt(name.tree(None), true),
        Job::Signal {
            ask: Ask::new(name.tree(None), Signal::TERM),
            untold: false,
            done: None,
        },
    ];
    let scan = Ok(snapshot());
    thread.round(&scan);
    assert!(lives(pid), "it got the signal alone");
    assert_eq!(thread.jobs.len(), 1);
    thread.round(&scan);
    assert_eq!(child.signal(), Some(9));
}

#[test]
fn hunts_rest_by_the_time_that_a_scan_takes() {
    let tree = Name::new().tree(None);
    let mut thread = thread();
    let took = Duration::from_millis(10);
    thread.took = took;
    thread.jobs = vec![hunt(tree.clone(), false)];
    assert_eq!(thread.rest(), 4 * took);
    thread.jobs.push(hunt(tree, true));
    assert_eq!(thread.rest(), took);
    thread.round(&Ok(Snapshot::default()));
    assert_eq!(thread.rest(), Duration::ZERO, "the second look follows");
    thread.round(&Ok(Snapshot::default()));
    assert!(thread.jobs.is_empty());
}

#[test]
fn told_groups_are_waited_for_until_all_their_roots_have_ended() {
    let names = [Name::new(), Name::new()];
    let children = names.map(|name| Started::tagged("exec sleep 1000 >&-", &name));
    let trees = [0, 1].map(|n: usize| names[n].tree(Some(children[n].pid)));
    let mut thread = thread();
    thread.jobs = trees
        .iter()
        .map(|tree| Job::Signal {
            ask: Ask::new(tree.clone(), Signal::TERM),
            untold: true,
            done: None,
        })
        .collect();
    thread.tell_groups();
    let took = Duration::from_millis(10);
    thread.took = took;
    if !thread.has_told {
        // An older kernel.
        return;
    }
    for (tree, expected) in trees.into_iter().zip([took, Duration::ZERO]) {
        assert_eq!(thread.rest(), took);
        thread.take(&mut vec![hunt(tree, true)]);
        assert_eq!(thread.rest(), expected);
    }
}

#[tokio::test]
async fn all_of_a_tree_gets_what_it_is_asked_by() {
    let name = Name::new();
    let script = "setsid sh -c 'echo $$; exec sleep 1000 >&-' & exec sleep 1000 >&-";
    let mut child = Started::tagged(script, &name);
    let far = child.pid_line();
    while snapshot().members(name.tag(), None).len() < 2 {}
    Hunter::new().ask(name.tree(Some(child.pid)), Signal::TERM);
    assert_eq!(child.signal(), Some(15));
    while lives(far) {}
}
