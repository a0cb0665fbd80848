//! The processes of a group: a map from name to process, checked while it is read.
//!
//! What is wrong with the names is said by the first process that shows it, so that an error has the line of that one.
//! Only that a name exists nowhere is not known before the end.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::ser::Serializer;

use crate::model::group::{GroupProcess, graph_of};
use crate::supervision::GraphError;

/// What a length that the data announces is believed to, before the processes are there.
const TRUSTED_LEN: usize = 1024;

type Processes = Vec<(String, GroupProcess)>;

pub(in crate::model) fn serialize<S: Serializer>(
    processes: &Processes,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let pairs = processes.iter().map(|(name, process)| (name, process));
    serializer.collect_map(pairs)
}

pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Processes, D::Error> {
    deserializer.deserialize_map(Processed)
}

struct Processed;

impl<'de> Visitor<'de> for Processed {
    type Value = Processes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from names to processes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Processes, A::Error> {
        let mut known = Known::with_room(map.size_hint().unwrap_or(0).min(TRUSTED_LEN));
        while let Some(name) = map.next_key::<String>()? {
            let read = Next {
                known: &mut known,
                name,
            };
            map.next_value_seed(read)?;
        }
        graph_of(&known.processes).map_err(A::Error::custom)?;
        Ok(known.processes)
    }
}

/// What has been read so far.
struct Known {
    processes: Processes,
    places: HashMap<String, usize>,
    /// Names that some process needs.
    needed: HashSet<String>,
}

impl Known {
    fn with_room(len: usize) -> Self {
        Self {
            processes: Vec::with_capacity(len),
            places: HashMap::with_capacity(len),
            needed: HashSet::new(),
        }
    }

    fn add(&mut self, name: String, process: GroupProcess) -> Result<(), GraphError> {
        if self.places.contains_key(&name) {
            return Err(GraphError::DuplicateName { name });
        }
        if process.needs.contains(&name) {
            return Err(GraphError::NeedsItself { name });
        }
        let may_close_a_cycle = self.needed.contains(&name);
        self.needed.extend(process.needs.iter().cloned());
        let place = self.processes.len();
        self.places.insert(name.clone(), place);
        self.processes.push((name, process));
        if may_close_a_cycle && self.reaches_itself(place) {
            return self.cycle();
        }
        Ok(())
    }

    /// Whether it needs itself, by way of others.
    fn reaches_itself(&self, place: usize) -> bool {
        let mut seen = HashSet::new();
        let mut ahead = vec![place];
        while let Some(at) = ahead.pop() {
            for need in &self.processes[at].1.needs {
                match self.places.get(need) {
                    Some(&next) if next == place => return true,
                    Some(&next) if seen.insert(next) => ahead.push(next),
                    _ => {}
                }
            }
        }
        false
    }

    /// The cycle that there is, whatever is still unknown.
    fn cycle(&mut self) -> Result<(), GraphError> {
        let places = &self.places;
        for (_, process) in &mut self.processes {
            process.needs.retain(|need| places.contains_key(need));
        }
        graph_of(&self.processes).map(|_| ())
    }
}

/// Reads the process of a name.
struct Next<'a> {
    known: &'a mut Known,
    name: String,
}

impl<'de> DeserializeSeed<'de> for Next<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let process = GroupProcess::deserialize(deserializer)?;
        self.known.add(self.name, process).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
