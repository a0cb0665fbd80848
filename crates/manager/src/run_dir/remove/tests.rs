use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::rc::Rc;

use super::*;

const SALT: u64 = 0x1234;
const ROOT: u64 = 1;

/// A file system in memory.
#[derive(Default)]
struct Fake {
    nodes: RefCell<HashMap<u64, Node>>,
    next: Cell<u64>,
    time: Cell<u64>,
    calls: Cell<u64>,
    open: Rc<Cell<usize>>,
    most_open: Cell<usize>,
    /// How many entries a directory may have before a move to it fails with `ENOSPC`.
    room: Cell<Option<usize>>,
    /// Done before each call, as another process would: with the name that the call is about.
    meanwhile: RefCell<Option<Meanwhile>>,
}

type Meanwhile = Box<dyn FnMut(&Fake, &str, &[u8])>;

struct Node {
    /// `None` for a file.
    entries: Option<BTreeMap<Vec<u8>, u64>>,
    mode: u32,
    device: u64,
    is_mount_point: bool,
}

struct Opened {
    node: u64,
    last: RefCell<Option<Vec<u8>>>,
    open: Rc<Cell<usize>>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl Fake {
    /// With an empty directory `top` in its root.
    fn new() -> Self {
        let fake = Self::default();
        fake.next.set(ROOT);
        fake.node(true);
        fake.directory(ROOT, "top");
        fake
    }

    fn node(&self, is_directory: bool) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        let node = Node {
            entries: is_directory.then(BTreeMap::new),
            mode: 0o700,
            device: 1,
            is_mount_point: false,
        };
        self.nodes.borrow_mut().insert(id, node);
        id
    }

    fn add(&self, parent: u64, name: &str, is_directory: bool) -> u64 {
        let id = self.node(is_directory);
        self.with(parent, |node| {
            let entries = node.entries.as_mut().expect("a directory");
            entries.insert(name.as_bytes().to_vec(), id);
        });
        id
    }

    fn directory(&self, parent: u64, name: &str) -> u64 {
        self.add(parent, name, true)
    }

    fn file(&self, parent: u64, name: &str) -> u64 {
        self.add(parent, name, false)
    }

    fn with<T>(&self, node: u64, change: impl FnOnce(&mut Node) -> T) -> T {
        change(self.nodes.borrow_mut().get_mut(&node).expect("there"))
    }

    fn top(&self) -> Option<u64> {
        self.find(ROOT, b"top").ok()
    }

    fn find(&self, parent: u64, name: &[u8]) -> Result<u64, Errno> {
        let nodes = self.nodes.borrow();
        let entries = nodes[&parent].entries.as_ref().expect("a directory");
        entries.get(name).copied().ok_or(libc::ENOENT)
    }

    fn names(&self, parent: u64) -> Vec<String> {
        self.with(parent, |node| {
            let names = node.entries.as_ref().expect("a directory").keys();
            let text = names.map(|name| String::from_utf8_lossy(name).into_owned());
            text.collect()
        })
    }

    fn call(&self, what: &str, name: &[u8]) {
        self.calls.set(self.calls.get() + 1);
        let meanwhile = self.meanwhile.borrow_mut().take();
        if let Some(mut meanwhile) = meanwhile {
            meanwhile(self, what, name);
            *self.meanwhile.borrow_mut() = Some(meanwhile);
        }
    }

    fn opened(&self, node: u64) -> Opened {
        self.open.set(self.open.get() + 1);
        self.most_open
            .set(self.most_open.get().max(self.open.get()));
        Opened {
            node,
            last: RefCell::default(),
            open: Rc::clone(&self.open),
        }
    }

    /// Fails as an ordinary user does without the right to change a directory.
    fn changeable(&self, parent: u64) -> Result<(), Errno> {
        let mode = self.with(parent, |node| node.mode);
        if mode & 0o300 == 0o300 {
            Ok(())
        } else {
            Err(libc::EACCES)
        }
    }

    fn take(&self, parent: u64, name: &[u8]) {
        self.with(parent, |node| {
            node.entries.as_mut().expect("a directory").remove(name);
        });
    }

    fn remove_top(&self, terms: Terms<'_>) -> Result<(), Left> {
        let root = self.opened(ROOT);
        remove(self, &root, c"top", terms)
    }
}

impl System for Fake {
    type Directory = Opened;

    fn open(&self, parent: &Opened, name: &CStr) -> Result<Opened, Errno> {
        self.call("open", name.to_bytes());
        let id = self.find(parent.node, name.to_bytes())?;
        self.with(id, |node| match node {
            Node { entries: None, .. } => Err(libc::ENOTDIR),
            Node { mode, .. } if *mode & 0o400 == 0 => Err(libc::EACCES),
            _ => Ok(()),
        })?;
        Ok(self.opened(id))
    }

    fn status(&self, directory: &Opened) -> Result<Status, Errno> {
        Ok(self.with(directory.node, |node| Status {
            device: node.device,
            mode: node.mode,
        }))
    }

    fn read(&self, directory: &Opened, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.call("read", b"");
        let mut len = 0;
        let nodes = self.nodes.borrow();
        let entries = nodes[&directory.node].entries.as_ref().expect("open");
        let mut last = directory.last.borrow_mut();
        for (name, id) in entries {
            if last.as_ref().is_some_and(|last| name <= last) {
                continue;
            }
            let record = (19 + name.len() + 1).next_multiple_of(8);
            let Some(place) = buffer.get_mut(len..len + record) else {
                break;
            };
            place.fill(0);
            let length = u16::try_from(record).expect("short").to_ne_bytes();
            place[16..18].copy_from_slice(&length);
            // Every other one of a kind that the file system does not tell.
            if nodes[id].entries.is_some() && id % 2 == 0 {
                place[18] = libc::DT_DIR;
            }
            place[19..19 + name.len()].copy_from_slice(name);
            len += record;
            *last = Some(name.clone());
        }
        Ok(len)
    }

    fn rewind(&self, directory: &Opened) -> Result<(), Errno> {
        *directory.last.borrow_mut() = None;
        Ok(())
    }

    fn unlink(&self, parent: &Opened, name: &CStr) -> Result<(), Errno> {
        self.call("unlink", name.to_bytes());
        let id = self.find(parent.node, name.to_bytes())?;
        self.changeable(parent.node)?;
        if self.with(id, |node| node.entries.is_some()) {
            return Err(libc::EISDIR);
        }
        self.take(parent.node, name.to_bytes());
        Ok(())
    }

    fn remove_directory(&self, parent: &Opened, name: &CStr) -> Result<(), Errno> {
        self.call("remove", name.to_bytes());
        let id = self.find(parent.node, name.to_bytes())?;
        self.changeable(parent.node)?;
        self.with(id, |node| match node {
            Node { entries: None, .. } => Err(libc::ENOTDIR),
            Node {
                is_mount_point: true,
                ..
            } => Err(libc::EBUSY),
            Node {
                entries: Some(entries),
                ..
            } if !entries.is_empty() => Err(libc::ENOTEMPTY),
            _ => Ok(()),
        })?;
        self.take(parent.node, name.to_bytes());
        Ok(())
    }

    fn rename(&self, from: (&Opened, &CStr), to: (&Opened, &CStr)) -> Result<(), Errno> {
        self.call("rename", from.1.to_bytes());
        let id = self.find(from.0.node, from.1.to_bytes())?;
        self.changeable(from.0.node)?;
        self.changeable(to.0.node)?;
        if from.0.node != to.0.node {
            self.changeable(id)?;
            let there = self.names(to.0.node).len();
            if self.room.get().is_some_and(|room| there >= room) {
                return Err(libc::ENOSPC);
            }
        }
        if let Ok(there) = self.find(to.0.node, to.1.to_bytes()) {
            self.with(there, |node| match &node.entries {
                None => Err(libc::ENOTDIR),
                Some(entries) if !entries.is_empty() => Err(libc::ENOTEMPTY),
                Some(_) => Ok(()),
            })?;
        }
        self.take(from.0.node, from.1.to_bytes());
        self.with(to.0.node, |node| {
            let entries = node.entries.as_mut().expect("open");
            entries.insert(to.1.to_bytes().to_vec(), id);
        });
        Ok(())
    }

    fn make_accessible(&self, parent: &Opened, name: &CStr) -> Result<(), Errno> {
        self.call("mode", name.to_bytes());
        let id = self.find(parent.node, name.to_bytes())?;
        self.with(id, |node| node.mode = 0o700);
        Ok(())
    }

    fn now(&self) -> u64 {
        self.time.set(self.time.get() + 1);
        self.time.get()
    }
}

fn terms() -> Terms<'static> {
    Terms {
        kept: None,
        deadline: u64::MAX,
        salt: SALT,
    }
}

#[test]
fn any_depth_takes_two_descriptors_and_a_few_calls_for_each_level() {
    const LEVELS: u64 = 15_000;
    let fake = Fake::new();
    let mut at = fake.top().expect("there");
    for _ in 0..LEVELS {
        fake.file(at, "file");
        at = fake.directory(at, "level");
    }
    assert_eq!(fake.remove_top(terms()), Ok(()));
    assert_eq!(fake.top(), None);
    // The directory above, which the caller has open, is a third.
    assert_eq!(fake.most_open.get(), 3);
    assert!(fake.calls.get() < 12 * LEVELS, "{}", fake.calls.get());
}

#[test]
fn many_in_one_directory_are_removed() {
    let fake = Fake::new();
    let top = fake.top().expect("there");
    for number in 0..1000 {
        let inner = fake.directory(top, &format!("{number:0255}"));
        fake.file(inner, &"x".repeat(255));
        for number in 0..10 {
            let inner = fake.directory(inner, &format!("{number}"));
            fake.directory(inner, "empty");
        }
    }
    assert_eq!(fake.remove_top(terms()), Ok(()));
    assert_eq!(fake.top(), None);
}

#[test]
fn what_is_no_directory_is_removed_and_what_is_gone_is_as_good() {
    let fake = Fake::new();
    let root = fake.opened(ROOT);
    fake.file(ROOT, "file");
    assert_eq!(remove(&fake, &root, c"file", terms()), Ok(()));
    assert_eq!(fake.names(ROOT), ["top"]);
    assert_eq!(remove(&fake, &root, c"file", terms()), Ok(()));
}

/// Of its own device or of the same, as a bind mount is.
#[test]
fn what_is_mounted_is_left_and_told() {
    for device in [1, 2] {
        let fake = Fake::new();
        let inner = fake.directory(fake.top().expect("there"), "inner");
        fake.file(inner, "file");
        let mounted = fake.directory(inner, "mounted");
        let precious = fake.file(mounted, "precious");
        let change = |node: &mut Node| (node.is_mount_point, node.device) = (true, device);
        fake.with(mounted, change);
        let left = fake.remove_top(terms()).expect_err("left");
        assert_eq!((left.entries, left.error), (1, libc::EBUSY));
        assert_eq!(left.name(), b"mounted");
        assert_eq!(fake.find(mounted, b"precious"), Ok(precious));
        // All else is gone, but for the directories above it.
        assert_eq!(fake.names(inner), ["mounted"]);
        // One that came later than the look at it.
        fake.with(mounted, |node| node.is_mount_point = false);
        let left = fake.remove_top(terms());
        let expected = if device == 1 { None } else { Some(libc::EXDEV) };
        assert_eq!(left.err().map(|left| left.error), expected);
        assert_eq!(fake.find(mounted, b"precious").is_ok(), device == 2);
    }
}

#[test]
fn modes_that_shut_out_an_ordinary_user_are_set() {
    for mode in [0, 0o100, 0o400, 0o500, 0o600] {
        let fake = Fake::new();
        let top = fake.top().expect("there");
        let mut shut = vec![top];
        let mut at = top;
        for _ in 0..3 {
            at = fake.directory(at, "inner");
            fake.file(at, "file");
            shut.push(at);
        }
        for id in shut {
            fake.with(id, |node| node.mode = mode);
        }
        assert_eq!(fake.remove_top(terms()), Ok(()), "{mode:o}");
        assert_eq!(fake.top(), None);
    }
}

#[test]
fn names_that_are_taken_are_passed_over_and_go_too() {
    let fake = Fake::new();
    let top = fake.top().expect("there");
    for number in [0, 1, 2, 5] {
        let name = QueueName::new(SALT, number);
        let name = name.as_c_str().to_str().expect("ASCII");
        match number {
            0 => drop(fake.file(top, name)),
            1 => drop(fake.directory(top, name)),
            _ => drop(fake.file(fake.directory(top, name), "inside")),
        }
    }
    for name in ["one", "two", "three"] {
        fake.file(fake.directory(fake.directory(top, name), "inner"), "file");
    }
    assert_eq!(fake.remove_top(terms()), Ok(()));
    assert_eq!(fake.top(), None);
}

/// A full disk has no room for more names in the directory; what is removed makes some.
#[test]
fn it_gets_on_without_room_for_a_move() {
    let fake = Fake::new();
    let top = fake.top().expect("there");
    for outer in ["one", "two", "three"] {
        let outer = fake.directory(top, outer);
        for inner in ["four", "five", "six"] {
            fake.file(fake.directory(outer, inner), "file");
        }
    }
    fake.room.set(Some(4));
    assert_eq!(fake.remove_top(terms()), Ok(()));

    let fake = Fake::new();
    let inner = fake.directory(fake.top().expect("there"), "inner");
    fake.file(fake.directory(inner, "innermost"), "file");
    fake.room.set(Some(0));
    let left = fake.remove_top(terms()).expect_err("no room at all");
    assert_eq!((left.entries, left.error), (1, libc::ENOSPC));
}

#[test]
fn entries_that_keep_appearing_end_it_at_the_deadline() {
    let fake = Fake::new();
    let top = fake.top().expect("there");
    fake.file(top, "first");
    let mut number = 0;
    *fake.meanwhile.borrow_mut() = Some(Box::new(move |fake, what, _| {
        if what == "unlink" {
            number += 1;
            fake.file(top, &format!("{number:010}"));
        }
    }));
    let terms = Terms {
        deadline: 1000,
        ..terms()
    };
    let left = fake.remove_top(terms).expect_err("never through");
    assert_eq!(left.error, libc::ETIMEDOUT);
    assert!(fake.time.get() < 1010, "{}", fake.time.get());
}

/// A directory that becomes a file, a file that becomes a directory, one that goes: before each
/// call.
#[test]
fn what_changes_meanwhile_is_removed_as_what_it_is() {
    for at in 0..60 {
        for change in 0..3 {
            let fake = Fake::new();
            let top = fake.top().expect("there");
            for name in ["one", "two"] {
                fake.file(fake.directory(top, name), "file");
            }
            fake.file(top, "three");
            let mut calls = 0;
            *fake.meanwhile.borrow_mut() = Some(Box::new(move |fake, _, name| {
                calls += 1;
                let name = std::str::from_utf8(name).expect("ASCII");
                if calls != at || name.is_empty() || fake.find(top, name.as_bytes()).is_err() {
                    return;
                }
                match change {
                    0 => drop(fake.file(top, name)),
                    1 => drop(fake.file(fake.directory(top, name), "new")),
                    _ => fake.take(top, name.as_bytes()),
                }
            }));
            assert_eq!(fake.remove_top(terms()), Ok(()), "{change} at {at}");
            assert_eq!(fake.top(), None);
        }
    }
}

#[test]
fn what_is_kept_stays_with_the_directory_and_nothing_else_does() {
    let fake = Fake::new();
    let top = fake.top().expect("there");
    let (root, directory) = (fake.opened(ROOT), fake.opened(top));
    let empty = |terms| remove_open(&fake, &directory, (&root, c"top"), terms);
    fake.file(top, ".kept");
    fake.file(
        fake.directory(fake.directory(top, "inner"), "inner"),
        "file",
    );
    let mounted = fake.directory(top, "mounted");
    fake.with(mounted, |node| node.is_mount_point = true);
    let kept = Terms {
        kept: Some(c".kept"),
        ..terms()
    };
    empty(kept).expect_err("something is mounted");
    assert_eq!(fake.names(top), [".kept", "mounted"]);
    fake.with(mounted, |node| node.is_mount_point = false);
    for _ in 0..2 {
        assert_eq!(empty(kept), Ok(()));
        assert_eq!(fake.names(top), [".kept"]);
    }
    // Of whatever kind it is by now.
    fake.file(fake.directory(top, ".kept"), "inside");
    assert_eq!(empty(terms()), Ok(()));
    assert_eq!(fake.top(), None);
}

#[test]
fn a_name_in_the_queue_tells_its_place() {
    for number in [0, 1, 0x00ab_cdef, u64::MAX] {
        let name = QueueName::new(SALT, number);
        assert_eq!(QueueName::number(SALT, name.as_c_str()), Some(number));
        assert_eq!(QueueName::number(SALT + 1, name.as_c_str()), None);
        let longer = [name.as_c_str().to_bytes(), b"0"].concat();
        let longer = CString::new(longer).expect("no zero");
        assert_eq!(QueueName::number(SALT, &longer), None);
    }
    assert_eq!(QueueName::number(SALT, c"short"), None);
}
