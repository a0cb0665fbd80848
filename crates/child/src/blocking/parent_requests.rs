//! The verbs of [`Parent`] that concern requests.

use procession_wire::Message;
#[cfg(any(feature = "json", feature = "message-pack"))]
use {
    procession_wire::MessageFormat,
    serde::{Serialize, de::DeserializeOwned},
};

use super::{Parent, Reply, Request};
use crate::{HandlerError, RequestError, RequestOptions, ServeError};

impl Parent {
    /// Answers requests from the parent on this thread, one at a time, until the parent asks this
    /// program to stop or ends the input. What has been accepted by then is answered first. Ends too
    /// after a handler or another thread has called [`finish`](Self::finish), which fails what is open.
    ///
    /// What the handler returns is the reply; its error, or the message of its panic, is the failure
    /// that the parent is sent. Either way the next request is taken. Every request has exactly one
    /// end.
    ///
    /// Requests wait for a server: those that come while nobody serves are answered by a later call,
    /// or failed when the connection ends; the parent may have 1 MiB of them open. Messages are not
    /// taken here: [`messages`](Self::messages) is for another thread. Several threads may serve at
    /// once, each with a handler of its own: a request goes to exactly one.
    ///
    /// # Errors
    ///
    /// [`ServeError::NotSupported`]: this channel has no requests. They need frames both ways.
    ///
    /// ```no_run
    /// let parent = procession_child::connect()?;
    /// parent.serve(|request| {
    ///     let path = request.message().as_str()?;
    ///     Ok(std::fs::read(path)?.into())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve<H>(&self, handler: H) -> Result<(), ServeError>
    where
        H: Fn(Request) -> Result<Message, HandlerError>,
    {
        self.endpoint().serve(&handler)
    }

    /// The same on as many threads, this one included: so many requests are worked on at once. With
    /// 0 it is one thread, with more than 1,024 it is 1,024, and it is fewer than asked for if the
    /// system gives no more. All have ended when this returns.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve).
    ///
    /// ```no_run
    /// let parent = procession_child::connect()?;
    /// parent.serve_on(4, |request| Ok(request.message().as_str()?.to_uppercase().into()))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve_on<H>(&self, threads: usize, handler: H) -> Result<(), ServeError>
    where
        H: Fn(Request) -> Result<Message, HandlerError> + Sync,
    {
        self.endpoint().serve_on(threads, &handler)
    }

    /// Asks the parent, and waits for its reply, for [`DEFAULT_DEADLINE`](crate::DEFAULT_DEADLINE) at
    /// most. Items that come before the reply are thrown away.
    ///
    /// Waits for credit besides, which the parent grants for requests apart from messages. Threads may
    /// ask at once: replies come in any order, and each goes to the thread that it is for.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is no reply.
    ///
    /// ```no_run
    /// # let parent = procession_child::connect()?;
    /// let reply = parent.request("where is the data?")?;
    /// println!("it is in {}", reply.as_str()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request(&self, message: impl Into<Message>) -> Result<Message, RequestError> {
        self.request_with(message, &RequestOptions::new())
    }

    /// The same with options. A deadline cuts the wait for credit and for the reply, and not a write
    /// to a full pipe.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use procession_child::{RequestError, RequestOptions};
    ///
    /// # let parent = procession_child::connect()?;
    /// let soon = RequestOptions::new().deadline(Duration::from_secs(1));
    /// match parent.request_with("may I?", &soon) {
    ///     Ok(reply) => println!("the parent says {reply:?}"),
    ///     Err(RequestError::TimedOut(_)) => println!("then I will not"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request_with(
        &self,
        message: impl Into<Message>,
        options: &RequestOptions,
    ) -> Result<Message, RequestError> {
        self.endpoint().request(&message.into(), options)
    }

    /// Asks with a value, and turns the reply into one.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), and [`RequestError::Serialize`] and
    /// [`RequestError::Deserialize`] for values that do not fit.
    ///
    #[cfg_attr(feature = "json", doc = "```no_run")]
    #[cfg_attr(not(feature = "json"), doc = "```ignore")]
    /// use procession_child::MessageFormat::Json;
    ///
    /// let parent = procession_child::connect()?;
    /// let sum: f64 = parent.request_as(&[1.0, 2.5], &Json)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(any(feature = "json", feature = "message-pack"))]
    pub fn request_as<Req, Resp>(
        &self,
        request: &Req,
        format: &MessageFormat,
    ) -> Result<Resp, RequestError>
    where
        Req: Serialize + ?Sized,
        Resp: DeserializeOwned,
    {
        let message =
            Message::from_serializable(request, format).map_err(RequestError::Serialize)?;
        let reply = self.request(message)?;
        reply.deserialize(format).map_err(RequestError::Deserialize)
    }

    /// Asks the parent for an answer in parts: an iterator over the items, and then the
    /// [reply](Reply::reply). Returns when the request has been sent. The deadline is that of the whole
    /// answer.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    ///
    /// ```no_run
    /// # let parent = procession_child::connect()?;
    /// for row in parent.request_items("select * from t")? {
    ///     println!("{:?}", row?);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request_items(&self, message: impl Into<Message>) -> Result<Reply, RequestError> {
        self.request_items_with(message, &RequestOptions::new())
    }

    /// The same with options.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn request_items_with(
        &self,
        message: impl Into<Message>,
        options: &RequestOptions,
    ) -> Result<Reply, RequestError> {
        self.endpoint().request_items(&message.into(), options)
    }
}
