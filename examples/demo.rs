//! Two small things worth checking, for `make up`: `demo listen ADDRESS` accepts TCP connections, and
//! `demo consume URI QUEUE TAG` consumes a queue, making it where it is not there, again and again.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["listen", address] => listen(address).await,
        ["consume", uri, queue, tag] => loop {
            if let Err(error) = consume(uri, queue, tag).await {
                say(&format!("{error}; trying again"));
            }
            sleep(PAUSE).await;
        },
        _ => {
            say("demo listen ADDRESS | demo consume URI QUEUE TAG");
            ExitCode::FAILURE
        }
    }
}

async fn listen(address: &str) -> ExitCode {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            say(&format!("cannot listen on {address}: {error}"));
            return ExitCode::FAILURE;
        }
    };
    loop {
        // What connects is dropped at once: a check asks for no more.
        let _ = listener.accept().await;
    }
}

/// Consumes until the connection or the consumer is gone.
async fn consume(uri: &str, queue: &str, tag: &str) -> lapin::Result<()> {
    let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer =
        channel.basic_consume(queue.into(), tag.into(), options, FieldTable::default()).await?;
    say(&format!("consuming {queue} as {tag}"));
    while let Some(delivery) = consumer.next().await {
        delivery?.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "an example has no log")]
fn say(text: &str) {
    eprintln!("{text}");
}
