//! Children that speak frames and keep to one contract, in several languages: what a request asks them
//! for is its first word.

use std::path::{Path, PathBuf};

use procession_manager::{Cmd, Framing, Messaging};

use crate::programs;

/// A child of this workspace.
#[derive(Debug, Clone)]
pub struct Worker {
    /// What it is written in.
    pub name: &'static str,
    program: PathBuf,
    args: Vec<PathBuf>,
}

impl Worker {
    /// A compiled one.
    pub fn compiled(name: &'static str, program: &str) -> Self {
        Self {
            name,
            program: program.into(),
            args: Vec::new(),
        }
    }

    fn interpreted(name: &'static str, program: PathBuf, file: &str) -> Self {
        let children = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/children");
        Self {
            name,
            program,
            args: vec![children.join(file)],
        }
    }

    /// The one in Python.
    pub fn python() -> Self {
        Self::interpreted("Python", programs::python3(), "worker.py")
    }

    /// The one in JavaScript, where Node is there.
    pub fn node() -> Option<Self> {
        Some(Self::interpreted("Node", programs::node()?, "worker.mjs"))
    }

    /// Its program and arguments, for one who is no manager here.
    pub fn command_line(&self) -> impl Iterator<Item = &Path> {
        let arguments = self.args.iter().map(PathBuf::as_path);
        std::iter::once(self.program.as_path()).chain(arguments)
    }

    /// The command that runs it.
    pub fn cmd(&self, messaging: Messaging) -> Cmd {
        let messaging = messaging.framing(Framing::Frames);
        Cmd::new(&self.program)
            .args(&self.args)
            .messaging(messaging)
    }
}

/// All of them.
#[macro_export]
macro_rules! workers {
    () => {
        [
            Some($crate::workers::Worker::compiled(
                "Rust",
                $crate::fixture!("worker"),
            )),
            Some($crate::workers::Worker::compiled(
                "async Rust",
                $crate::fixture!("worker_async"),
            )),
            Some($crate::workers::Worker::python()),
            $crate::workers::Worker::node(),
        ]
        .into_iter()
        .flatten()
    };
}
