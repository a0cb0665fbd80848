//! A Rust worker that speaks typed JSON: `cargo run --bin json_worker`.
//!
//! Parent and child are this one program: the parent starts it again with `worker` as its argument.
//! Frames carry the messages over named pipes, so the worker's own standard output stays free.
#![expect(clippy::print_stdout, reason = "an example talks on the terminal")]

use std::{env, error::Error};

use futures::TryStreamExt;
use procession_manager::{
    Cmd, Framing, Message, MessageFormat, Messaging, ProcessManager, TryMessageStreamExt,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
    unit_price: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Invoice {
    line: String,
    total: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1).as_deref() {
        Some("worker") => worker(),
        _ => parent(),
    }
}

/// The child: no async runtime, no configuration. It ends when the parent closes its input.
fn worker() -> Result<(), Box<dyn Error>> {
    let parent = procession_child::connect()?;
    while let Some(order) = parent.receive_as::<Order>(&MessageFormat::Json)? {
        let invoice = Invoice {
            line: format!("{} x {}", order.count, order.item),
            total: order.count * order.unit_price,
        };
        parent.send_as(&invoice, &MessageFormat::Json)?;
    }
    Ok(())
}

#[tokio::main]
async fn parent() -> Result<(), Box<dyn Error>> {
    let manager = ProcessManager::in_temp()?;
    let worker = Cmd::new(env::current_exe()?)
        .arg("worker")
        .messaging(Messaging::named_pipes().framing(Framing::Frames));
    let worker = manager.spawn_with_handle(worker).await?;
    let mut invoices = worker
        .subscribe_message_stream()
        .await?
        .into_deserialized_stream::<Invoice>(&MessageFormat::Json);

    for (item, count, unit_price) in [("bolt", 40, 3), ("gear", 2, 125), ("belt", 1, 80)] {
        let order = Order {
            item: item.to_owned(),
            count,
            unit_price,
        };
        let message = Message::from_serializable(&order, &MessageFormat::Json)?;
        worker.send_message(message).await?;
        println!("sent     {order:?}");
    }
    worker.close_input().await?;

    while let Some(invoice) = invoices.try_next().await? {
        println!("received {invoice:?}");
    }
    let report = worker.wait().await?;
    println!("the worker {report}");
    manager.shutdown().await?;
    Ok(())
}
