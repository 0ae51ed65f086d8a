//! tokio-tungstenite on tokio's single-threaded runtime, with a typed decoder behind it.
//!
//! An adapter like the others in `peers/`: the same command line, the same line of JSON.

mod meter;
mod payloads;

use std::hint::black_box;

use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use meter::{Latencies, Meter};
use payloads::{Payload, Routes};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The command line; see `meter.py`.
pub struct Options {
    url: String,
    streams: Vec<String>,
    pub count: usize,
    latency: bool,
    pub warm_up: usize,
}

fn parse_options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut url, mut streams, mut count, mut warm_up) = (None, None, None, None);
    let mut latency = false;
    while let Some(name) = arguments.next() {
        if name == "--latency" {
            latency = true;
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--url" => url = Some(value),
            "--streams" => streams = Some(value),
            "--count" => count = Some(number(&value)?),
            "--warm-up" => warm_up = Some(number(&value)?),
            // There is one variant. The authority to trust is in SSL_CERT_FILE too, where the
            // library looks by itself.
            "--variant" | "--ca" => {}
            _ => return Err(format!("unknown argument {name}")),
        }
    }
    let count = count.ok_or("--count is missing")?;
    Ok(Options {
        url: url.ok_or("--url is missing")?,
        streams: names(&streams.ok_or("--streams is missing")?)?,
        count,
        latency,
        warm_up: warm_up.unwrap_or_else(|| (count / 10).max(1)),
    })
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

/// Streams in a list, or in a file (`@PATH`) where a command line could not hold them.
fn names(given: &str) -> Result<Vec<String>, String> {
    let text = match given.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?,
        None => given.to_owned(),
    };
    Ok(text.split('/').map(str::to_owned).collect())
}

async fn count_typed(socket: Socket, routes: Routes, meter: &Meter) -> Result<(), String> {
    let mut count = 0;
    each(socket, |frame| {
        black_box(routes.decode(frame)?);
        count += 1;
        if count >= meter.mark.get() {
            meter.reached(count);
        }
        Ok(())
    })
    .await
}

async fn time_each(socket: Socket, routes: Routes, latencies: &Latencies) -> Result<(), String> {
    each(socket, |frame| {
        let Payload::Trade(trade) = black_box(routes.decode(frame)?) else {
            return Err(format!("no trade: {frame}"));
        };
        latencies.take(trade.trade_time);
        Ok(())
    })
    .await
}

/// Call the handler with each text. Ends only with an error: the meters end the process.
async fn each(
    mut socket: Socket,
    mut handle: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    while let Some(message) = socket.next().await {
        if let Message::Text(frame) = message.map_err(|error| error.to_string())? {
            handle(&frame)?;
        }
    }
    Err("the server has ended the connection".to_owned())
}

async fn run(options: Options) -> Result<(), String> {
    let routes = Routes::new(&options.streams)?;
    let url = format!(
        "{}/stream?streams={}",
        options.url,
        options.streams.join("/")
    );
    let (socket, _) = connect_async_with_config(url, None, true)
        .await
        .map_err(|error| format!("{}: {error}", options.url))?;
    if options.latency {
        let latencies = Latencies::new(&options);
        tokio::select! {
            biased;
            ended = time_each(socket, routes, &latencies) => ended,
            () = latencies.watch() => Ok(()),
        }
    } else {
        let meter = Meter::new(&options);
        tokio::select! {
            biased;
            ended = count_typed(socket, routes, &meter) => ended,
            () = meter.watch() => Ok(()),
        }
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| {
            runtime.block_on(async { run(parse_options(std::env::args().skip(1))?).await })
        });
    if let Err(why) = ended {
        eprintln!("{why}");
        std::process::exit(1);
    }
}
