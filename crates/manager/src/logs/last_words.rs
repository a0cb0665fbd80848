//! The last output of a child, as text for people: a few lines, each cut after a number of
//! characters.
//!
//! A file of the file route is not counted for that: its end is read, whatever its length.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::line::LogLine;

/// Bytes at the end of a file that are looked at.
const END: u64 = 64 * 1024;
/// Stands where something was cut.
const CUT: char = '…';

/// Bounds on last words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastWords {
    pub(crate) lines: usize,
    /// Of each line.
    pub(crate) characters: usize,
}

impl LastWords {
    /// The bytes of a line that may be shown.
    pub(super) fn line_limit(self) -> usize {
        self.characters * char::MAX.len_utf8()
    }

    pub(super) fn of_lines(self, lines: &[LogLine]) -> Vec<String> {
        let text = |line: &LogLine| self.text(line.bytes(), false, line.cut_bytes() > 0);
        lines.iter().map(text).collect()
    }

    /// The last lines of a file. Blocking.
    pub(super) fn of_file(self, file: &File) -> io::Result<Vec<String>> {
        let length = file.metadata()?.len();
        let start = length.saturating_sub(END);
        let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(0)];
        file.read_exact_at(&mut bytes, start)?;
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        if length == 0 {
            return Ok(Vec::new());
        }
        let lines = bytes.rsplitn(self.lines + 1, |&byte| byte == b'\n');
        let mut lines: Vec<_> = lines.collect();
        // More than are wanted, or one whose beginning is not here.
        let cut = start > 0 && lines.len() <= self.lines;
        lines.truncate(self.lines);
        lines.reverse();
        let lines = lines.iter().enumerate();
        let text = |(index, line): (usize, &&[u8])| self.text(line, cut && index == 0, false);
        Ok(lines.map(text).collect())
    }

    /// The text of a line, which says where something is missing of it.
    fn text(self, line: &[u8], cut_before: bool, cut_after: bool) -> String {
        let shown = &line[..line.len().min(self.line_limit())];
        let shown = String::from_utf8_lossy(shown.strip_suffix(b"\r").unwrap_or(shown));
        let mut text: String = cut_before.then_some(CUT).into_iter().collect();
        text.extend(shown.chars().take(self.characters));
        let cut_after = cut_after || line.len() > self.line_limit();
        if cut_after || shown.chars().nth(self.characters).is_some() {
            text.push(CUT);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_file_is_shown_whatever_its_length() {
        let words = LastWords {
            lines: 3,
            characters: 5,
        };
        let file = tempfile::tempfile().expect("a file");
        let table: [(u64, &[u8], &[&str]); 8] = [
            (0, b"", &[]),
            (0, b"\n", &[""]),
            (0, b"a\nb", &["a", "b"]),
            (0, b"a\r\n\n\xff\n", &["a", "", "\u{fffd}"]),
            (0, b"a\nb\nc\nd\n", &["b", "c", "d"]),
            (0, b"abcdef\nabcde\n", &["abcde…", "abcde"]),
            (1 << 40, b"a\nb\nc\nd\n", &["b", "c", "d"]),
            (1 << 40, b"d\n", &["…\0\0\0\0\0…"]),
        ];
        for (hole, bytes, expected) in table {
            file.set_len(0).expect("empty");
            file.write_all_at(bytes, hole).expect("written");
            assert_eq!(words.of_file(&file).expect("read"), expected, "{bytes:?}");
        }
    }
}
