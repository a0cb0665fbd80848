//! A child that answers requests on many threads, and sends every message back.
//!
//! It does whatever a parent may want to try: `echo`, `items`, `fail`, `panic`, `wait`, `hold`, `ask`,
//! `collect` and `forget`. A request is one of these words, and after a space its argument. There is a
//! twin on tokio, `sdk_worker_async`. A parent starts it; by hand it only says so.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use procession_child::{HandlerError, Message, Parent, Request, connect};

/// So many requests are worked on at once.
const THREADS: usize = 64;

fn main() -> Result<(), HandlerError> {
    let parent = connect()?;
    parent.ready("at work")?;
    let stop = Arc::new(Stop::default());
    let stopping = Arc::clone(&stop);
    parent.on_stop(move || stopping.raise());
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let echoed = echo_messages(&parent);
            // No more messages: the parent has nothing more to say.
            stop.raise();
            echoed
        });
        parent.serve_on(THREADS, |request| answer(&parent, &stop, &request))?;
        echo.join().map_err(|_| "echoing messages panicked")?
    })?;
    parent.finish(0)?;
    Ok(())
}

fn echo_messages(parent: &Parent) -> Result<(), HandlerError> {
    for message in parent.messages() {
        parent.send(message?)?;
    }
    Ok(())
}

fn answer(parent: &Parent, stop: &Stop, request: &Request) -> Result<Message, HandlerError> {
    let (verb, argument) = split(request.message());
    match &verb[..] {
        "echo" => Ok(argument),
        "items" => {
            for number in 0..argument.as_str()?.parse::<u64>()? {
                request.item(number.to_string())?;
            }
            Ok("done".into())
        }
        "fail" => Err(argument.try_into_string()?.into()),
        "panic" => panic!("as asked"),
        "wait" => {
            request.wait_cancelled();
            Err("cancelled".into())
        }
        "hold" => {
            let (call, called) = sync_channel(2);
            let cancelled = call.clone();
            request.on_cancel(move || drop(cancelled.try_send(Called::Cancelled)));
            stop.tell(call);
            match called.recv()? {
                Called::Stopped => Ok("stopped".into()),
                Called::Cancelled => Err("cancelled".into()),
            }
        }
        "ask" => Ok(parent.request(argument)?),
        "collect" => {
            let mut answer = parent.request_items(argument)?;
            let items: Vec<Message> = answer.by_ref().collect::<Result<_, _>>()?;
            answer.reply()?;
            let items: Vec<&[u8]> = items.iter().map(Message::as_bytes).collect();
            Ok(items.join(&b'\n').into())
        }
        "forget" => {
            // Dropped before the reply has come: cancelled.
            drop(parent.request_items(argument)?);
            Ok("forgotten".into())
        }
        verb => Err(format!("no such verb: {verb:?}").into()),
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

/// Tells those who hold a request that the end has come.
#[derive(Default)]
struct Stop(Mutex<State>);

#[derive(Default)]
struct State {
    raised: bool,
    to_tell: Vec<SyncSender<Called>>,
}

enum Called {
    Stopped,
    Cancelled,
}

impl Stop {
    fn tell(&self, call: SyncSender<Called>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.raised {
            // It has room for two.
            let _ = call.try_send(Called::Stopped);
        } else {
            state.to_tell.push(call);
        }
    }

    fn raise(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.raised = true;
        for call in state.to_tell.drain(..) {
            // Full or gone: it has been answered.
            let _ = call.try_send(Called::Stopped);
        }
    }
}
