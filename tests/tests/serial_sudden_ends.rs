//! A parent ends in every way but a shutdown, alone and in a crowd: nothing is left of its children.
//!
//! Serial: it fills the machine.

use std::time::Duration;

use procession_tests::scene::{Crowd, Scene};
use procession_tests::{alone, fixture, procfs};

/// How the parent ends, and its exit code; none, where it lives on.
const ENDINGS: [(&str, Option<i32>); 6] = [
    ("returns", Some(0)),
    ("exits", Some(3)),
    ("panics", Some(101)),
    ("panics-in-a-task", None),
    ("drops-the-runtime", None),
    ("drops-the-runtime-in-the-background", None),
];

const BOUND: Duration = Duration::from_secs(2);
/// Each look at so many processes takes a tenth of a second, and there are several.
const BOUND_IN_A_CROWD: Duration = Duration::from_secs(10);

fn nothing_is_left(ending: &str, code: Option<i32>, bound: Duration) {
    let scene = Scene::new();
    let (directory, inner) = (scene.directory("work"), scene.directory("inner"));
    let program = fixture!("parent_of_many");
    let mut parent = scene.start_parent(program, &directory, (ending, 5), Some(&inner));
    parent.tell("now");
    if code.is_some() {
        assert_eq!(parent.end().code(), code, "{ending}");
        scene.await_silence(&[], &[&directory, &inner], bound);
    } else {
        assert_eq!(parent.line(), "alive", "{ending}");
        scene.await_silence(&[parent.pid()], &[&directory, &inner], bound);
        assert!(procfs::is_alive(parent.pid()));
    }
}

fn nothing_is_left_of_a_killed_one(bound: Duration) {
    let scene = Scene::new();
    let (directory, inner) = (scene.directory("work"), scene.directory("inner"));
    let program = fixture!("parent_of_many");
    let mut parent = scene.start_parent(program, &directory, ("returns", 5), Some(&inner));
    parent.kill();
    scene.await_silence(&[], &[&directory, &inner], bound);
}

#[test]
fn nothing_is_left_however_it_ends() {
    let _alone = alone();
    for (ending, code) in ENDINGS {
        nothing_is_left(ending, code, BOUND);
    }
}

#[test]
fn nothing_is_left_with_eight_thousand_others_on_the_machine() {
    let _alone = alone();
    let crowd = Crowd::of(8_000);
    for (ending, code) in ENDINGS {
        nothing_is_left(ending, code, BOUND_IN_A_CROWD);
    }
    nothing_is_left_of_a_killed_one(BOUND_IN_A_CROWD);
    drop(crowd);
}
