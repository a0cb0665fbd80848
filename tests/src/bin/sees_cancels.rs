//! A child that says what it sees of its requests: `sees_cancels threads|tokio`. It sends `begun` and
//! `cancelled`, each followed by what was asked. A request of `reply` is answered at once.

use std::error::Error;
use std::process::ExitCode;

use procession_child::{HandlerError, connect, tokio as on_tokio};
use procession_tests::fixture_main;

const AT_ONCE: usize = 8;

fn main() -> ExitCode {
    fixture_main(|| match std::env::args().nth(1).as_deref() {
        Some("threads") => threads(),
        Some("tokio") => tokio::runtime::Runtime::new()?.block_on(tasks()),
        _ => Err("usage: sees_cancels threads|tokio".into()),
    })
}

fn threads() -> Result<(), Box<dyn Error>> {
    let parent = connect()?;
    parent.serve_on(AT_ONCE, |request| {
        let asked = request.message().as_str()?;
        if asked == "reply" {
            return Ok("replied".into());
        }
        parent.send(format!("begun {asked}"))?;
        request.wait_cancelled();
        if request.is_cancelled() {
            parent.send(format!("cancelled {asked}"))?;
        }
        Err("cancelled".into())
    })?;
    Ok(parent.finish(0)?)
}

async fn tasks() -> Result<(), Box<dyn Error>> {
    let parent = on_tokio::connect().await?;
    let sender = parent.clone();
    let serving = parent.serve(AT_ONCE, move |request| {
        let sender = sender.clone();
        async move {
            let asked = request.message().as_str()?;
            if asked == "reply" {
                return Ok("replied".into());
            }
            sender.send(format!("begun {asked}")).await?;
            request.cancelled().await;
            if request.is_cancelled() {
                sender.send(format!("cancelled {asked}")).await?;
            }
            Err(HandlerError::from("cancelled"))
        }
    });
    serving.await?;
    Ok(parent.finish(0).await?)
}
