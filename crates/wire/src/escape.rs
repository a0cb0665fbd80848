//! [`Escaped`]: text that somebody else chose, shown so that it can do nothing to who looks at it.
//!
//! A child chooses what it writes, a user of the machine what a file is called. Shown as it is,
//! such a text can set the title of a terminal, hide or reorder what stands beside it, or look like
//! another line of a log. Every `Display` of these crates that shows such a text shows it through
//! [`Escaped`]; what gives the text itself, such as `LogLine::text`, gives it as it is.

use std::ffi::OsStr;
use std::fmt::{self, Write};

/// Stands before each further line of a text that may have several.
const MARK: &str = "  | ";

/// Shows a text on one line and without characters that are not seen, shortened.
///
/// - Control characters, C1 among them, line and paragraph separators, and characters that reorder
///   or hide text (see [`is_hidden`]) come out as in Rust's string literals: `\n`, `\u{1b}`,
///   `\u{202e}`.
/// - Bytes that are not UTF-8 come out as `\xff`.
/// - A backslash stays as it is, so that what was escaped once is not escaped again. What comes out
///   is for people to read and not to be read back.
/// - After [`LIMIT`](Self::LIMIT) bytes of the text, unless set otherwise, follows how many were
///   left out.
///
/// ```
/// use procession_wire::Escaped;
///
/// assert_eq!(Escaped::new("a\x1b[2J\nb").to_string(), r"a\u{1b}[2J\nb");
/// assert_eq!(Escaped::bytes(b"\xff").to_string(), r"\xff");
/// assert_eq!(Escaped::new("abcdef").limit(2).to_string(), "ab... (4 bytes more)");
/// assert_eq!(format!("{:?}", Escaped::new("a\n")), r#""a\n""#);
/// ```
#[derive(Clone, Copy)]
#[must_use = "it does nothing unless it is shown"]
pub struct Escaped<'a> {
    text: Text<'a>,
    limit: usize,
    lines: bool,
}

#[derive(Clone, Copy)]
enum Text<'a> {
    Bytes(&'a [u8]),
    Display(&'a dyn fmt::Display),
}

impl<'a> Escaped<'a> {
    /// The bytes of a text that are shown unless [set otherwise](Self::limit): 4 KiB.
    pub const LIMIT: usize = 4096;

    fn of(text: Text<'a>) -> Self {
        Self {
            text,
            limit: Self::LIMIT,
            lines: false,
        }
    }

    /// Shows a string or a path.
    pub fn new<T: AsRef<OsStr> + ?Sized>(text: &'a T) -> Self {
        Self::bytes(text.as_ref().as_encoded_bytes())
    }

    /// Shows bytes that are meant as text.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Self::of(Text::Bytes(bytes))
    }

    /// Shows what something says of itself, such as the error of another crate.
    pub fn display(value: &'a dyn fmt::Display) -> Self {
        Self::of(Text::Display(value))
    }

    /// Shows this many bytes of it at most, and fewer where a character would be cut.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Shows 256 bytes of it at most, as the `Debug` forms of these crates do.
    pub fn short(self) -> Self {
        self.limit(256)
    }

    /// Shows each of its lines on a line of its own, marked with `  | ` from the second on, so that
    /// it is seen where the text ends.
    pub fn lines(mut self) -> Self {
        self.lines = true;
        self
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, quote: Option<char>) -> fmt::Result {
        let mut out = Escaping {
            out: f,
            quote,
            left: self.limit,
            cut: 0,
            lines: self.lines,
            mark: "",
        };
        match self.text {
            Text::Bytes(bytes) => {
                for chunk in bytes.utf8_chunks() {
                    out.write_str(chunk.valid())?;
                    out.invalid(chunk.invalid())?;
                }
            }
            Text::Display(value) => write!(out, "{value}")?,
        }
        let cut = out.cut;
        if let Some(quote) = quote {
            f.write_char(quote)?;
        }
        match cut {
            0 => Ok(()),
            1 => f.write_str("... (1 byte more)"),
            cut => write!(f, "... ({cut} bytes more)"),
        }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, None)
    }
}

/// The same in double quotes.
impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.write(f, Some('"'))
    }
}

/// Escapes what is written to it.
struct Escaping<'f, 'o> {
    out: &'f mut fmt::Formatter<'o>,
    quote: Option<char>,
    left: usize,
    cut: usize,
    lines: bool,
    /// The rest of a mark that may be there already.
    mark: &'static str,
}

impl Escaping<'_, '_> {
    /// Whether there is room for something of this length. After the first that has none nothing
    /// more is shown.
    fn takes(&mut self, len: usize) -> bool {
        if len <= self.left {
            self.left -= len;
            return true;
        }
        self.left = 0;
        self.cut += len;
        false
    }

    fn invalid(&mut self, bytes: &[u8]) -> fmt::Result {
        for byte in bytes {
            if self.takes(1) {
                write!(self.out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }

    fn character(&mut self, character: char) -> fmt::Result {
        let mark = std::mem::take(&mut self.mark);
        if !self.takes(character.len_utf8()) {
            return Ok(());
        }
        if let Some(rest) = mark.strip_prefix(character) {
            self.mark = rest;
            return Ok(());
        }
        if self.lines && character == '\n' {
            self.mark = MARK;
            write!(self.out, "\n{MARK}")
        } else if is_hidden(character) || self.quote == Some(character) {
            write!(self.out, "{}", character.escape_default())
        } else {
            self.out.write_char(character)
        }
    }
}

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (at, character) in text.char_indices() {
            if self.left == 0 {
                self.cut += text.len() - at;
                break;
            }
            self.character(character)?;
        }
        Ok(())
    }
}

/// Whether a character is not seen where it is shown, or changes what is seen beside it.
///
/// These are the control characters (C0, DEL, C1), the line and paragraph separators, the
/// interlinear annotation marks, and what Unicode calls `Default_Ignorable_Code_Point` (soft
/// hyphen, zero-width characters, all controls of the writing direction, fillers, tags), but for
/// the variation selectors U+FE00 to U+FE0F, which ordinary text has for its symbols.
///
/// ```
/// use procession_wire::escape::is_hidden;
///
/// assert!(is_hidden('\n') && is_hidden('\u{9b}') && is_hidden('\u{202e}') && is_hidden('\u{feff}'));
/// assert!(!is_hidden('ä') && !is_hidden('\u{301}') && !is_hidden('❤'));
/// ```
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            u32::from(character),
            0xad | 0x034f
                | 0x061c
                | 0x115f..=0x1160
                | 0x17b4..=0x17b5
                | 0x180b..=0x180f
                | 0x200b..=0x200f
                | 0x2028..=0x202e
                | 0x2060..=0x206f
                | 0x3164
                | 0xfeff
                | 0xffa0
                | 0xfff0..=0xfffb
                | 0x1_bca0..=0x1_bca3
                | 0x1_d173..=0x1_d17a
                | 0xe_0000..=0xe_0fff
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_escaped_and_the_rest_is_not() {
        let table: [(&[u8], &str); 12] = [
            (b"", ""),
            (
                "größe, 大きさ, 👍🏽, e\u{301}".as_bytes(),
                "größe, 大きさ, 👍🏽, e\u{301}",
            ),
            (b"\x1b]0;owned\x07", r"\u{1b}]0;owned\u{7}"),
            (b"a\r\n\tb\0\x7f", r"a\r\n\tb\u{0}\u{7f}"),
            ("\u{9b}31m\u{85}".as_bytes(), r"\u{9b}31m\u{85}"),
            (
                "\u{202e}cod.exe\u{2066}\u{2069}".as_bytes(),
                r"\u{202e}cod.exe\u{2066}\u{2069}",
            ),
            (
                "a\u{200b}b\u{200d}\u{feff}\u{ad}".as_bytes(),
                r"a\u{200b}b\u{200d}\u{feff}\u{ad}",
            ),
            ("\u{2028}\u{2029}".as_bytes(), r"\u{2028}\u{2029}"),
            ("\u{e0041}\u{3164}".as_bytes(), r"\u{e0041}\u{3164}"),
            (b"a\xff\xc3", r"a\xff\xc3"),
            (br"C:\new \u{1b}", r"C:\new \u{1b}"),
            (b"\"quoted\"", "\"quoted\""),
        ];
        for (bytes, expected) in table {
            let once = Escaped::bytes(bytes).to_string();
            assert_eq!(once, expected);
            assert_eq!(Escaped::new(&once).to_string(), once);
            assert_eq!(Escaped::display(&once).to_string(), once);
        }
        let every = (0..=u32::from(char::MAX))
            .filter_map(char::from_u32)
            .collect::<String>();
        let shown = Escaped::new(&every).limit(usize::MAX).to_string();
        assert!(!shown.chars().any(is_hidden));
        // The standard library's judgement of what is printable, by a table of its own.
        let unseen = |c: &char| format!("{c:?}").contains("\\u{") && !c.is_control();
        let formats = ['\u{202a}', '\u{2067}', '\u{200c}', '\u{2063}', '\u{fffa}'];
        assert!(formats.iter().all(|c| unseen(c) && is_hidden(*c)));
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_by_how_much() {
        let table = [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc... (1 byte more)"),
            ("abä", 3, "ab... (2 bytes more)"),
            ("äab", 1, "... (4 bytes more)"),
            ("ab", 0, "... (2 bytes more)"),
        ];
        for (text, limit, expected) in table {
            assert_eq!(Escaped::new(text).limit(limit).to_string(), expected);
            assert_eq!(Escaped::display(&text).limit(limit).to_string(), expected);
        }
        assert_eq!(
            Escaped::bytes(b"\xff\xfe").limit(1).to_string(),
            r"\xff... (1 byte more)"
        );
        let long = "\x1b".repeat(1 << 20);
        let shown = Escaped::new(&long).to_string();
        assert!(shown.len() < 6 * Escaped::LIMIT + 32, "{}", shown.len());
        assert!(shown.ends_with("... (1044480 bytes more)"));
    }

    #[test]
    fn in_quotes_quotes_are_escaped_too() {
        assert_eq!(format!("{:?}", Escaped::new("a\"b\n")), r#""a\"b\n""#);
        let cut = Escaped::new("abc").limit(1);
        assert_eq!(format!("{cut:?}"), r#""a"... (2 bytes more)"#);
    }

    #[test]
    fn further_lines_are_marked_once() {
        let once = Escaped::new("a\nb\r\n\x1bc\n").lines().to_string();
        assert_eq!(once, "a\n  | b\\r\n  | \\u{1b}c\n  | ");
        assert_eq!(Escaped::new(&once).lines().to_string(), once);
    }
}
