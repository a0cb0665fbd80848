use super::*;
use crate::containment::testing::{Name, Started};
use std::os::unix::fs::{PermissionsExt, symlink};

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
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        Mode::RUSR,
        0,
    )
    .expect("made");
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
    let outcome = Outcome {
        unseen: Some("something".to_owned()),
        ..Outcome::default()
    };
    let problem = remove(&path, None, &outcome).expect("not killed");
    assert_eq!(problem, "not all of its processes end: something");
    assert!(path.exists());
    let outcome = Outcome::default();
    // A user who may do anything is stopped by no mode.
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&path, PermissionsExt::from_mode(0o500)).expect("set");
        assert!(remove(&path, None, &outcome).is_some());
        fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).expect("set");
    }
    assert_eq!(remove(&path, None, &outcome), None);
    assert_eq!(remove(&path, None, &outcome), None, "as good as removed");
}

#[test]
fn a_directory_that_is_not_there_has_nothing_in_it() {
    let root = tempfile::tempdir().expect("a directory");
    assert_eq!(sweep(&root.path().join("missing"), Uuid::new_v4()), []);
}
