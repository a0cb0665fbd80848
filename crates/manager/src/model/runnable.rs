//! The seam between the types that say what to run and the manager that runs them.

use super::command::Cmd;
use std::path::Path;

/// Anything that can be turned into a [`Cmd`], given the run directory of the process to be.
///
/// The manager makes the process's run directory, calls [`bootstrap_cmd`](Runnable::bootstrap_cmd),
/// and starts the command that it returns. Both methods are called on a thread that may block, never
/// on a thread of the async runtime; a panic in them fails that one spawn.
///
/// The trait is object safe, so a `Box<dyn Runnable>` can be spawned as well.
///
/// ```
/// use procession_manager::model::{Runnable, command::Cmd};
/// use std::path::Path;
///
/// /// A web server that wants its configuration in a file.
/// struct Server {
///     port: u16,
/// }
///
/// impl Runnable for Server {
///     fn bootstrap_cmd(&self, process_dir: &Path) -> Result<Cmd, String> {
///         let config = process_dir.join("server.conf");
///         std::fs::write(&config, format!("port {}\n", self.port))
///             .map_err(|error| format!("cannot write {}: {error}", config.display()))?;
///         Ok(Cmd::new("server").arg("--config").arg(config))
///     }
/// }
///
/// let dir = std::env::temp_dir();
/// let server: Box<dyn Runnable> = Box::new(Server { port: 8080 });
/// let cmd = server.bootstrap_cmd(&dir)?;
/// assert_eq!(cmd.arguments()[1], dir.join("server.conf"));
/// # std::fs::remove_file(dir.join("server.conf")).ok();
/// # Ok::<(), String>(())
/// ```
pub trait Runnable: Send + 'static {
    /// Prepares the run and says which command to start.
    ///
    /// `process_dir` is the absolute path of an existing directory that belongs to this process alone
    /// and is removed with it; files that the program needs go there. The child sees the same path in
    /// `PROCESS_DATA_DIR`.
    ///
    /// # Errors
    /// A text for people, saying what could not be prepared and why. The spawn then fails with it and
    /// nothing is started.
    fn bootstrap_cmd(&self, process_dir: &Path) -> Result<Cmd, String>;

    /// Undoes what [`bootstrap_cmd`](Runnable::bootstrap_cmd) did outside `process_dir`. Called when
    /// the spawn failed, at whatever step; `process_dir` itself is removed afterwards. Does nothing
    /// unless implemented.
    ///
    /// # Errors
    /// A text for people, saying what could not be undone and why.
    fn clean_after_fail(&self, process_dir: &Path) -> Result<(), String> {
        let _ = process_dir;
        Ok(())
    }

    /// What is to be run in its place, where it is no program at all.
    #[doc(hidden)]
    #[cfg(any(test, feature = "test-util"))]
    fn scripted(&self) -> Option<crate::test_util::Launch> {
        None
    }
}

impl Runnable for Cmd {
    fn bootstrap_cmd(&self, _process_dir: &Path) -> Result<Cmd, String> {
        Ok(self.clone())
    }
}

impl<R: Runnable + ?Sized> Runnable for Box<R> {
    fn bootstrap_cmd(&self, process_dir: &Path) -> Result<Cmd, String> {
        (**self).bootstrap_cmd(process_dir)
    }

    fn clean_after_fail(&self, process_dir: &Path) -> Result<(), String> {
        (**self).clean_after_fail(process_dir)
    }

    #[cfg(any(test, feature = "test-util"))]
    fn scripted(&self) -> Option<crate::test_util::Launch> {
        (**self).scripted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Picky;

    impl Runnable for Picky {
        fn bootstrap_cmd(&self, process_dir: &Path) -> Result<Cmd, String> {
            Err(format!("not in {}", process_dir.display()))
        }

        fn clean_after_fail(&self, process_dir: &Path) -> Result<(), String> {
            Err(format!("still in {}", process_dir.display()))
        }
    }

    #[test]
    fn a_command_runs_as_it_is() {
        let cmd = Cmd::new("worker").arg("--fast").env("A", "1");
        assert_eq!(cmd.bootstrap_cmd(Path::new("/run/x")), Ok(cmd.clone()));
        assert_eq!(cmd.clean_after_fail(Path::new("/run/x")), Ok(()));
    }

    #[test]
    fn a_box_passes_both_calls_on() {
        fn spawn(runnable: &impl Runnable) -> (Result<Cmd, String>, Result<(), String>) {
            let dir = Path::new("/run/x");
            (runnable.bootstrap_cmd(dir), runnable.clean_after_fail(dir))
        }
        let boxed: Box<dyn Runnable> = Box::new(Picky);
        assert_eq!(
            spawn(&boxed),
            (Err("not in /run/x".into()), Err("still in /run/x".into()))
        );
        let shared: Box<dyn Runnable + Sync> = Box::new(Cmd::new("worker"));
        assert_eq!(spawn(&shared), (Ok(Cmd::new("worker")), Ok(())));
    }
}
