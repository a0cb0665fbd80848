//! Logs, by either handle.

use std::path::{Path, PathBuf};

use super::{ProcessHandle, ProcessManagerHandle};
use crate::error::{FollowLogsError, GetLogsError, KeepLogsError};
use crate::id::ProcessId;
use crate::logs::{FollowFrom, LogFollower, LogPage, LogStream, LogsQuery};

impl ProcessManagerHandle {
    /// Reads lines of a process's stdout log. See [`ProcessHandle::get_logs_stdout`].
    ///
    /// # Errors
    ///
    /// [`GetLogsError`].
    pub async fn get_logs_stdout(
        &self,
        id: ProcessId,
        query: LogsQuery,
    ) -> Result<Vec<String>, GetLogsError> {
        let process = self.find::<GetLogsError>(id).await?;
        process.get_logs_stdout(query).await
    }

    /// Reads lines of a process's stderr log. See [`ProcessHandle::get_logs_stdout`].
    ///
    /// # Errors
    ///
    /// [`GetLogsError`].
    pub async fn get_logs_stderr(
        &self,
        id: ProcessId,
        query: LogsQuery,
    ) -> Result<Vec<String>, GetLogsError> {
        let process = self.find::<GetLogsError>(id).await?;
        process.get_logs_stderr(query).await
    }

    /// Finds lines of a log of a process. See [`ProcessHandle::query_logs`].
    ///
    /// # Errors
    ///
    /// [`GetLogsError`].
    pub async fn query_logs(
        &self,
        id: ProcessId,
        stream: LogStream,
        query: LogsQuery,
    ) -> Result<LogPage, GetLogsError> {
        let process = self.find::<GetLogsError>(id).await?;
        process.query_logs(stream, query).await
    }

    /// Follows a log of a process. See [`ProcessHandle::follow_logs`].
    ///
    /// # Errors
    ///
    /// [`FollowLogsError`].
    pub async fn follow_logs(
        &self,
        id: ProcessId,
        stream: LogStream,
        from: FollowFrom,
    ) -> Result<LogFollower, FollowLogsError> {
        let process = self.find::<FollowLogsError>(id).await?;
        process.follow_logs(stream, from).await
    }

    /// Moves the logs of a process out of its run directory. See [`ProcessHandle::keep_logs`].
    ///
    /// # Errors
    ///
    /// [`KeepLogsError`].
    pub async fn keep_logs(
        &self,
        id: ProcessId,
        directory: impl AsRef<Path>,
    ) -> Result<Vec<(LogStream, PathBuf)>, KeepLogsError> {
        let process = self.find::<KeepLogsError>(id).await?;
        process.keep_logs(directory).await
    }
}

impl ProcessHandle {
    /// Reads lines of its stdout log; of the merged log, where both streams are merged.
    ///
    /// A line is what ends with a newline; the last one counts without. What is not UTF-8 is shown
    /// by U+FFFD. A line of more than [`DEFAULT_LINE_LIMIT`](crate::DEFAULT_LINE_LIMIT) bytes is
    /// cut, and [says so](crate::LogLine::text) at its end. While the process runs these are the
    /// lines so far; after [`wait`](Self::wait) they are all of them. Logs are readable until the
    /// process is removed.
    ///
    /// # Errors
    ///
    /// [`GetLogsError`].
    pub async fn get_logs_stdout(&self, query: LogsQuery) -> Result<Vec<String>, GetLogsError> {
        self.texts(LogStream::Stdout, query).await
    }

    /// Reads lines of its stderr log; of the merged log, where both streams are merged. Otherwise
    /// as [`get_logs_stdout`](Self::get_logs_stdout).
    ///
    /// # Errors
    ///
    /// [`GetLogsError`].
    pub async fn get_logs_stderr(&self, query: LogsQuery) -> Result<Vec<String>, GetLogsError> {
        self.texts(LogStream::Stderr, query).await
    }

    async fn texts(
        &self,
        stream: LogStream,
        query: LogsQuery,
    ) -> Result<Vec<String>, GetLogsError> {
        let page = self.query_logs(stream, query).await?;
        if let Some(damage) = page.damage() {
            let source = std::io::Error::new(damage.kind(), damage.to_string());
            return Err(GetLogsError::UnExpectedIoError { stream, source });
        }
        Ok(page.lines().iter().map(|line| line.text().into()).collect())
    }

    /// Finds lines of one of its logs: by number, from the end, by time, by what they say. Of a stream that
    /// is [merged](crate::Logging::merged) with the other it is the merged log.
    ///
    /// The answer has the lines as bytes with their numbers and times, tells what was dropped, and where to
    /// go on. Logs are readable until the process is removed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use procession_manager::{Cmd, LogStream, Logging, LogsQuery, ProcessManager};
    ///
    /// let manager = ProcessManager::in_temp()?;
    /// let seq = Cmd::new("seq").arg("100000").logging(Logging::stdout());
    /// let process = manager.spawn_with_handle(seq).await?;
    /// process.wait().await?;
    ///
    /// let query = LogsQuery::last(2).containing("99");
    /// let page = process.query_logs(LogStream::Stdout, query).await?;
    /// let lines: Vec<_> = page.lines().iter().map(|line| (line.number(), line.text())).collect();
    /// assert_eq!(lines, [(99997, "99998".into()), (99998, "99999".into())]);
    /// # manager.shutdown().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`GetLogsError`]; [`TimesUnknown`](GetLogsError::TimesUnknown) where it asks for times on the
    /// [file route](crate::LogRoute::File) that nobody observed.
    pub async fn query_logs(
        &self,
        stream: LogStream,
        query: LogsQuery,
    ) -> Result<LogPage, GetLogsError> {
        let process = self.present::<GetLogsError>()?;
        process
            .query_logs(stream, query, self.manager().log_readers())
            .await
    }

    /// Follows one of its logs: a stream of its lines as they appear, from there on, to the end of its
    /// output. Any number may follow; each reads back from where the lines are kept, and a slow one holds up
    /// nobody.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::StreamExt as _;
    /// use procession_manager::{Cmd, FollowFrom, LogStream, Logging, ProcessManager};
    ///
    /// let manager = ProcessManager::in_temp()?;
    /// let cmd = Cmd::new("sh").args(["-c", "echo one; echo two"]).logging(Logging::stdout());
    /// let process = manager.spawn_with_handle(cmd).await?;
    /// let mut lines = process.follow_logs(LogStream::Stdout, FollowFrom::Beginning).await?;
    /// while let Some(line) = lines.next().await {
    ///     let line = line?;
    ///     println!("{}: {line}", line.number());
    /// }
    /// # manager.shutdown().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FollowLogsError`], also for what the stream says.
    #[expect(
        clippy::unused_async,
        reason = "as every other request; it may come to wait"
    )]
    pub async fn follow_logs(
        &self,
        stream: LogStream,
        from: FollowFrom,
    ) -> Result<LogFollower, FollowLogsError> {
        let process = self.present::<FollowLogsError>()?;
        process.follow_logs(stream, from, self.manager().log_readers())
    }

    /// Moves its logs out of its run directory, so that they are there when it has been removed: one plain
    /// file for each, `<directory>/stdout.log` and so on, with all that was kept. The directory is made if it
    /// is not there. Gives the files.
    ///
    /// It can be asked about its logs as before. They do not count for the manager's limit any more. On the
    /// [file route](crate::LogRoute::File) the file is copied, all of it; holes in it stay holes.
    ///
    /// All of them are kept, or none. Moved again, they are copied from where they were moved before: both
    /// copies stay, and the log is in the new one. Where the user has removed or changed the earlier file,
    /// that is an error.
    ///
    /// Not cancelled once it was polled. It is given up where the process is removed meanwhile.
    ///
    /// # Errors
    ///
    /// [`KeepLogsError`]; a file that is there already is not replaced.
    pub async fn keep_logs(
        &self,
        directory: impl AsRef<Path>,
    ) -> Result<Vec<(LogStream, PathBuf)>, KeepLogsError> {
        let process = self.present::<KeepLogsError>()?;
        process
            .keep_logs(directory.as_ref(), self.manager().log_readers())
            .await
    }
}
