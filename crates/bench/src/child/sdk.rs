//! A child on `procession-child`, as a user would write it.

use procession_child::{Message, MessageFormat::Json, Parent};

use std::time::Duration;

use super::{Job, Order, use_processor};
use crate::Failure;

pub(super) fn run(job: Job) -> Result<(), Failure> {
    let parent = procession_child::connect()?;
    match job {
        Job::Echo => echo(&parent),
        Job::Flood => flood(&parent),
        Job::Drain => drain(&parent),
        Job::Serve => serve(&parent),
        Job::Work => work(&parent),
    }
}

fn echo(parent: &Parent) -> Result<(), Failure> {
    while let Some(message) = parent.receive()? {
        parent.send(message)?;
    }
    Ok(())
}

fn flood(parent: &Parent) -> Result<(), Failure> {
    while let Some(message) = parent.receive()? {
        let order = Order::from_message(message.as_bytes())?;
        let payload = Message::from(vec![b'x'; order.size]);
        for _ in 0..order.count {
            parent.feed(payload.clone())?;
        }
        parent.flush()?;
    }
    Ok(())
}

fn drain(parent: &Parent) -> Result<(), Failure> {
    while let Some(message) = parent.receive()? {
        let order = Order::from_message(message.as_bytes())?;
        let mut bytes = 0;
        for _ in 0..order.count {
            bytes += parent.receive()?.ok_or("the parent ended early")?.len();
        }
        parent.send(bytes.to_string())?;
    }
    Ok(())
}

fn serve(parent: &Parent) -> Result<(), Failure> {
    Ok(parent.serve(|request| {
        let numbers: Vec<f64> = request.deserialize_as(&Json)?;
        let sum: f64 = numbers.iter().sum();
        Ok(Message::from_serializable(&sum, &Json)?)
    })?)
}

fn work(parent: &Parent) -> Result<(), Failure> {
    Ok(parent.serve(|request| {
        let time = request.message().as_str()?;
        if !time.is_empty() {
            use_processor(Duration::from_micros(time.parse()?));
        }
        Ok(Message::new())
    })?)
}
