use super::*;
use crate::containment::testing::{Name, Started, end, lives, snapshot};
use crate::os;

/// Survives, with ever new children in its group.
const ROOT: &str = "trap : TERM; while :; do sleep 0.01; done";

fn look() -> Arc<Groups> {
    Arc::new(Groups::look().expect("a look"))
}

#[test]
fn the_group_is_told_at_once_and_the_others_once() {
    let name = Name::new();
    let script = format!("setsid sh -c 'echo $$; exec sleep 1000 >&-' & {ROOT}");
    let mut child = Started::tagged(&script, &name);
    let far = child.pid_line();
    let mut ask = Ask::new(name.tree(Some(child.pid)), Signal::TERM);
    ask.tell_group(&look());
    assert!(lives(far), "it is in a group of its own");
    while !snapshot()
        .members(name.tag(), None)
        .iter()
        .any(|seen| seen.pid == far)
    {}
    assert_eq!(ask.tell_others(&snapshot()).expect("sent"), 1);
    while lives(far) {}
    assert_eq!(ask.tell_others(&snapshot()).expect("none is left"), 0);
    assert!(child.is_running());
}

#[test]
fn what_leaves_the_group_when_it_was_told_is_not_told_again() {
    let name = Name::new();
    // It would end by another one.
    let leaver = "trap \"exec setsid sleep 1000 >&-\" TERM; echo $$; while :; do sleep 0.01; done";
    let script = format!("sh -c '{leaver}' & {ROOT}");
    let mut child = Started::tagged(&script, &name);
    let leaver = child.pid_line();
    let mut ask = Ask::new(name.tree(Some(child.pid)), Signal::TERM);
    ask.tell_group(&look());
    let number = leaver.as_raw_pid();
    while os::group_of(number) != Some(number) {}
    let seen_there = || {
        let snapshot = snapshot();
        let members = snapshot.members(name.tag(), None);
        let there = members.iter().any(|seen| seen.pid == leaver);
        there.then_some(snapshot)
    };
    let snapshot = std::iter::repeat_with(seen_there).flatten().next();
    let told = ask.tell_others(&snapshot.expect("it is there"));
    assert_eq!(told.expect("nobody is left"), 0);
    assert!(lives(leaver));
    // Who was not told before is told.
    let again = Ask::new(name.tree(None), Signal::TERM);
    assert!(again.tell_others(&self::snapshot()).expect("sent") > 0);
    while lives(leaver) {}
    end(child.pid);
}
