//! A command line as a person would type it into a shell.
//!
//! A word is bare where a shell leaves it alone, in single quotes where it would not, and in bash's
//! `$'…'` where it holds characters that are not seen (control characters, turns of the writing
//! direction) or is not UTF-8: so a command line is always one line of printable text, and pasting
//! it into bash runs the same program with the same arguments.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use procession_wire::escape::is_hidden;

/// One word, as it would be typed.
pub(super) struct Quoted<'a>(pub(super) &'a OsStr);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        word(f, self.0)
    }
}

/// Writes `program` and `args` with one blank between the words.
pub(super) fn command_line<'a>(
    f: &mut fmt::Formatter<'_>,
    program: &OsStr,
    args: impl IntoIterator<Item = &'a OsStr>,
) -> fmt::Result {
    // As the first word, `A=b` would be an assignment.
    if program.as_bytes().contains(&b'=') {
        quoted(f, program)?;
    } else {
        word(f, program)?;
    }
    for arg in args {
        f.write_char(' ')?;
        word(f, arg)?;
    }
    Ok(())
}

fn word(f: &mut fmt::Formatter<'_>, word: &OsStr) -> fmt::Result {
    let bare = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./=:,@%+".contains(byte);
    match word.to_str() {
        Some(text) if !text.is_empty() && text.as_bytes().iter().all(bare) => f.write_str(text),
        _ => quoted(f, word),
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, word: &OsStr) -> fmt::Result {
    match word.to_str() {
        Some(text) if !text.chars().any(is_hidden) => {
            write!(f, "'{}'", text.replace('\'', r"'\''"))
        }
        _ => escaped(f, word),
    }
}

fn escaped(f: &mut fmt::Formatter<'_>, word: &OsStr) -> fmt::Result {
    f.write_str("$'")?;
    for chunk in word.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => f.write_str(r"\n")?,
                '\r' => f.write_str(r"\r")?,
                '\t' => f.write_str(r"\t")?,
                '\'' | '\\' => write!(f, "\\{character}")?,
                _ if is_hidden(character) => {
                    let mut utf8 = [0; 4];
                    hex(f, character.encode_utf8(&mut utf8).as_bytes())?;
                }
                _ => f.write_char(character)?,
            }
        }
        hex(f, chunk.invalid())?;
    }
    f.write_char('\'')
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use crate::model::command::Cmd;
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::process::Command;

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        let table = [
            ("plain", "plain"),
            ("--level=3", "--level=3"),
            ("/a/b.c", "/a/b.c"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("~", "'~'"),
            ("#", "'#'"),
            ("größe", "'größe'"),
            ("a\nb", r"$'a\nb'"),
            ("a'\\\x1b[31m", r"$'a\'\\\x1b[31m'"),
            ("\u{85}", r"$'\xc2\x85'"),
            ("\u{202e}b", r"$'\xe2\x80\xaeb'"),
        ];
        for (arg, expected) in table {
            let line = Cmd::new("run").arg(arg).to_string();
            assert_eq!(line, format!("run {expected}"));
        }
        assert_eq!(Cmd::new("A=b").arg("A=b").to_string(), "'A=b' A=b");
        let bytes = OsStr::from_bytes(b"\xff1");
        assert_eq!(Cmd::new(bytes).to_string(), r"$'\xff1'");
    }

    #[test]
    fn bash_reads_back_every_byte() {
        let every_byte: Vec<OsString> = (1..=255)
            .flat_map(|byte| [vec![byte], vec![byte, b'0', byte], vec![b'\'', byte, b'\\']])
            .map(OsString::from_vec)
            .collect();
        let line = Cmd::new("printf").arg(r"%s\0").args(every_byte.clone());
        let output = Command::new("bash")
            .args(["--norc", "-c", &line.to_string()])
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let words: Vec<OsString> = output.stdout[..output.stdout.len() - 1]
            .split(|&byte| byte == 0)
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect();
        assert_eq!(words, every_byte);
    }
}
