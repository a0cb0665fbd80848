//! Where a file has data, and where it has holes.
//!
//! A hole reads as NUL bytes and takes no room on the disk (`SEEK_DATA` and `SEEK_HOLE` in
//! lseek(2)). A child makes one of terabytes by a single ftruncate(2), so holes are stepped over
//! and never read.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// The data of one file, asked for from its start to its end.
#[derive(Debug, Default)]
pub(super) struct Extents {
    /// The data that was found last. There is none between the offset asked about and its start.
    known: Range<u64>,
    asked: u64,
}

impl Extents {
    /// Finds the data at this offset, or the first after it. It starts at `u64::MAX` where only a
    /// hole is left. All of the file is data where the file system does not tell holes.
    ///
    /// Moves the offset of the open file description, which no reader here uses.
    pub(super) fn data(&mut self, file: &File, offset: u64) -> io::Result<Range<u64>> {
        if offset < self.asked || offset >= self.known.end {
            self.known = find(file, offset)?;
            self.asked = offset;
        }
        Ok(self.known.start.max(offset)..self.known.end)
    }
}

fn find(file: &File, offset: u64) -> io::Result<Range<u64>> {
    let start = match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(u64::MAX..u64::MAX),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(offset..u64::MAX),
        Err(error) => return Err(error.into()),
    };
    match seek(file, SeekFrom::Hole(start)) {
        Ok(end) if end > start => Ok(start..end),
        // It was truncated meanwhile, which reading it shows.
        Ok(_) | Err(Errno::NXIO) => Ok(start..u64::MAX),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_are_stepped_over() {
        let file = tempfile::tempfile().expect("a file");
        let (block, far) = (64 * 1024, 1 << 40);
        file.set_len(far).expect("a hole");
        file.write_all_at(b"data", block).expect("written");
        let mut extents = Extents::default();
        let first = extents.data(&file, 0).expect("found");
        assert!(first.start > 0 && first.contains(&block), "{first:?}");
        let inside = extents.data(&file, block + 1).expect("found");
        assert_eq!(inside, block + 1..first.end);
        assert_eq!(
            extents.data(&file, first.end).expect("found").start,
            u64::MAX
        );
        // What comes after it was asked about is found when it is asked about again.
        file.write_all_at(b"more", far).expect("written");
        let mut extents = Extents::default();
        let last = extents.data(&file, first.end).expect("found");
        assert!(last.contains(&far) && last.start > first.end, "{last:?}");
        let back = extents.data(&file, 0).expect("found");
        assert_eq!(back, first, "also asked about backwards");
    }
}
