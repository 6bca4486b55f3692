//! A client of the session socket, one step at a time, so that every step can also be done wrongly.

mod attempt;
mod wire;

use std::collections::VecDeque;

use bowline_protocol::{Welcome, handshake::Accepted, rpc::split_carried, seal::Channel};
use serde_json::{Value, json};

pub(crate) use self::{
    attempt::Attempt,
    wire::{Ended, Wire, raw_http},
};
use super::{Install, TestDaemon};

/// An attached client.
pub(crate) struct Client {
    pub(crate) wire: Wire,
    pub(crate) channel: Channel,
    pub(crate) welcome: Accepted,
    next_id: u64,
    events: VecDeque<Value>,
    answers: VecDeque<Value>,
    /// The bytes that the last text carried which carried any.
    pub(crate) carried: Vec<u8>,
    /// What the daemon said inside the encryption before it closed.
    pub(crate) goodbye: Option<String>,
}

impl Client {
    /// A client whose welcome was read; it has said nothing yet.
    pub(crate) fn attached(wire: Wire, channel: Channel, welcome: Welcome) -> Self {
        let Welcome::Accepted(welcome) = welcome else {
            panic!("refused: {welcome:?}");
        };
        Self {
            wire,
            channel,
            welcome,
            next_id: 0,
            events: VecDeque::new(),
            answers: VecDeque::new(),
            carried: Vec::new(),
            goodbye: None,
        }
    }

    /// An event that came while something else was awaited.
    pub(crate) fn next_kept_event(&mut self) -> Option<Value> {
        self.events.pop_front()
    }

    /// Seals and sends a text as it is.
    pub(crate) async fn say(&mut self, text: &str) {
        self.say_bytes(text.as_bytes()).await;
    }

    /// The same with a text that may be no JSON.
    pub(crate) async fn say_bytes(&mut self, text: &[u8]) {
        let mut messages = Vec::new();
        let channel = &mut self.channel;
        channel
            .gather(text, |message| messages.push(message.to_vec()))
            .unwrap();
        channel
            .finish(|message| messages.push(message.to_vec()))
            .unwrap();
        for message in messages {
            self.wire.send(message).await;
        }
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        let text = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.say(&text.to_string()).await;
    }

    /// Sends a request; gives its id.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> u64 {
        self.next_id += 1;
        let text =
            json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params});
        self.say(&text.to_string()).await;
        self.next_id
    }

    /// Sends a request that carries bytes; gives its id.
    pub(crate) async fn ask_with(&mut self, method: &str, params: Value, bytes: &[u8]) -> u64 {
        self.next_id += 1;
        let message =
            json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params});
        let message = message.to_string();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let text = [&[0], &length[..], message.as_bytes(), bytes].concat();
        self.say_bytes(&text).await;
        self.next_id
    }

    /// A request and its answer; others that come in between are kept.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params).await;
        self.answer(id).await
    }

    /// The answer to a request.
    pub(crate) async fn answer(&mut self, id: u64) -> Value {
        if let Some(at) = self.answers.iter().position(|answer| answer["id"] == id) {
            return self.answers.remove(at).unwrap();
        }
        loop {
            let text = self.next_text().await.expect("an answer");
            if text["id"] == id {
                return text;
            }
            self.keep(text);
        }
    }

    /// The next text that is no event.
    pub(crate) async fn next_answer(&mut self) -> Value {
        if let Some(answer) = self.answers.pop_front() {
            return answer;
        }
        loop {
            let text = self.next_text().await.expect("an answer");
            self.keep(text);
            if let Some(answer) = self.answers.pop_front() {
                return answer;
            }
        }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Value {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let text = self.next_text().await.expect("an event");
            self.keep(text);
        }
    }

    fn keep(&mut self, text: Value) {
        if text["method"] == "session.event" {
            self.events.push_back(text["params"].clone());
        } else {
            self.answers.push_back(text);
        }
    }

    /// The next text, or how the connection ended.
    pub(crate) async fn next_text(&mut self) -> Result<Value, Ended> {
        let mut buffer = Vec::new();
        loop {
            let text = if self.channel.has_next() {
                self.channel.next(&mut buffer)
            } else {
                let message = self.wire.receive().await?;
                self.channel.open(&message, &mut buffer).unwrap()
            };
            if let Some(text) = text {
                let (message, bytes) = split_carried(text).unwrap();
                let text: Value = serde_json::from_slice(message).unwrap();
                if let Some(bytes) = bytes {
                    self.carried = bytes.to_vec();
                }
                if text["method"] != "connection.closing" {
                    return Ok(text);
                }
                let reason = text["params"]["reason"].as_str();
                self.goodbye = reason.map(str::to_owned);
            }
        }
    }

    /// Whether the daemon serves this client.
    pub(crate) async fn is_served(&mut self) -> bool {
        self.call("system.ping", json!({})).await["result"]["serverTime"].is_i64()
    }

    pub(crate) async fn ended(&mut self) -> Ended {
        self.wire.ended().await
    }

    /// The last word inside the encryption, and the close code after it.
    pub(crate) async fn dismissed(&mut self) -> (Option<String>, Ended) {
        loop {
            if let Err(ended) = self.next_text().await {
                return (self.goodbye.take(), ended);
            }
        }
    }
}

/// A paired install and its first connection.
pub(crate) async fn paired(daemon: &TestDaemon) -> (Install, Client) {
    let install = Install::new();
    let offer = daemon.offer().await;
    let mut client = Attempt::of_offer(&offer, &install).connect().await;
    assert!(client.is_served().await);
    (install, client)
}
