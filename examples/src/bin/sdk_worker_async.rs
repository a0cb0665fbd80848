//! A child on tokio that answers requests in tasks, and sends every message back.
//!
//! It does whatever a parent may want to try: `echo`, `items`, `fail`, `panic`, `wait`, `hold`, `ask`,
//! `collect` and `forget`. A request is one of these words, and after a space its argument. There is a
//! twin without a runtime, `sdk_worker`. A parent starts it; by hand it only says so.

use futures::TryStreamExt;
use procession_child::{
    HandlerError, Message,
    tokio::{Parent, Request, connect},
};
use tokio::sync::watch;

/// So many requests are worked on at once.
const LIMIT: usize = 64;

#[tokio::main]
async fn main() -> Result<(), HandlerError> {
    let parent = connect().await?;
    parent.ready("at work").await?;
    let (stop, stopped) = watch::channel(false);
    let asking = parent.clone();
    let serving = parent.serve(LIMIT, move |request| {
        answer(asking.clone(), stopped.clone(), request)
    });
    let echo = async {
        let echoed = echo_messages(&parent).await;
        // No more messages: the parent has nothing more to say.
        stop.send_replace(true);
        echoed
    };
    let (served, echoed) = tokio::join!(serving, echo);
    served?;
    echoed?;
    parent.finish(0).await?;
    Ok(())
}

async fn echo_messages(parent: &Parent) -> Result<(), HandlerError> {
    while let Some(message) = parent.receive().await? {
        parent.send(message).await?;
    }
    Ok(())
}

async fn answer(
    parent: Parent,
    mut stopped: watch::Receiver<bool>,
    request: Request,
) -> Result<Message, HandlerError> {
    let (verb, argument) = split(request.message());
    match &verb[..] {
        "echo" => Ok(argument),
        "items" => {
            for number in 0..argument.as_str()?.parse::<u64>()? {
                request.item(number.to_string()).await?;
            }
            Ok("done".into())
        }
        "fail" => Err(argument.try_into_string()?.into()),
        "panic" => panic!("as asked"),
        "wait" => {
            request.cancelled().await;
            Err("cancelled".into())
        }
        "hold" => {
            tokio::select! {
                biased;
                () = parent.stopped() => Ok("stopped".into()),
                stop = stopped.wait_for(|stopped| *stopped) => {
                    stop?;
                    Ok("stopped".into())
                }
                () = cancelled(&request) => Err("cancelled".into()),
            }
        }
        "ask" => Ok(parent.request(argument).await?),
        "collect" => {
            let mut answer = parent.request_items(argument).await?;
            let mut items = Vec::new();
            while let Some(item) = answer.try_next().await? {
                items.push(item);
            }
            answer.reply().await?;
            let items: Vec<&[u8]> = items.iter().map(Message::as_bytes).collect();
            Ok(items.join(&b'\n').into())
        }
        "forget" => {
            // Dropped before the reply has come: cancelled.
            drop(parent.request_items(argument).await?);
            Ok("forgotten".into())
        }
        verb => Err(format!("no such verb: {verb:?}").into()),
    }
}

/// Resolves only if the parent says so: at the end of input, those who hold are told to stop.
async fn cancelled(request: &Request) {
    request.cancelled().await;
    if !request.is_cancelled() {
        std::future::pending::<()>().await;
    }
}

/// A word, and what follows it after a space.
fn split(message: &Message) -> (String, Message) {
    let bytes = message.as_bytes();
    let end = bytes.iter().position(|&byte| byte == b' ');
    let verb = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]);
    let argument = end.map_or_else(Message::new, |end| message.slice(end + 1..));
    (verb.into_owned(), argument)
}
