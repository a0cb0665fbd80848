//! What has to be ready before what: named nodes, and the names that each of them needs.
//!
//! ```text
//!  [Node]: name, needs ──► Graph::new ──► indices ──► edges of both directions ──► waves
//!                              │ refused: GraphError             │                   │
//!                              ▼                                 ▼                   ▼
//!               a name twice, a node that needs         dependencies,        who can start at
//!               itself, an unknown name, a cycle        dependants           the same time
//! ```
//!
//! A graph never changes once it is made, and has no cycle. A node is known by its *index*, its place in what
//! the graph was made from; every list of nodes is in that order.
//!
//! What is refused does not depend on the order of the nodes, nor on the order of what they need: of several
//! faults the same one is always reported, in the same words.
//!
//! Building takes time in proportion to nodes and edges, and so does every question. Nothing here
//! recurses, so a long chain needs no deep stack.

mod closest;
mod error;
#[cfg(test)]
pub(crate) mod random;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use error::GraphError;

/// A name, and the names of all that has to be ready before it starts.
///
/// A name that is needed twice is needed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    name: String,
    needs: Vec<String>,
}

impl Node {
    /// A node that needs nothing.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            needs: Vec::new(),
        }
    }

    /// It needs these, too.
    pub(crate) fn needs<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.needs.extend(names.into_iter().map(Into::into));
        self
    }
}

/// Nodes that need each other, without a cycle.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    names: Vec<String>,
    dependencies: Vec<Vec<usize>>,
    dependants: Vec<Vec<usize>>,
    waves: Vec<Vec<usize>>,
}

impl Graph {
    /// A graph of these nodes, with their places as indices.
    ///
    /// # Errors
    ///
    /// In this order of precedence: a name is used twice, a node needs itself, a node needs a name that
    /// no node has, or nodes need each other in a cycle. Of several faults of one sort, the one whose names
    /// come first in the alphabet.
    pub(crate) fn new(nodes: impl IntoIterator<Item = Node>) -> Result<Self, GraphError> {
        let nodes: Vec<Node> = nodes.into_iter().collect();
        let indices = index(&nodes)?;
        if let Some(name) = nodes
            .iter()
            .filter(|node| node.needs.contains(&node.name))
            .map(|node| &node.name)
            .min()
        {
            return Err(GraphError::NeedsItself { name: name.clone() });
        }
        let dependants = dependants(&nodes, &indices)?;
        let dependencies = turned(&dependants);
        let names: Vec<String> = nodes.into_iter().map(|node| node.name).collect();
        let waves = layers(&dependencies, &dependants)
            .map_err(|left| cycle(&names, &dependencies, &left))?;
        Ok(Self {
            names,
            dependencies,
            dependants,
            waves,
        })
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The name of a node.
    pub(crate) fn name(&self, node: usize) -> Option<&str> {
        self.names.get(node).map(String::as_str)
    }

    /// The node of a name.
    #[cfg(test)]
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// What a node needs itself. Nothing for a node that there is not.
    pub(crate) fn dependencies(&self, node: usize) -> &[usize] {
        self.dependencies.get(node).map_or(&[], Vec::as_slice)
    }

    /// What needs a node itself. Nothing for a node that there is not.
    pub(crate) fn dependants(&self, node: usize) -> &[usize] {
        self.dependants.get(node).map_or(&[], Vec::as_slice)
    }

    /// What a node needs, directly or not, without the node.
    #[cfg(test)]
    pub(crate) fn all_dependencies(&self, node: usize) -> Vec<usize> {
        reached(&self.dependencies, node)
    }

    /// What needs a node, directly or not, without the node.
    pub(crate) fn all_dependants(&self, node: usize) -> Vec<usize> {
        reached(&self.dependants, node)
    }

    /// The waves of a start: each node comes one wave after the last of what it needs.
    ///
    /// There are as many as the longest chain has nodes, and less is not possible.
    pub(crate) fn waves(&self) -> &[Vec<usize>] {
        &self.waves
    }
}

/// The place of each name.
fn index(nodes: &[Node]) -> Result<HashMap<String, usize>, GraphError> {
    let mut indices = HashMap::with_capacity(nodes.len());
    let mut twice: Option<&String> = None;
    for (place, node) in nodes.iter().enumerate() {
        if indices.insert(node.name.clone(), place).is_some() {
            twice = Some(twice.map_or(&node.name, |first| first.min(&node.name)));
        }
    }
    match twice {
        None => Ok(indices),
        Some(name) => Err(GraphError::DuplicateName { name: name.clone() }),
    }
}

/// Who needs each node, in the order of indices and each once.
fn dependants(
    nodes: &[Node],
    indices: &HashMap<String, usize>,
) -> Result<Vec<Vec<usize>>, GraphError> {
    let mut dependants: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut unknown: Option<(&str, &str)> = None;
    for (place, node) in nodes.iter().enumerate() {
        for name in &node.needs {
            if let Some(&needed) = indices.get(name) {
                if dependants[needed].last() != Some(&place) {
                    dependants[needed].push(place);
                }
            } else {
                let this = (node.name.as_str(), name.as_str());
                unknown = Some(unknown.map_or(this, |first| first.min(this)));
            }
        }
    }
    let Some((node, missing)) = unknown else {
        return Ok(dependants);
    };
    // The node itself is no hint: it may not need itself either.
    let others = nodes.iter().map(|node| node.name.as_str());
    let closest = closest::closest(missing, others.filter(|name| *name != node));
    Err(GraphError::UnknownName {
        node: node.to_owned(),
        missing: missing.to_owned(),
        closest: closest.map(str::to_owned),
    })
}

/// The same edges in the other direction, in the order of indices.
fn turned(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut turned = vec![Vec::new(); edges.len()];
    for (from, to) in edges.iter().enumerate() {
        for &to in to {
            turned[to].push(from);
        }
    }
    turned
}

/// The nodes by the length of the longest chain that they need, or for each node how much of what it needs
/// has no place because of a cycle.
fn layers(
    dependencies: &[Vec<usize>],
    dependants: &[Vec<usize>],
) -> Result<Vec<Vec<usize>>, Vec<usize>> {
    let mut left: Vec<usize> = dependencies.iter().map(Vec::len).collect();
    let mut layer: Vec<usize> = vec![0; left.len()];
    let mut placed: Vec<usize> = (0..left.len()).filter(|&node| left[node] == 0).collect();
    let mut next = 0;
    while let Some(&node) = placed.get(next) {
        next += 1;
        for &dependant in &dependants[node] {
            layer[dependant] = layer[dependant].max(layer[node] + 1);
            left[dependant] -= 1;
            if left[dependant] == 0 {
                placed.push(dependant);
            }
        }
    }
    if placed.len() < left.len() {
        return Err(left);
    }
    let depth = layer.iter().max().map_or(0, |deepest| deepest + 1);
    let mut layers = vec![Vec::new(); depth];
    for (node, layer) in layer.into_iter().enumerate() {
        layers[layer].push(node);
    }
    Ok(layers)
}

/// A cycle among the nodes that have no place.
///
/// Each of them needs another of them, so a walk along these comes back to where it was. It goes by the
/// names, not by the indices, so that it is the same walk whatever the order of the nodes.
fn cycle(names: &[String], dependencies: &[Vec<usize>], left: &[usize]) -> GraphError {
    let first = |nodes: &mut dyn Iterator<Item = usize>| {
        nodes
            .filter(|&node| left[node] > 0)
            .min_by_key(|&node| &names[node])
    };
    let mut walk: Vec<usize> = Vec::new();
    let mut step: Vec<Option<usize>> = vec![None; names.len()];
    let mut at = first(&mut (0..names.len()));
    while let Some(node) = at {
        if let Some(entered) = step[node] {
            walk.drain(..entered);
            break;
        }
        step[node] = Some(walk.len());
        walk.push(node);
        at = first(&mut dependencies[node].iter().copied());
    }
    let start = (0..walk.len()).min_by_key(|&at| &names[walk[at]]);
    walk.rotate_left(start.unwrap_or(0));
    GraphError::Cycle {
        path: walk.into_iter().map(|node| names[node].clone()).collect(),
    }
}

/// All that can be reached from a node, but the node, in the order of indices.
fn reached(edges: &[Vec<usize>], from: usize) -> Vec<usize> {
    if from >= edges.len() {
        return Vec::new();
    }
    let mut seen = vec![false; edges.len()];
    let mut ahead = vec![from];
    while let Some(node) = ahead.pop() {
        for &next in &edges[node] {
            if !std::mem::replace(&mut seen[next], true) {
                ahead.push(next);
            }
        }
    }
    (0..edges.len()).filter(|&node| seen[node]).collect()
}
