//! The vectors in `docs/protocol.md`: fenced blocks of `key: value` lines.

use std::fmt;

use data_encoding::HEXLOWER;

/// One vector: its lines in order, its name first.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    pub(crate) table: String,
    /// Where it begins in the page.
    line: usize,
    entries: Vec<(String, String)>,
}

impl Vector {
    pub(crate) fn name(&self) -> &str {
        &self.entries[0].1
    }

    /// All lines but the name, in order.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries[1..]
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.all(key);
        let value = values.next();
        assert!(values.next().is_none(), "two of {key} in {self}");
        value
    }

    pub(crate) fn require(&self, key: &str) -> &str {
        self.get(key)
            .unwrap_or_else(|| panic!("no {key} in {self}"))
    }

    pub(crate) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.steps()
            .filter(move |(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// A vector with a key that nobody looks at would prove nothing.
    pub(crate) fn has_only(&self, keys: &[&str]) {
        for (key, _) in self.steps() {
            assert!(keys.contains(&key), "unknown key {key:?} in {self}");
        }
    }

    pub(crate) fn is_written(&self) -> bool {
        assert!(
            self.get("write").is_none_or(|value| value == "no"),
            "{self}"
        );
        self.get("write").is_none() && self.get("error").is_none()
    }

    pub(crate) fn limit(&self) -> usize {
        self.get("limit")
            .map_or(procession_wire::DEFAULT_MESSAGE_LIMIT, number)
    }
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "docs/protocol.md:{} ({}: {})",
            self.line,
            self.table,
            self.name()
        )
    }
}

pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits = digits.replace(' ', "");
    HEXLOWER
        .decode(digits.as_bytes())
        .unwrap_or_else(|error| panic!("{digits:?} is not hex: {error}"))
}

pub(crate) fn number<N: std::str::FromStr>(digits: &str) -> N {
    digits
        .parse()
        .unwrap_or_else(|_| panic!("{digits:?} is no such number"))
}

pub(crate) fn vectors(table: &str) -> Vec<Vector> {
    let mut found = all();
    found.retain(|vector| vector.table == table);
    assert!(
        !found.is_empty(),
        "no vectors of table {table:?} in docs/protocol.md"
    );
    found
}

pub(crate) fn all() -> Vec<Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");
    let page = std::fs::read_to_string(path).expect("docs/protocol.md");
    let found = parse(&page);
    assert!(
        found.len() > 100,
        "only {} vectors in docs/protocol.md",
        found.len()
    );
    found
}

fn parse(page: &str) -> Vec<Vector> {
    let mut found = Vec::new();
    let mut table: Option<&str> = None;
    for (index, text) in page.lines().enumerate() {
        let line = index + 1;
        match (table, text.strip_prefix("```")) {
            (None, Some(info)) if info.contains("vectors") => {
                let name = info.strip_prefix("vectors ");
                table = Some(name.unwrap_or_else(|| panic!("no table named at line {line}")));
            }
            (Some(_), Some(_)) => table = None,
            (Some(table), None) if !text.is_empty() => {
                let (key, value) = text
                    .split_once(": ")
                    .or_else(|| text.strip_suffix(':').map(|key| (key, "")))
                    .unwrap_or_else(|| panic!("line {line} is not `key: value`"));
                let entry = (key.to_owned(), value.to_owned());
                if key == "name" {
                    let table = table.to_owned();
                    found.push(Vector {
                        table,
                        line,
                        entries: vec![entry],
                    });
                } else {
                    let vector = found.last_mut().filter(|vector| vector.table == table);
                    let vector = vector.unwrap_or_else(|| panic!("no name before line {line}"));
                    vector.entries.push(entry);
                }
            }
            _ => {}
        }
    }
    assert!(table.is_none(), "a vector block has no end");
    found
}
