//! What both sides say of requests: options, errors, and how a handler's outcome becomes an end.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use procession_wire::Escaped;
#[cfg(any(feature = "json", feature = "message-pack"))]
use procession_wire::SerdeError;

use crate::{Message, SendError, core::Lost};

/// For how long a request waits for its reply unless told otherwise: 30 seconds.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// The longest wait of a timer of `tokio`'s: a hundred years of 365 days. `tokio` rounds an instant
/// up, which overflows for the last one that there is.
#[cfg(feature = "tokio")]
pub(crate) const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// Why a handler did not answer: any error, whose text the parent is sent as the failure. `?` makes
/// one of other errors, and `.into()` one of a text.
///
/// ```
/// use procession_child::HandlerError;
///
/// fn half(text: &str) -> Result<u32, HandlerError> {
///     let number: u32 = text.parse()?;
///     if number % 2 == 1 {
///         return Err("an odd number".into());
///     }
///     Ok(number / 2)
/// }
/// assert_eq!(half("3").unwrap_err().to_string(), "an odd number");
/// assert_eq!(half("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

/// What a request to the parent is asked with.
///
/// ```
/// use std::time::Duration;
/// use procession_child::RequestOptions;
///
/// let soon = RequestOptions::new().deadline(Duration::from_millis(500));
/// let whenever = RequestOptions::new().no_deadline();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestOptions {
    pub(crate) deadline: Option<Duration>,
}

impl RequestOptions {
    /// With a deadline of [`DEFAULT_DEADLINE`].
    pub const fn new() -> Self {
        Self {
            deadline: Some(DEFAULT_DEADLINE),
        }
    }

    /// The most time from the call to the reply, waiting for credit and taking the items included.
    /// After it the request is cancelled, and what has come and was not taken is not given.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Waits for as long as it takes, or until the parent is gone.
    pub const fn no_deadline(mut self) -> Self {
        self.deadline = None;
        self
    }
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a request to the parent has no reply.
#[non_exhaustive]
pub enum RequestError {
    /// The parent answered with a failure, which says why. The text is as the parent has sent it.
    Failed(String),
    /// There was no reply within this time. The parent was told that none is wanted any more.
    TimedOut(Duration),
    /// The input has ended: the parent closed it or is gone, and no reply can come.
    ParentGone,
    /// The parent sent more items than it was allowed to. It was told that none is wanted any more.
    TooManyItems,
    /// The request was not sent.
    Send(SendError),
    /// Requests need frames in both directions, and this program has not been given that.
    NotSupported,
    /// The request could not be turned into a message. It was not sent.
    #[cfg(any(feature = "json", feature = "message-pack"))]
    Serialize(SerdeError),
    /// The reply could not be turned into a value of the type asked for.
    #[cfg(any(feature = "json", feature = "message-pack"))]
    Deserialize(SerdeError),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) => Escaped::new(text).fmt(f),
            Self::TimedOut(deadline) => {
                write!(f, "the parent has not answered within {deadline:?}")
            }
            Self::ParentGone => f.write_str("the input has ended, and no answer can come"),
            Self::Send(error) => error.fmt(f),
            Self::TooManyItems => {
                f.write_str("the parent sent more items than were allowed at once")
            }
            Self::NotSupported => f.write_str(NOT_SUPPORTED),
            #[cfg(any(feature = "json", feature = "message-pack"))]
            Self::Serialize(error) | Self::Deserialize(error) => error.fmt(f),
        }
    }
}

/// Shows the start of a long text.
impl fmt::Debug for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) => {
                let text = Escaped::new(text).short();
                f.debug_tuple("Failed").field(&text).finish()
            }
            Self::TimedOut(deadline) => f.debug_tuple("TimedOut").field(deadline).finish(),
            Self::ParentGone => f.write_str("ParentGone"),
            Self::Send(error) => f.debug_tuple("Send").field(error).finish(),
            Self::NotSupported => f.write_str("NotSupported"),
            #[cfg(any(feature = "json", feature = "message-pack"))]
            Self::Serialize(error) => f.debug_tuple("Serialize").field(error).finish(),
            #[cfg(any(feature = "json", feature = "message-pack"))]
            Self::Deserialize(error) => f.debug_tuple("Deserialize").field(error).finish(),
            Self::TooManyItems => f.write_str("TooManyItems"),
        }
    }
}

impl std::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Send(error) => error.source(),
            _ => None,
        }
    }
}

impl From<SendError> for RequestError {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

/// Why an item was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum ItemError {
    /// The parent no longer wants the answer.
    Cancelled,
    /// The request has been answered: no item can follow.
    Answered,
    /// The input has ended, and with it the credit for items.
    ParentGone,
    /// It could not be sent: too large, or the output is gone.
    Send(SendError),
}

impl fmt::Display for ItemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the request was cancelled"),
            Self::Answered => f.write_str("the request has been answered already"),
            Self::ParentGone => {
                f.write_str("the input has ended, and the parent had no room for the item")
            }
            Self::Send(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ItemError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Send(error) => error.source(),
            _ => None,
        }
    }
}

impl From<SendError> for ItemError {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

/// Why no requests can be served.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// Requests need frames in both directions, and this program has not been given that.
    NotSupported,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NOT_SUPPORTED)
    }
}

impl std::error::Error for ServeError {}

const NOT_SUPPORTED: &str = "requests need frames in both directions";

impl Lost {
    pub(crate) fn into_error(self) -> RequestError {
        match self {
            Self::Failed(text) => RequestError::Failed(text),
            Self::TooManyItems => RequestError::TooManyItems,
            Self::Gone => RequestError::ParentGone,
        }
    }
}

/// What the parent is sent when a handler leaves its request without an answer.
pub(crate) const DROPPED: &str = "the request was dropped before it was answered";

/// Runs a part of a handler. A panic is the text of a failure.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| panic_text(&*payload))
}

/// The reply, or the text of the failure.
pub(crate) fn outcome(
    handled: Result<Result<Message, HandlerError>, String>,
    limit: usize,
) -> Result<Message, String> {
    let reply = handled?.map_err(|error| error.to_string())?;
    let len = reply.len();
    if len > limit {
        return Err(SendError::TooLarge { len, limit }.to_string());
    }
    Ok(reply)
}

/// The part of a failure's text that fits into a message.
pub(crate) fn fitting(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    match text {
        Some(text) => format!("the handler panicked: {text}"),
        None => "the handler panicked".to_owned(),
    }
}
