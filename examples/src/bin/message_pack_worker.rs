//! An async Rust worker that speaks MessagePack: `cargo run --bin message_pack_worker`.
//!
//! Frames carry any bytes, so MessagePack goes as it is, without hexadecimal or base 64. The
//! worker runs on tokio: it takes the next job while it works on another.
#![expect(clippy::print_stdout, reason = "an example talks on the terminal")]

use std::{env, error::Error, time::Duration};

use futures::TryStreamExt;
use procession_manager::{
    Cmd, Encoding, Framing, Message, MessageFormat, Messaging, ProcessManager, TryMessageStreamExt,
};
use serde::{Deserialize, Serialize};

const FORMAT: MessageFormat = MessageFormat::MessagePack(Encoding::Raw);

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    name: String,
    milliseconds: u64,
    samples: Vec<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    name: String,
    mean: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1).as_deref() {
        Some("worker") => worker().await,
        _ => parent().await,
    }
}

/// The child: each job is a task of its own, so a short one overtakes a long one.
async fn worker() -> Result<(), Box<dyn Error>> {
    let parent = procession_child::tokio::connect().await?;
    let mut jobs = tokio::task::JoinSet::new();
    while let Some(job) = parent.receive_as::<Job>(&FORMAT).await? {
        let parent = parent.clone();
        jobs.spawn(async move {
            tokio::time::sleep(Duration::from_millis(job.milliseconds)).await;
            #[expect(clippy::cast_precision_loss, reason = "a handful of samples")]
            let mean = job.samples.iter().sum::<f64>() / job.samples.len() as f64;
            let name = job.name;
            parent.send_as(&Outcome { name, mean }, &FORMAT).await
        });
    }
    while let Some(sent) = jobs.join_next().await {
        sent??;
    }
    Ok(())
}

async fn parent() -> Result<(), Box<dyn Error>> {
    let manager = ProcessManager::in_temp()?;
    let worker = Cmd::new(env::current_exe()?)
        .arg("worker")
        .messaging(Messaging::standard_io().framing(Framing::Frames));
    let worker = manager.spawn_with_handle(worker).await?;
    let mut outcomes = worker
        .subscribe_message_stream()
        .await?
        .into_deserialized_stream::<Outcome>(&FORMAT);

    for (name, milliseconds) in [("long", 150), ("short", 5)] {
        let job = Job {
            name: name.to_owned(),
            milliseconds,
            samples: vec![1.5, 2.5, 5.0],
        };
        let message = Message::from_serializable(&job, &FORMAT)?;
        println!("sent     {job:?} as {} bytes", message.len());
        worker.send_message(message).await?;
    }
    worker.close_input().await?;

    while let Some(outcome) = outcomes.try_next().await? {
        println!("received {outcome:?}");
    }
    let report = worker.wait().await?;
    println!("the worker {report}");
    manager.shutdown().await?;
    Ok(())
}
