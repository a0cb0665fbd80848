//! Why nodes are not a graph.

use std::fmt;

use procession_wire::Escaped;

/// Why nodes are not a graph that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphError {
    /// Two nodes have this name.
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A node would have to be ready before it starts.
    NeedsItself {
        /// The node's name.
        name: String,
    },
    /// A node needs what does not exist.
    UnknownName {
        /// The node that needs it.
        node: String,
        /// The name that no node has.
        missing: String,
        /// The name that is most like it, if one is like it at all.
        closest: Option<String>,
    },
    /// Nodes need each other, so that none of them can be the first.
    Cycle {
        /// Their names: each needs the next, and the last needs the first. The first in the alphabet is
        /// the first here.
        path: Vec<String>,
    },
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateName { name } => {
                write!(f, "two processes are named `{}`", Escaped::new(name))
            }
            Self::NeedsItself { name } => write!(f, "`{}` needs itself", Escaped::new(name)),
            Self::UnknownName {
                node,
                missing,
                closest,
            } => {
                let (node, missing) = (Escaped::new(node), Escaped::new(missing));
                write!(f, "`{node}` needs `{missing}`, which does not exist")?;
                match closest {
                    None => Ok(()),
                    Some(name) => write!(f, "; did you mean `{}`?", Escaped::new(name)),
                }
            }
            Self::Cycle { path } => {
                f.write_str("what is needed goes in a circle: ")?;
                for name in path {
                    write!(f, "{} -> ", Escaped::new(name))?;
                }
                Escaped::new(path.first().map_or("", String::as_str)).fmt(f)
            }
        }
    }
}

impl std::error::Error for GraphError {}
