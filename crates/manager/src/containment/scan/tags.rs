//! Finds tags in an environment that comes in pieces, in memory that does not grow with it.
//!
//! ```text
//!   any variable ──`\0PROCESSION_TREE=`──► an entry of its list ──`:`──► the next entry
//!        ▲                                          │
//!        └────────────────────NUL───────────────────┘
//! ```

use std::sync::LazyLock;

use memchr::{memchr2, memmem};
use procession_wire::env::PROCESSION_TREE;
use uuid::Uuid;

use crate::containment::Tag;
use crate::id::ProcessId;

/// The length of a UUID in its hyphenated form.
const UUID: usize = 36;
/// `<manager>/<process>.`: the part of an entry that tells its tags.
const ENTRY: usize = 2 * UUID + 2;
/// The most tags of one process that count: of 128 managers, each started below the one before.
pub(super) const MAX_TAGS: usize = 256;

/// The start of the variable, with the end of the one before.
static NAME: LazyLock<Vec<u8>> =
    LazyLock::new(|| [b"\0", PROCESSION_TREE.as_bytes(), b"="].concat());
static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(&*NAME));

/// A search that is under way.
#[derive(Debug)]
pub(super) struct TagSearch {
    tags: Vec<Tag>,
    /// How many bytes of [`NAME`] came last; all of them within the variable.
    matched: usize,
    /// The start of the entry that comes, as far as it counts.
    entry: Vec<u8>,
}

impl TagSearch {
    /// Before the first byte.
    pub(super) fn new() -> Self {
        Self {
            tags: Vec::new(),
            // The first variable has none before it.
            matched: 1,
            entry: Vec::new(),
        }
    }

    /// Whether there are as many tags as count, so that nothing that follows does.
    pub(super) fn is_full(&self) -> bool {
        self.tags.len() >= MAX_TAGS
    }

    /// Takes the next piece. Most processes have no tags, and this is where a scan would spend its
    /// own time.
    pub(super) fn feed(&mut self, mut piece: &[u8]) {
        let name = &**NAME;
        while let Some(&first) = piece.first() {
            if self.is_full() {
                return;
            }
            if self.matched == name.len() {
                piece = self.feed_list(piece);
            } else if self.matched > 0 {
                if name[self.matched] == first {
                    self.matched += 1;
                    piece = &piece[1..];
                } else {
                    // Its first byte is nowhere else in the name, so only this one may begin it
                    // anew.
                    self.matched = 0;
                }
            } else if let Some(at) = FINDER.find(piece) {
                self.matched = name.len();
                piece = &piece[at + name.len()..];
            } else {
                let longest = (1..name.len()).rev();
                let mut ends = longest.filter(|&length| piece.ends_with(&name[..length]));
                self.matched = ends.next().unwrap_or(0);
                return;
            }
        }
    }

    /// Takes what belongs to the entry under way, and gives the rest.
    fn feed_list<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let end = memchr2(b':', 0, piece);
        let own = &piece[..end.unwrap_or(piece.len())];
        let room = ENTRY - self.entry.len();
        self.entry.extend_from_slice(&own[..own.len().min(room)]);
        let Some(end) = end else { return &[] };
        self.end_entry();
        if piece[end] == 0 {
            self.matched = 1;
        }
        &piece[end + 1..]
    }

    fn end_entry(&mut self) {
        self.tags.extend(tags_of_entry(&self.entry));
        self.tags.truncate(MAX_TAGS);
        self.entry.clear();
    }

    /// The tags of all that came. The last variable need not have an end.
    pub(super) fn finish(mut self) -> Vec<Tag> {
        if !self.is_full() {
            self.end_entry();
        }
        self.tags
    }
}

/// All that a process with this environment, which is separated by NUL bytes, is tagged with.
pub(in crate::containment) fn tags_of(environ: &[u8]) -> Vec<Tag> {
    let mut search = TagSearch::new();
    search.feed(environ);
    search.finish()
}

/// `<manager>/<process>.<run>`
fn tags_of_entry(entry: &[u8]) -> impl Iterator<Item = Tag> {
    let cut = |bytes: &[u8], end: u8| {
        let (id, rest) = bytes.split_at_checked(UUID)?;
        let id = Uuid::try_parse_ascii(id).ok()?;
        (rest.first() == Some(&end)).then_some(id)
    };
    let manager = cut(entry, b'/');
    let process = manager.and_then(|_| cut(&entry[UUID + 1..], b'.'));
    let both = manager.zip(process);
    let process = both.map(|(manager, process)| Tag::Process(manager, ProcessId::from(process)));
    manager.map(Tag::Manager).into_iter().chain(process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const M: &str = "6f0a5c2e-9d3b-4a57-8f43-2b9c1c0d7e11";
    const P: &str = "0b8e5f0a-4c1d-4f6e-9a2b-7d3c5e1f2a90";

    fn tags(environ: &str) -> Vec<Tag> {
        tags_of(environ.as_bytes())
    }

    #[test]
    fn only_whole_entries_of_the_one_variable_are_tags() {
        let manager: Uuid = M.parse().expect("a UUID");
        let process: ProcessId = P.parse().expect("a UUID");
        let both = vec![Tag::Manager(manager), Tag::Process(manager, process)];
        let other = Uuid::new_v4();
        for environ in [
            format!("PROCESSION_TREE={M}/{P}.0:"),
            format!("A=1\0PROCESSION_TREE={M}/{P}.12:\0B=2\0"),
            format!("PROCESSION_TREE=strange:{M}/{P}.3:\0"),
            format!("A=PROCESSION_TREE\0B=PROCESSION_TREE=\0PROCESSION_TREE={M}/{P}.4:"),
            format!("PROCESSION_PROCESSION_TREE=\0\0PROCESSION_TREE={M}/{P}.4"),
        ] {
            assert_eq!(tags(&environ), both, "{environ}");
        }
        let nested = tags(&format!("PROCESSION_TREE={other}/{P}.0:{M}/{P}.7:\0"));
        assert_eq!(nested.len(), 4);
        assert!(both.iter().all(|tag| nested.contains(tag)));
        for decoy in [
            String::new(),
            format!("PROCESSION_TREE2={M}/{P}.0:\0"),
            format!("MY_PROCESSION_TREE={M}/{P}.0:\0"),
            format!("procession_tree={M}/{P}.0:\0"),
            format!("A=PROCESSION_TREE={M}/{P}.0:\0"),
            format!("A={M}/{P}.0:\0PROCESSION_TREE=\0"),
            format!("PROCESSION_TREE=x{M}/{P}.0:\0"),
            format!("PROCESSION_TREE={M}0/{P}.0:\0"),
            format!("PROCESSION_TREE={M}:{P}.0:\0"),
            format!("PROCESSION_TREE={}/{P}.0:\0", &M[1..]),
            format!("PROCESSION_TREE={M}\0"),
        ] {
            assert_eq!(tags(&decoy), [], "{decoy}");
        }
        let short = tags(&format!("PROCESSION_TREE={M}/{P}:\0"));
        assert_eq!(short, [Tag::Manager(manager)], "no process without a run");
        let swapped = tags(&format!("PROCESSION_TREE={P}/{M}.0:\0"));
        assert!(both.iter().all(|tag| !swapped.contains(tag)));
    }

    #[test]
    fn of_more_tags_than_count_the_first_do() {
        let entries = |number| format!("{M}/{P}.0:").repeat(number);
        let most = MAX_TAGS / 2;
        for number in [most - 1, most, most + 1, 10 * most] {
            let found = tags(&format!("PROCESSION_TREE={}\0", entries(number)));
            assert_eq!(found.len(), 2 * number.min(most));
        }
        let odd = format!("PROCESSION_TREE={M}/:{}", entries(most));
        assert_eq!(tags(&odd).len(), MAX_TAGS);
    }

    #[test]
    fn what_is_held_does_not_grow_with_what_comes() {
        let mut search = TagSearch::new();
        search.feed(b"PROCESSION_TREE=");
        for _ in 0..1000 {
            search.feed(&[b'6'; 1000]);
        }
        assert!(search.entry.capacity() < 1000);
        assert!(search.finish().is_empty());
    }

    /// The same by looking at the whole.
    fn expected(environ: &[u8]) -> Vec<Tag> {
        let prefix = [PROCESSION_TREE.as_bytes(), b"="].concat();
        let variables = environ.split(|&byte| byte == 0);
        let lists = variables.filter_map(|variable| variable.strip_prefix(&*prefix));
        lists
            .flat_map(|list| list.split(|&byte| byte == b':'))
            .flat_map(tags_of_entry)
            .collect()
    }

    fn environs() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop_oneof![
            3 => Just("\0".to_owned()),
            3 => Just("PROCESSION_TREE=".to_owned()),
            1 => Just("PROCESSION_".to_owned()),
            3 => Just(format!("{M}/{P}.0")),
            1 => Just(format!("{M}/")),
            1 => Just(M.to_owned()),
            3 => Just(":".to_owned()),
            1 => "[A-Z=/.]{0,20}",
        ];
        prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn cuts_between_pieces_change_nothing(environ in environs(), mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5)) {
            let expected = expected(&environ);
            prop_assert_eq!(tags_of(&environ), &*expected);
            for at in 0..=environ.len() {
                let mut search = TagSearch::new();
                search.feed(&environ[..at]);
                search.feed(&environ[at..]);
                prop_assert_eq!(search.finish(), &*expected, "cut at {}", at);
            }
            let mut search = TagSearch::new();
            for byte in environ.chunks(1) {
                search.feed(byte);
            }
            prop_assert_eq!(search.finish(), &*expected, "byte by byte");
            let mut at: Vec<_> = cuts.drain(..).map(|cut| cut.index(environ.len() + 1)).collect();
            at.sort_unstable();
            let mut search = TagSearch::new();
            let mut from = 0;
            for to in at.into_iter().chain([environ.len()]) {
                search.feed(&environ[from..to]);
                from = to;
            }
            prop_assert_eq!(search.finish(), &*expected, "in several pieces");
        }
    }
}
