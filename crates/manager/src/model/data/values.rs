//! The single values of a description: words that need not be UTF-8, sets of variables, framings.
//!
//! Each is a module for `#[serde(with = "…")]`. A word is written as a string where it is UTF-8 and as
//! bytes where it is not, and read from either, and from a list of numbers, which is what bytes are in
//! JSON.

use crate::model::quote::Quoted;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

/// Names and values of variables, sorted by name.
pub(super) type Variables = BTreeMap<OsString, OsString>;

/// The most that a length announced by the data is believed before the bytes are there.
const TRUSTED_LEN: usize = 4096;

/// Any bytes, as a string where they are UTF-8.
struct Word(Vec<u8>);
struct WordRef<'a>(&'a [u8]);

impl Word {
    fn into_os(self) -> OsString {
        OsString::from_vec(self.0)
    }
}

impl<'a> WordRef<'a> {
    fn of<T: AsRef<OsStr> + ?Sized>(word: &'a T) -> Self {
        Self(word.as_ref().as_bytes())
    }
}

impl Serialize for WordRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.serialize_bytes(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor).map(Self)
    }
}

struct WordVisitor;

impl<'de> Visitor<'de> for WordVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
        Ok(text.into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Vec<u8>, E> {
        Ok(text.into())
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::with_capacity(list.size_hint().unwrap_or(0).min(TRUSTED_LEN));
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

/// One word: an `OsString`, a `PathBuf`.
pub(in crate::model) mod text {
    use super::{
        Deserialize as _, Deserializer, OsStr, OsString, Serialize as _, Serializer, Word, WordRef,
    };

    pub(in crate::model) fn serialize<T: AsRef<OsStr>, S: Serializer>(
        word: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        WordRef::of(word).serialize(serializer)
    }

    pub(in crate::model) fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        Word::deserialize(deserializer).map(|word| word.into_os().into())
    }
}

/// A word that may be missing.
pub(super) mod optional_text {
    use super::{
        Deserialize as _, Deserializer, OsStr, OsString, Serialize as _, Serializer, Word, WordRef,
    };

    #[expect(clippy::ref_option, reason = "the signature that `with` calls")]
    pub(in super::super) fn serialize<T: AsRef<OsStr>, S: Serializer>(
        word: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let word = word.as_ref();
        word.map(WordRef::of).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let word = Option::<Word>::deserialize(deserializer)?;
        Ok(word.map(|word| word.into_os().into()))
    }
}

/// A list of words.
pub(in crate::model) mod texts {
    use super::{Deserialize as _, Deserializer, OsString, Serializer, Word, WordRef};

    pub(in crate::model) fn serialize<S: Serializer>(
        words: &[OsString],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(words.iter().map(WordRef::of))
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<OsString>, D::Error> {
        let words = Vec::<Word>::deserialize(deserializer)?;
        Ok(words.into_iter().map(Word::into_os).collect())
    }
}

/// Bytes that are often text.
pub(in crate::model) mod blob {
    use super::{Bytes, Deserialize as _, Deserializer, Serialize as _, Serializer, Word, WordRef};

    pub(in crate::model) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        WordRef(bytes).serialize(serializer)
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        Word::deserialize(deserializer).map(|Word(bytes)| bytes.into())
    }
}

/// Variables: a map from name to value. The keys of a map are strings in many formats, so it is a list
/// of pairs where a name is not UTF-8.
pub(super) mod variables {
    use super::{
        Deserializer, Entry, Error, MapAccess, Quoted, SeqAccess, Serializer, Variables, Visitor,
        Word, WordRef, fmt,
    };
    use serde::ser::{SerializeMap as _, SerializeSeq as _};

    pub(in super::super) fn serialize<S: Serializer>(
        variables: &Variables,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let pairs = variables
            .iter()
            .map(|(name, value)| (WordRef::of(name), WordRef::of(value)));
        if variables.keys().all(|name| name.to_str().is_some()) {
            let mut map = serializer.serialize_map(Some(variables.len()))?;
            for (name, value) in pairs {
                map.serialize_entry(&name, &value)?;
            }
            map.end()
        } else {
            let mut list = serializer.serialize_seq(Some(variables.len()))?;
            for pair in pairs {
                list.serialize_element(&pair)?;
            }
            list.end()
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Variables, D::Error> {
        deserializer.deserialize_any(VariablesVisitor)
    }

    struct VariablesVisitor;

    impl<'de> Visitor<'de> for VariablesVisitor {
        type Value = Variables;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map from names to values of variables, or a list of such pairs")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Variables, A::Error> {
            let mut variables = Variables::new();
            while let Some(name) = map.next_key()? {
                add(&mut variables, name, map.next_value()?)?;
            }
            Ok(variables)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Variables, A::Error> {
            let mut variables = Variables::new();
            while let Some((name, value)) = list.next_element()? {
                add(&mut variables, name, value)?;
            }
            Ok(variables)
        }
    }

    fn add<E: Error>(variables: &mut Variables, name: Word, value: Word) -> Result<(), E> {
        match variables.entry(name.into_os()) {
            Entry::Vacant(entry) => {
                entry.insert(value.into_os());
                Ok(())
            }
            Entry::Occupied(entry) => Err(E::custom(format_args!(
                "the variable {} is given twice",
                Quoted(entry.key())
            ))),
        }
    }
}

/// A framing by the name that it has in a child's environment.
pub(in crate::model) mod framing {
    use super::{Deserializer, Error, Serializer, Unexpected, Visitor, fmt};
    use procession_wire::Framing;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that `with` calls"
    )]
    pub(in crate::model) fn serialize<S: Serializer>(
        framing: &Framing,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(framing)
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Framing, D::Error> {
        deserializer.deserialize_str(FramingVisitor)
    }

    struct FramingVisitor;

    impl Visitor<'_> for FramingVisitor {
        type Value = Framing;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("`lines` or `frames/1`")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Framing, E> {
            text.parse()
                .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
}

/// A time that may be missing, in whole milliseconds, rounded up.
pub(in crate::model) mod milliseconds {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;

    #[expect(clippy::ref_option, reason = "the signature that `with` calls")]
    pub(in crate::model) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(super::whole_millis).serialize(serializer)
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

/// A number that may be none, where to leave it out means something else: `"none"`, since some formats have no null.
/// That is read, too.
pub(in crate::model) mod or_none {
    use super::{Deserializer, Error, Serializer, Unexpected, Visitor, fmt};

    #[expect(clippy::ref_option, reason = "the signature that `with` calls")]
    pub(in crate::model) fn serialize<S: Serializer>(
        number: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match number {
            Some(number) => serializer.serialize_u64(*number),
            None => serializer.serialize_str("none"),
        }
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }

    struct NumberVisitor;

    impl Visitor<'_> for NumberVisitor {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number, or `none`")
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Option<u64>, E> {
            Ok(Some(number))
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Option<u64>, E> {
            let positive = u64::try_from(number);
            positive
                .map(Some)
                .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Option<u64>, E> {
            match text {
                "none" => Ok(None),
                _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
            }
        }

        fn visit_none<E: Error>(self) -> Result<Option<u64>, E> {
            Ok(None)
        }

        fn visit_unit<E: Error>(self) -> Result<Option<u64>, E> {
            Ok(None)
        }
    }
}

/// A time in whole milliseconds, rounded up, that is written also where it is none.
pub(super) mod millis_or_none {
    use super::{Deserializer, Serializer, or_none, whole_millis};
    use std::time::Duration;

    #[expect(clippy::ref_option, reason = "the signature that `with` calls")]
    pub(in super::super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        or_none::serialize(&time.map(whole_millis), serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(or_none::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

/// Rounded up.
fn whole_millis(time: Duration) -> u64 {
    let whole = time.as_nanos().div_ceil(1_000_000);
    u64::try_from(whole).unwrap_or(u64::MAX)
}

/// A time, as whole milliseconds, rounded up.
pub(crate) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::milliseconds::serialize(&Some(*time), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
