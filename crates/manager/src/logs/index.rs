//! Line numbers, places and times: counting what passes, and finding it again.
//!
//! A [`Counter`] sees each chunk once and tells which lines start in it. From that come [`Record`]s:
//! "from this line on, which starts here, lines ended at this time". They are sparse (one a chunk at
//! most), in the order of their lines, and so of their places and times, and are searched by halving. Of two
//! for one line, which was open for a while, the later counts.

use std::io;
use std::time::{Duration, SystemTime};

/// Microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Time(pub(super) u64);

impl Time {
    pub(super) fn of(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        let micros = since.unwrap_or_default().as_micros();
        Self(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    pub(super) fn system(self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(self.0))
    }
}

/// From this line on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Its number, from the first line that starts in its part.
    pub(super) line: u64,
    /// Where it starts, from the start of its part.
    pub(super) offset: u64,
    /// When its end arrived; of one that is open, its beginning.
    pub(super) time: Option<Time>,
}

/// The length of a record in a file: two numbers of 32 bits and one of 64, little-endian.
pub(super) const RECORD: usize = 16;

impl Record {
    /// None where it does not fit: parts of that size have no records in files.
    pub(super) fn to_bytes(self) -> Option<[u8; RECORD]> {
        let mut bytes = [0; RECORD];
        bytes[..4].copy_from_slice(&u32::try_from(self.line).ok()?.to_le_bytes());
        bytes[4..8].copy_from_slice(&u32::try_from(self.offset).ok()?.to_le_bytes());
        bytes[8..].copy_from_slice(&self.time.map_or(u64::MAX, |time| time.0).to_le_bytes());
        Some(bytes)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a field is the bits that are left"
    )]
    pub(super) fn from_bytes(bytes: &[u8; RECORD]) -> Self {
        let whole = u128::from_le_bytes(*bytes);
        let low = |bits: u128| u64::from(bits as u32);
        let time = (whole >> 64) as u64;
        Self {
            line: low(whole),
            offset: low(whole >> 32),
            time: (time != u64::MAX).then_some(Time(time)),
        }
    }
}

/// Where records are.
pub(super) trait Records {
    fn count(&self) -> u64;
    fn get(&self, index: u64) -> io::Result<Record>;
}

impl Records for [Record] {
    fn count(&self) -> u64 {
        self.len() as u64
    }

    fn get(&self, index: u64) -> io::Result<Record> {
        let index = usize::try_from(index).ok();
        let record = index.and_then(|index| self.as_ref().get(index));
        record
            .copied()
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// How many records at the beginning are as wanted; those that are come first.
pub(super) fn partition(
    records: &(impl Records + ?Sized),
    wanted: impl Fn(&Record) -> bool,
) -> io::Result<u64> {
    let (mut low, mut high) = (0, records.count());
    while low < high {
        let middle = low + (high - low) / 2;
        if wanted(&records.get(middle)?) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// What lines start and end in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// The number of the first, whether or not there is one.
    pub(super) first: u64,
    /// Where that starts in the chunk.
    pub(super) at: u64,
    /// How many start in it.
    pub(super) lines: u64,
    /// A line that was open before and ends in it: its number, and the position that it starts at.
    pub(super) ended: Option<(u64, u64)>,
}

impl Counted {
    /// The first line that gets its time from this chunk: its number and the position that it starts at. One
    /// that started before `start` has its place elsewhere.
    pub(super) fn timed(&self, base: u64, start: u64) -> Option<(u64, u64)> {
        let ended = self.ended.filter(|(_, at)| *at >= start);
        ended.or(self.starting(base))
    }

    /// The first line that starts in this chunk: its number and the position that it starts at.
    pub(super) fn starting(&self, base: u64) -> Option<(u64, u64)> {
        (self.lines > 0).then_some((self.first, base + self.at))
    }
}

/// Counts lines as their bytes pass. A line starts with its first byte, and ends with a newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counter {
    position: u64,
    started: u64,
    /// The last line has not ended.
    open: bool,
    /// Where it starts.
    open_at: u64,
}

impl Counter {
    pub(super) fn count(&mut self, chunk: &[u8]) -> Counted {
        let first = self.started;
        let length = chunk.len() as u64;
        let Some(&last) = chunk.last() else {
            return Counted {
                first,
                at: 0,
                lines: 0,
                ended: None,
            };
        };
        let newlines = memchr::memchr_iter(b'\n', chunk).count() as u64;
        let ends = last == b'\n';
        let lines = newlines + u64::from(!self.open) - u64::from(ends);
        let at = if self.open {
            memchr::memchr(b'\n', chunk).map_or(length, |index| index as u64 + 1)
        } else {
            0
        };
        let ended = (self.open && newlines > 0).then(|| (first - 1, self.open_at));
        if lines > 0 && !ends {
            let start = memchr::memrchr(b'\n', chunk).map_or(0, |index| index as u64 + 1);
            self.open_at = self.position + start;
        }
        self.position += length;
        self.started += lines;
        self.open = !ends;
        Counted {
            first,
            at,
            lines,
            ended,
        }
    }

    /// Counts a run of this many bytes of which none is a newline.
    pub(super) fn skip(&mut self, length: u64) -> Counted {
        let counted = Counted {
            first: self.started,
            at: if self.open { length } else { 0 },
            lines: u64::from(!self.open && length > 0),
            ended: None,
        };
        if counted.lines > 0 {
            self.open_at = self.position;
            self.open = true;
        }
        self.position += length;
        self.started += counted.lines;
        counted
    }

    /// Begins anew at position 0: all bytes before are gone, and a line that was open has ended as
    /// it is. The numbers of lines go on.
    pub(super) fn restart(&mut self) {
        self.open = false;
        self.position = 0;
    }

    /// How many bytes have passed.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// How many lines have started.
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// How many lines have ended.
    pub(super) fn ended(&self) -> u64 {
        self.started - u64::from(self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_start_with_their_first_byte_and_end_with_a_newline() {
        type Row = (&'static [u8], u64, u64, u64, Option<(u64, u64)>, u64);
        let mut counter = Counter::default();
        // The chunk; then the first line that starts in it, where, how many, the open one that ends in it,
        // and how many have ended.
        let table: [Row; 7] = [
            (b"a", 0, 0, 1, None, 0),
            (b"bc", 1, 2, 0, None, 0),
            (b"\n", 1, 1, 0, Some((0, 0)), 1),
            (b"\n\nd", 1, 0, 3, None, 3),
            (b"\ne\nf\n", 4, 1, 2, Some((3, 6)), 6),
            (b"", 6, 0, 0, None, 6),
            (b"g\n", 6, 0, 1, None, 7),
        ];
        for (chunk, first, at, lines, ended, all_ended) in table {
            let counted = counter.count(chunk);
            let expected = Counted {
                first,
                at,
                lines,
                ended,
            };
            assert_eq!(counted, expected, "{chunk:?}");
            assert_eq!(counter.ended(), all_ended, "{chunk:?}");
        }
        assert_eq!((counter.position(), counter.started()), (14, 7));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for time in [None, Some(Time(0)), Some(Time(1_700_000_000_000_000))] {
            let record = Record {
                line: 7,
                offset: u64::from(u32::MAX),
                time,
            };
            let bytes = record.to_bytes().expect("fits");
            assert_eq!(Record::from_bytes(&bytes), record);
        }
        let large = Record {
            line: 0,
            offset: 1 << 32,
            time: None,
        };
        assert_eq!(large.to_bytes(), None);
    }

    #[test]
    fn a_run_without_newlines_counts_as_its_bytes() {
        for before in [&b""[..], b"a", b"a\n", b"a\nb"] {
            for length in [0_u8, 1, 9] {
                let (mut read, mut skipped) = (Counter::default(), Counter::default());
                read.count(before);
                skipped.count(before);
                let counted = read.count(&vec![0; usize::from(length)]);
                assert_eq!(skipped.skip(u64::from(length)), counted, "{before:?}");
                assert_eq!(skipped, read, "{before:?} {length}");
            }
        }
    }

    proptest! {
        /// However a text is cut, its lines are counted the same, and start where they start.
        #[test]
        fn cuts_change_nothing(text in "[a\n]{0,40}", cuts in prop::collection::vec(0usize..41, 0..5)) {
            let text = text.as_bytes();
            let starts: Vec<u64> = (0..text.len())
                .filter(|&at| at == 0 || text[at - 1] == b'\n')
                .map(|at| at as u64)
                .collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut counter = Counter::default();
            for pair in cuts.windows(2) {
                let base = counter.position();
                let counted = counter.count(&text[pair[0]..pair[1]]);
                for (number, at) in [counted.timed(base, 0), counted.ended].into_iter().flatten() {
                    prop_assert_eq!(starts[usize::try_from(number).expect("small")], at);
                }
                if counted.lines > 0 {
                    let first = usize::try_from(counted.first).expect("small");
                    prop_assert_eq!(starts[first], base + counted.at);
                }
            }
            prop_assert_eq!(counter.started(), starts.len() as u64);
        }

        #[test]
        fn halving_finds_the_place(lines in prop::collection::btree_set(0u64..100, 0..20), wanted in 0u64..100) {
            let records: Vec<Record> = lines
                .iter()
                .map(|&line| Record { line, offset: line, time: None })
                .collect();
            let expected = records.iter().filter(|record| record.line <= wanted).count() as u64;
            prop_assert_eq!(partition(&records[..], |record| record.line <= wanted).expect("in memory"), expected);
        }
    }
}
