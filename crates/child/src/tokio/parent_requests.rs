//! The verbs of [`Parent`] that concern requests.

use std::future::Future;

use procession_wire::Message;
#[cfg(any(feature = "json", feature = "message-pack"))]
use {
    procession_wire::MessageFormat,
    serde::{Serialize, de::DeserializeOwned},
};

use super::{Parent, Reply, Request};
use crate::{HandlerError, RequestError, RequestOptions, ServeError};

impl Parent {
    /// Answers requests from the parent, up to `limit` at once (at least one), until the parent asks
    /// this program to stop or ends the input. What has been accepted by then is answered first.
    ///
    /// Each request is handled in a task of its own. What the handler resolves to is the reply; its
    /// error, or the message of its panic, is the failure that the parent is sent. Every request has
    /// exactly one end.
    ///
    /// Requests wait for a server: those that come while nobody serves, or while `limit` are worked on,
    /// are answered later, or failed when the connection ends; the parent may have 1 MiB of them open.
    /// Messages are not taken here: [`receive`](Self::receive) is for another task.
    ///
    /// # Errors
    ///
    /// [`ServeError::NotSupported`]: this channel has no requests. They need frames both ways.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it aborts the handlers and fails their requests. Those that no handler was given yet
    /// wait for the next to serve.
    ///
    /// ```no_run
    /// # async fn run(parent: procession_child::tokio::Parent) -> Result<(), procession_child::ServeError> {
    /// parent.serve(16, async |request| {
    ///     let path = request.message().as_str()?;
    ///     Ok(tokio::fs::read(path).await?.into())
    /// }).await
    /// # }
    /// ```
    pub async fn serve<H, F>(&self, limit: usize, handler: H) -> Result<(), ServeError>
    where
        H: Fn(Request) -> F,
        F: Future<Output = Result<Message, HandlerError>> + Send + 'static,
    {
        self.endpoint().serve(limit, handler).await
    }

    /// Asks the parent, and waits for its reply, for [`DEFAULT_DEADLINE`](crate::DEFAULT_DEADLINE) at
    /// most. Items that come before the reply are thrown away.
    ///
    /// Waits for credit besides, which the parent grants for requests apart from messages. Tasks may ask
    /// at once: replies come in any order, and each goes to the task that it is for.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is no reply.
    ///
    /// # Panics
    ///
    /// The runtime has no time driver. A request [without a
    /// deadline](RequestOptions::no_deadline) needs none.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the request has its place, nothing is sent. After that, the parent is told that
    /// no reply is wanted any more.
    ///
    /// ```no_run
    /// # async fn run(parent: procession_child::tokio::Parent) -> Result<(), Box<dyn std::error::Error>> {
    /// let reply = parent.request("where is the data?").await?;
    /// println!("it is in {}", reply.as_str()?);
    /// # Ok(()) }
    /// ```
    pub async fn request(&self, message: impl Into<Message>) -> Result<Message, RequestError> {
        self.request_with(message, &RequestOptions::new()).await
    }

    /// The same with options.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    ///
    /// # Panics
    ///
    /// As [`request`](Self::request).
    ///
    /// # Cancel safety
    ///
    /// As [`request`](Self::request).
    ///
    /// ```no_run
    /// # async fn run(parent: procession_child::tokio::Parent) -> Result<(), procession_child::RequestError> {
    /// use procession_child::RequestOptions;
    ///
    /// let whenever = RequestOptions::new().no_deadline();
    /// let reply = parent.request_with("is it over?", &whenever).await?;
    /// # Ok(()) }
    /// ```
    pub async fn request_with(
        &self,
        message: impl Into<Message>,
        options: &RequestOptions,
    ) -> Result<Message, RequestError> {
        self.endpoint().request(message.into(), options).await
    }

    /// Asks with a value, and turns the reply into one.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), and [`RequestError::Serialize`] and
    /// [`RequestError::Deserialize`] for values that do not fit.
    ///
    /// # Panics
    ///
    /// As [`request`](Self::request).
    ///
    /// # Cancel safety
    ///
    /// As [`request`](Self::request).
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub async fn request_as<Req, Resp>(
        &self,
        request: &Req,
        format: &MessageFormat,
    ) -> Result<Resp, RequestError>
    where
        Req: Serialize + ?Sized,
        Resp: DeserializeOwned,
    {
        let message = Message::from_serializable(request, format);
        let reply = self
            .request(message.map_err(RequestError::Serialize)?)
            .await?;
        reply.deserialize(format).map_err(RequestError::Deserialize)
    }

    /// Asks the parent for an answer in parts: a stream of the items, and then the
    /// [reply](Reply::reply). Resolves when the request has its place on the way out. The deadline is
    /// that of the whole answer.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    ///
    /// # Panics
    ///
    /// As [`request`](Self::request).
    ///
    /// # Cancel safety
    ///
    /// As [`request`](Self::request); dropping the [`Reply`] cancels the request too.
    ///
    /// ```no_run
    /// # async fn run(parent: procession_child::tokio::Parent) -> Result<(), procession_child::RequestError> {
    /// use futures::TryStreamExt;
    ///
    /// let mut rows = parent.request_items("select * from t").await?;
    /// while let Some(row) = rows.try_next().await? {
    ///     println!("{row:?}");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn request_items(&self, message: impl Into<Message>) -> Result<Reply, RequestError> {
        self.request_items_with(message, &RequestOptions::new())
            .await
    }

    /// The same with options.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    ///
    /// # Panics
    ///
    /// As [`request`](Self::request).
    ///
    /// # Cancel safety
    ///
    /// As [`request_items`](Self::request_items).
    pub async fn request_items_with(
        &self,
        message: impl Into<Message>,
        options: &RequestOptions,
    ) -> Result<Reply, RequestError> {
        self.endpoint().request_items(message.into(), options).await
    }
}
