use super::*;
use crate::containment::testing::{Name, Started};
use crate::run_dir::MARKER;
use crate::run_dir::testing::{fast_directory, make_levels, no_deadline};
use std::os::unix::fs::symlink;

fn directory(root: &Path, name: &str, marker: Option<&str>) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.join("run")).expect("made");
    fs::write(path.join("run/file"), "text").expect("written");
    if let Some(text) = marker {
        fs::write(path.join(MARKER), text).expect("written");
    }
    path
}

fn marked(root: &Path, manager: Uuid) -> PathBuf {
    directory(root, &manager.to_string(), Some(&format!("{manager}\n")))
}

#[test]
fn what_dead_managers_left_is_killed_and_removed() {
    let root = tempfile::tempdir().expect("a directory");
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("kept"), "text").expect("written");
    let (one, two, own) = (Name::new(), Name::new(), Name::new());
    let path = marked(root.path(), one.manager);
    symlink(outside.path(), path.join("link")).expect("linked");
    let empty = marked(root.path(), two.manager);
    let kept = marked(root.path(), own.manager);
    let mut left = [(); 2].map(|()| Started::tagged("exec sleep 1000", &one));
    let decoy = Started::tagged("exec sleep 1000", &own);

    let mut swept = sweep(root.path(), own.manager);
    swept.sort_by_key(Swept::killed);
    let [second, first] = &swept[..] else {
        panic!("two are expected: {swept:?}")
    };
    assert_eq!((first.manager(), first.directory()), (one.manager, &*path));
    assert_eq!((first.killed(), first.problem()), (2, None));
    assert_eq!(
        (second.manager(), second.directory()),
        (two.manager, &*empty)
    );
    assert_eq!((second.killed(), second.problem()), (0, None));
    assert!(left.iter_mut().all(|child| child.signal() == Some(9)));
    assert!(decoy.is_running());
    assert!(!path.exists() && !empty.exists() && kept.exists());
    assert!(outside.path().join("kept").exists());
    assert_eq!(sweep(root.path(), own.manager), []);
}

#[test]
fn what_is_not_surely_a_managers_is_left_alone() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let id = Uuid::new_v4;
    let text = |id: Uuid| format!("{id}\n");

    directory(root, &id().to_string(), None);
    directory(root, &id().to_string(), Some(""));
    directory(root, &id().to_string(), Some(&text(id())));
    let name = id();
    directory(root, &name.to_string(), Some(&format!("{name}\nand more")));
    let name = id();
    directory(root, &name.simple().to_string(), Some(&text(name)));
    let name = id();
    directory(root, &name.to_string().to_uppercase(), Some(&text(name)));
    directory(root, "work", Some(&text(id())));
    let name = id();
    let linked = directory(root, &name.to_string(), None);
    fs::write(root.join("marker"), text(name)).expect("written");
    symlink(root.join("marker"), linked.join(MARKER)).expect("linked");
    let name = id();
    let fifo = directory(root, &name.to_string(), None).join(MARKER);
    crate::run_dir::create_fifo(&fifo).expect("made");
    let name = id();
    let target = directory(root, "target", Some(&text(name)));
    symlink(&target, root.join(name.to_string())).expect("linked");
    fs::write(root.join(id().to_string()), "a file").expect("written");

    let all = || {
        let mut paths: Vec<_> = fs::read_dir(root)
            .expect("there")
            .map(|entry| entry.expect("there").path())
            .collect();
        paths.sort();
        paths
    };
    let before = all();
    assert_eq!(sweep(root, id()), []);
    assert_eq!(all(), before);
    assert!(target.join("run/file").exists());
}

#[test]
fn what_cannot_be_removed_is_told() {
    let root = tempfile::tempdir().expect("a directory");
    let path = marked(root.path(), Uuid::new_v4());
    let manager = path.file_name().and_then(|name| name.to_str());
    let manager = manager.and_then(|name| Uuid::try_parse(name).ok());
    let dead = Kind::Own.dead(manager.expect("a UUID"), path.clone());
    let dead = dead.expect("it is dead");
    let deadline = Deadline::after(REMOVAL);
    let outcome = Outcome {
        unseen: Some("something".to_owned()),
        ..Outcome::default()
    };
    let problem = remove(&dead, &outcome, deadline).expect("not killed");
    assert_eq!(problem, "not all of its processes end: something");
    assert!(path.exists());
    let outcome = Outcome::default();
    let problem = remove(&dead, &outcome, Deadline::after(Duration::ZERO));
    let problem = problem.expect("no time for it");
    assert!(problem.contains("the time"), "{problem}");
    assert!(path.join(MARKER).exists(), "the marker goes last");
    assert_eq!(remove(&dead, &outcome, deadline), None);
    assert!(!path.exists());
    assert_eq!(
        remove(&dead, &outcome, deadline),
        None,
        "as good as removed"
    );
}

/// On a thread whose stack would hold no recursion.
#[test]
fn any_depth_is_swept() {
    let root = fast_directory();
    let path = marked(root.path(), Uuid::new_v4());
    make_levels(&path.join("run"), 15_000);
    let place = root.path().to_owned();
    let sweep = move || sweep_all(&place, Kind::Own, None, no_deadline());
    let thread = std::thread::Builder::new().stack_size(256 * 1024);
    let swept = thread.spawn(sweep).expect("a thread").join();
    let swept = swept.expect("no overflow");
    assert_eq!(swept[0].problem(), None);
    assert!(!path.exists());
}

#[test]
fn what_is_locked_is_left_alone() {
    let root = tempfile::tempdir().expect("a directory");
    let name = Name::new();
    let path = marked(root.path(), name.manager);
    let child = Started::tagged("exec sleep 1000", &name);
    let alive = LockedDir::of_dead(path.clone(), name.manager).expect("locked");
    assert_eq!(sweep(root.path(), Uuid::new_v4()), []);
    assert!(child.is_running() && path.join("run/file").exists());
    drop(alive);
    assert_eq!(sweep(root.path(), Uuid::new_v4()).len(), 1);
    assert!(!child.is_running() && !path.exists());
}

/// More than are open at a time.
#[test]
fn many_dead_managers_are_swept() {
    let root = tempfile::tempdir().expect("a directory");
    for _ in 0..=FEW {
        marked(root.path(), Uuid::new_v4());
    }
    let swept = sweep(root.path(), Uuid::new_v4());
    assert_eq!(swept.len(), FEW + 1);
    assert_eq!(fs::read_dir(root.path()).expect("there").count(), 0);
}

fn private(temporary: &Path, manager: Uuid) -> PathBuf {
    let name = format!("procession-{}", manager.simple());
    let root = directory(temporary, &name, Some(&format!("{manager}\n")));
    marked(&root, manager);
    root
}

#[test]
fn private_working_directories_of_dead_managers_are_swept_and_no_others() {
    let temporary = tempfile::tempdir().expect("a directory");
    let temporary = temporary.path();
    let (dead, alive, holder) = (Name::new(), Name::new(), Name::new());
    let mut child = Started::tagged("exec sleep 1000", &dead);
    let other = Started::tagged("exec sleep 1000", &alive);
    let gone = private(temporary, dead.manager);
    let kept = private(temporary, alive.manager);
    let _lock = LockedDir::of_dead(kept.clone(), alive.manager).expect("locked");
    // A living manager uses a dead one's private directory.
    let used = private(temporary, holder.manager);
    let inside = used.join(holder.manager.to_string());
    let _inside = LockedDir::of_dead(inside, holder.manager).expect("locked");
    let unmarked = temporary.join(format!("procession-{}", Uuid::new_v4().simple()));
    fs::create_dir(&unmarked).expect("made");
    let similar = directory(temporary, "procession-data", Some("procession-data\n"));

    let swept = sweep_temporary(temporary);
    assert_eq!(swept.len(), 1, "{swept:?}");
    assert_eq!(swept[0].directory(), gone);
    assert_eq!((swept[0].killed(), swept[0].problem()), (1, None));
    assert_eq!(child.signal(), Some(9));
    assert!(other.is_running());
    assert!(!gone.exists());
    for there in [kept, used, unmarked, similar] {
        assert!(there.exists(), "{}", there.display());
    }
}

#[test]
fn a_directory_that_is_not_there_has_nothing_in_it() {
    let root = tempfile::tempdir().expect("a directory");
    assert_eq!(sweep(&root.path().join("missing"), Uuid::new_v4()), []);
}
