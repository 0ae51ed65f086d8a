//! Typed payloads, with the fields of k2trio's and of `payloads.py`, and a frame's way to them:
//! cut at known bytes, look the stream up, decode straight into the type.

// Fields are decoded for the user, which this program has none of.
#![allow(dead_code)]

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The payload's own word for its type, checked as the tags in `payloads.py` are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum TradeTag {
    Trade,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum AggTradeTag {
    AggTrade,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum DepthTag {
    DepthUpdate,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum KlineTag {
    Kline,
}

#[derive(Deserialize)]
pub struct Trade {
    #[serde(rename = "e")]
    tag: TradeTag,
    #[serde(rename = "E")]
    event_time: u64,
    #[serde(rename = "s")]
    symbol: String,
    #[serde(rename = "t")]
    trade_id: u64,
    #[serde(rename = "p")]
    price: String,
    #[serde(rename = "q")]
    quantity: String,
    #[serde(rename = "T")]
    pub trade_time: i64,
    #[serde(rename = "m")]
    buyer_is_maker: bool,
}

#[derive(Deserialize)]
pub struct AggTrade {
    #[serde(rename = "e")]
    tag: AggTradeTag,
    #[serde(rename = "E")]
    event_time: u64,
    #[serde(rename = "s")]
    symbol: String,
    #[serde(rename = "a")]
    agg_id: u64,
    #[serde(rename = "p")]
    price: String,
    #[serde(rename = "q")]
    quantity: String,
    #[serde(rename = "f")]
    first_trade_id: i64,
    #[serde(rename = "l")]
    last_trade_id: i64,
    #[serde(rename = "T")]
    trade_time: i64,
    #[serde(rename = "m")]
    buyer_is_maker: bool,
}

/// Price and quantity.
#[derive(Deserialize)]
pub struct Level(String, String);

#[derive(Deserialize)]
pub struct Depth {
    #[serde(rename = "e")]
    tag: DepthTag,
    #[serde(rename = "E")]
    event_time: u64,
    #[serde(rename = "s")]
    symbol: String,
    #[serde(rename = "U")]
    first_update_id: u64,
    #[serde(rename = "u")]
    last_update_id: u64,
    #[serde(rename = "b")]
    bids: Vec<Level>,
    #[serde(rename = "a")]
    asks: Vec<Level>,
}

#[derive(Deserialize)]
pub struct BookTicker {
    #[serde(rename = "u")]
    update_id: u64,
    #[serde(rename = "s")]
    symbol: String,
    #[serde(rename = "b")]
    bid: String,
    #[serde(rename = "B")]
    bid_quantity: String,
    #[serde(rename = "a")]
    ask: String,
    #[serde(rename = "A")]
    ask_quantity: String,
}

#[derive(Deserialize)]
struct Bar {
    #[serde(rename = "t")]
    open_time: i64,
    #[serde(rename = "T")]
    close_time: i64,
    #[serde(rename = "s")]
    symbol: String,
    #[serde(rename = "i")]
    interval: String,
    #[serde(rename = "o")]
    open: String,
    #[serde(rename = "c")]
    close: String,
    #[serde(rename = "h")]
    high: String,
    #[serde(rename = "l")]
    low: String,
    #[serde(rename = "v")]
    volume: String,
    #[serde(rename = "n")]
    trades: i64,
    #[serde(rename = "x")]
    closed: bool,
    #[serde(rename = "q")]
    quote_volume: String,
}

#[derive(Deserialize)]
pub struct Kline {
    #[serde(rename = "e")]
    tag: KlineTag,
    #[serde(rename = "E")]
    event_time: u64,
    #[serde(rename = "s")]
    symbol: String,
    #[serde(rename = "k")]
    bar: Bar,
}

pub enum Payload {
    Trade(Trade),
    AggTrade(AggTrade),
    Depth(Depth),
    BookTicker(BookTicker),
    Kline(Kline),
}

type Decoder = fn(&str) -> serde_json::Result<Payload>;

/// Stream → decoder of its payloads.
pub struct Routes(HashMap<String, Decoder>);

impl Routes {
    /// Fails where a stream is of no type that is known here.
    pub fn new(streams: &[String]) -> Result<Self, String> {
        let route = |name: &String| {
            let kind = name.split('@').nth(1).unwrap_or_default();
            let decoder: Decoder = match kind {
                "trade" => |data| into(data, Payload::Trade),
                "aggTrade" => |data| into(data, Payload::AggTrade),
                "depth" => |data| into(data, Payload::Depth),
                "bookTicker" => |data| into(data, Payload::BookTicker),
                "kline_1m" => |data| into(data, Payload::Kline),
                _ => return Err(format!("no type for stream {name}")),
            };
            Ok((name.clone(), decoder))
        };
        streams
            .iter()
            .map(route)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The payload of a combined frame.
    pub fn decode(&self, frame: &str) -> Result<Payload, String> {
        let (decoder, data) = self
            .cut(frame)
            .ok_or_else(|| format!("strange frame: {frame}"))?;
        decoder(data).map_err(|error| format!("{error}: {frame}"))
    }

    fn cut<'a>(&self, frame: &'a str) -> Option<(&Decoder, &'a str)> {
        let (stream, rest) = frame.strip_prefix(r#"{"stream":""#)?.split_once('"')?;
        let data = rest.strip_prefix(r#","data":"#)?.strip_suffix('}')?;
        Some((self.0.get(stream)?, data))
    }
}

fn into<T: DeserializeOwned>(data: &str, wrap: fn(T) -> Payload) -> serde_json::Result<Payload> {
    serde_json::from_str(data).map(wrap)
}
