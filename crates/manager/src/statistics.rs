//! What went between the parent and a process.

use crate::messaging::conversation::RequestCounts;
use crate::messaging::hub::HubCounts;
use crate::messaging::outbox::OutboxCounts;

/// What went between the parent and a process since its start, and what waits.
///
/// Bytes are those of payloads.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use futures::StreamExt;
/// use procession_manager::{Cmd, Messaging, ProcessManager};
///
/// let manager = ProcessManager::in_temp()?;
/// let cat = Cmd::new("cat").messaging(Messaging::standard_io());
/// let cat = manager.spawn_with_handle(cat).await?;
/// cat.send_message("hello").await?;
/// cat.subscribe_message_stream().await?.next().await;
/// let statistics = cat.get_process_info().await?.statistics().expect("it has messaging");
/// assert_eq!((statistics.messages_sent, statistics.bytes_received), (1, 5));
/// # manager.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Messages to the child that are in the kernel.
    pub messages_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Messages to the child that wait here: for the pipe, or for the child's credit.
    pub messages_queued: u64,
    /// Their bytes.
    pub bytes_queued: u64,
    /// Messages from the child.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Messages from the child that made room for newer ones
    /// ([`Overflow::DropOldest`](crate::Overflow::DropOldest)), each counted for each subscription that lost it.
    pub messages_lost: u64,
    /// Requests to the child, in all.
    pub requests_asked: u64,
    /// Those that wait for their reply.
    pub requests_waiting: u64,
    /// Replies from the child.
    pub replies: u64,
    /// Failures from the child.
    pub failures: u64,
    /// The child's requests that are being answered.
    pub requests_answering: u64,
    /// Replies to the child.
    pub requests_answered: u64,
    /// The child's requests that failed here, or were cancelled.
    pub requests_failed: u64,
}

impl Statistics {
    pub(crate) fn of(sent: OutboxCounts, received: HubCounts, requests: RequestCounts) -> Self {
        Self {
            messages_sent: sent.messages,
            bytes_sent: sent.bytes,
            messages_queued: sent.queued,
            bytes_queued: sent.queued_bytes,
            messages_received: received.messages,
            bytes_received: received.bytes,
            messages_lost: received.lost,
            requests_asked: requests.asked,
            requests_waiting: requests.waiting,
            replies: requests.replies,
            failures: requests.failures,
            requests_answering: requests.answering,
            requests_answered: requests.answered,
            requests_failed: requests.refused,
        }
    }
}
