//! Questions and answers both ways: `cargo run --bin conversation`.
//!
//! Parent and child are this one program: the parent starts it again with `worker` as its argument. The
//! parent waits until the worker is ready, asks it for values, answers a question of the worker's own, reads
//! an answer in parts, and asks it to stop. Messages could go on beside all of it.
#![expect(clippy::print_stdout, reason = "an example talks on the terminal")]

use std::{env, error::Error, time::Duration};

use futures::TryStreamExt;
use procession_manager::{
    Cmd, Escaped, Framing, Message, MessageFormat::Json, Messaging, ProcessManager, Readiness,
    RequestError, RequestOptions,
};
use serde::{Deserialize, Serialize};

/// What the parent asks.
#[derive(Debug, Serialize, Deserialize)]
enum Question {
    /// What so many of an article cost.
    Price { article: String, count: u32 },
    /// All prime factors, one item each; the reply is how many there are.
    Factors(u64),
}

#[derive(Debug, Serialize, Deserialize)]
struct Price {
    cents: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1).as_deref() {
        Some("worker") => worker(),
        _ => parent(),
    }
}

/// The child: no async runtime. `serve` returns when the parent asks it to stop.
fn worker() -> Result<(), Box<dyn Error>> {
    let parent = procession_child::connect()?;
    parent.ready("two threads at work")?;
    parent.serve_on(2, |request| {
        match request.deserialize_as(&Json)? {
            Question::Price { article, count } => {
                // A handler may ask in turn; its error becomes the failure of the request.
                let unit: Price = parent.request_as(&article, &Json)?;
                let cents = unit.cents * count;
                Ok(Message::from_serializable(&Price { cents }, &Json)?)
            }
            Question::Factors(mut number) => {
                let mut found = 0_u32;
                let mut factor = 2;
                while number > 1 {
                    if number.is_multiple_of(factor) {
                        number /= factor;
                        found += 1;
                        request.item(factor.to_string())?;
                    } else {
                        factor += 1;
                    }
                }
                Ok(found.to_string().into())
            }
        }
    })?;
    Ok(())
}

#[tokio::main]
async fn parent() -> Result<(), Box<dyn Error>> {
    let manager = ProcessManager::in_temp()?;
    let worker = Cmd::new(env::current_exe()?)
        .arg("worker")
        .messaging(Messaging::named_pipes().framing(Framing::Frames))
        .ready_when(Readiness::Frame)
        .serve(|request| async move {
            let article: String = request.deserialize_as(&Json)?;
            let cents = match article.as_str() {
                "bolt" => 3,
                "gear" => 125,
                other => return Err(format!("nobody sells {other}").into()),
            };
            Ok(Message::from_serializable(&Price { cents }, &Json)?)
        });
    let worker = manager.spawn_with_handle(worker).await?;
    // What a worker says of itself is shown so that it does nothing to the terminal.
    let status = worker.wait_ready().await?;
    println!("the worker is ready: {}", Escaped::new(&status));

    for (article, count) in [("bolt", 40), ("gear", 2), ("moon", 1)] {
        let question = Question::Price {
            article: article.to_owned(),
            count,
        };
        match worker.request_as::<_, Price>(&question, &Json).await {
            Ok(price) => println!("{count} x {article}: {} cents", price.cents),
            Err(RequestError::Failed(why)) => {
                println!("{count} x {article}: {}", Escaped::new(&why));
            }
            Err(error) => return Err(error.into()),
        }
    }

    let question = Message::from_serializable(&Question::Factors(360), &Json)?;
    let soon = RequestOptions::new().deadline(Duration::from_secs(10));
    let mut factors = worker.request_items(question, soon).await?;
    while let Some(factor) = factors.try_next().await? {
        println!("360 has the factor {}", factor.as_str()?);
    }
    println!("{} in all", factors.reply().await?.as_str()?);

    let statistics = worker.get_process_info().await?.statistics();
    let statistics = statistics.ok_or("it has messaging")?;
    println!(
        "asked {}, of which {} failed; answered {}",
        statistics.requests_asked, statistics.failures, statistics.requests_answered
    );
    // What it has accepted it would answer first.
    let report = worker.stop().await?;
    println!("the worker {report}");
    manager.shutdown().await?;
    Ok(())
}
