//! One connection of the daemon: the handshake, then requests answered from its state.

use bowline_protocol::{
    Hello, PublicKey, Purpose, Reason, TimelineItem, TransportKey, Welcome,
    error::RpcError,
    methods::{Ack, History, HistoryPage, name},
    rpc::{self, Incoming, Text},
    seal::{Channel, Responder},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    daemon::{Daemon, Order, State},
    net::End,
    rig::server_id,
};

/// A sealed connection, the daemon's end.
pub(crate) struct Peer {
    end: End,
    channel: Channel,
    pub(crate) hello: Hello,
}

impl Peer {
    /// Shakes hands; nothing comes of it when the client expects another key.
    pub(crate) async fn accept(
        mut end: End,
        key: &TransportKey,
        welcome: impl FnOnce(PublicKey, &Hello) -> Welcome,
    ) -> Option<Self> {
        let mut responder = Responder::new(key, &server_id()).unwrap();
        let first = end.recv().await.ok()?;
        let Ok((device, hello)) = responder.read_hello(&first) else {
            end.end(Reason::CryptoFailed);
            return None;
        };
        let hello = Hello::parse(&hello).unwrap();
        let welcome = welcome(device, &hello);
        let (second, channel) = responder.write_welcome(&welcome, 1 << 20).unwrap();
        end.push(second);
        if let Welcome::Refused(refusal) = &welcome {
            end.end(refusal.reason);
            return None;
        }
        Some(Self {
            end,
            channel,
            hello,
        })
    }

    pub(crate) fn say(&mut self, text: &[u8]) {
        let end = &self.end;
        self.channel
            .seal(text, &mut Vec::new(), |message| end.push(message))
            .unwrap();
    }

    /// The next text; `None` when the client is gone.
    pub(crate) async fn hear(&mut self) -> Option<Vec<u8>> {
        let mut buffer = Vec::new();
        loop {
            let message = self.end.recv().await.ok()?;
            if let Some(text) = self.channel.open(&message, &mut buffer).unwrap() {
                return Some(text.to_vec());
            }
        }
    }

    /// Part of something longer arrives.
    pub(crate) fn trickle(&self) {
        self.end.trickle(100);
    }

    pub(crate) fn end(&self, reason: Reason) {
        self.end.end(reason);
    }

    pub(crate) fn answer(&mut self, id: &rpc::Id<'_>, result: &Value) {
        let mut text = Vec::new();
        rpc::write_response(&mut text, id, &result.to_string());
        self.say(&text);
    }
}

/// Serves one connection from the daemon's state until it ends.
pub(crate) async fn serve(daemon: Daemon, address: String, end: End) {
    let claim = daemon.state().claims.get(&address).copied();
    if let Some(reason) = claim {
        end.end(reason);
        return;
    }
    let key = daemon.state().key.clone();
    let mut after = 0;
    let accepted = Peer::accept(end, &key, |_, hello| {
        let (welcome, from) = daemon.state().welcome(&address, hello);
        after = from;
        welcome
    });
    let Some(mut peer) = accepted.await else {
        return;
    };
    let (out, mut orders) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            text = peer.hear() => {
                let Some(text) = text else { return };
                take(&daemon, &address, &mut peer, &text, after, &out);
            }
            order = orders.recv() => match order {
                Some(Order::Say(text)) => peer.say(&text),
                Some(Order::End(reason)) => return peer.end(reason),
                None => return,
            }
        }
    }
}

fn take(
    daemon: &Daemon,
    address: &str,
    peer: &mut Peer,
    text: &[u8],
    after: u64,
    out: &mpsc::UnboundedSender<Order>,
) {
    let text_of = rpc::parse(text).unwrap();
    if let Text::Single(Incoming::Request(asked)) = &text_of
        && asked.method == name::AGENTS_CREATE
        && !daemon.state().mute.contains(name::AGENTS_CREATE)
    {
        daemon.create();
    }
    let mut state = daemon.state();
    match text_of {
        Text::Single(Incoming::Notification(said)) => match said.method.as_ref() {
            name::SESSION_READY if peer.hello.purpose == Purpose::Session => {
                state.attach(address, after, out);
            }
            name::SESSION_ACK => {
                let ack: Ack = serde_json::from_str(said.params.unwrap().get()).unwrap();
                state.acks.push(ack.seq);
            }
            _ => {}
        },
        Text::Single(Incoming::Request(asked)) => {
            let params: Value = serde_json::from_str(asked.params.unwrap().get()).unwrap();
            let method = asked.method.as_ref();
            *state.requests.entry(method.to_owned()).or_default() += 1;
            if let Some(id) = params.get("intentId").and_then(Value::as_str) {
                state.arrivals.push((id.to_owned(), address.to_owned()));
            }
            if state.mute.contains(method) {
                return;
            }
            let mut answer = Vec::new();
            match state.answer(method, &params) {
                Ok(result) => rpc::write_response(&mut answer, &asked.id, &result.to_string()),
                Err(error) => rpc::write_error(&mut answer, &asked.id, &error),
            }
            // After what happened before it, as a daemon's answers come.
            match state.delay.get(method).copied() {
                None => {
                    let _ = out.send(Order::Say(answer));
                }
                Some(delay) => {
                    let out = out.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        let _ = out.send(Order::Say(answer));
                    });
                }
            }
        }
        other => panic!("a client does not say {other:?}"),
    }
}

impl State {
    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let seq = self.events.len() as u64;
        if let Some(error) = self.errors.get(method) {
            return Err(error.clone());
        }
        Ok(match method {
            name::AGENTS_CREATE => {
                let made = self.creates.as_ref();
                let made = made.ok_or_else(|| RpcError::method_not_found(method))?;
                json!({ "agent": made })
            }
            name::SYSTEM_PING => json!({ "serverTime": 0 }),
            name::SYSTEM_INFO => json!({
                "serverId": server_id(), "name": "named", "version": "0", "uptimeMs": 0, "capabilities": []
            }),
            name::AGENTS_LIST => json!({ "agents": self.agents, "seq": seq }),
            name::AGENTS_SUBSCRIBE => {
                self.subscribed.insert(params["agentId"].to_string());
                json!({})
            }
            name::AGENTS_UNSUBSCRIBE => {
                self.subscribed.remove(&params["agentId"].to_string());
                json!({})
            }
            name::AGENTS_HISTORY => {
                let asked: History = serde_json::from_value(params.clone()).unwrap();
                serde_json::to_value(self.page(&asked)).unwrap()
            }
            name::AGENTS_SEND => {
                let id = params["intentId"].as_str().unwrap().to_owned();
                self.done.insert(id);
                json!({ "itemId": "item" })
            }
            _ => return Err(RpcError::method_not_found(method)),
        })
    }

    fn page(&self, asked: &History) -> HistoryPage {
        let limit = asked.limit.unwrap_or(100) as usize;
        let is_in = |item: &&TimelineItem| {
            asked.before.is_none_or(|before| item.index < before)
                && asked.after.is_none_or(|after| item.index > after)
        };
        let mut items: Vec<TimelineItem> = self.items.iter().filter(is_in).cloned().collect();
        let has_more = items.len() > limit;
        if asked.after.is_some() {
            items.truncate(limit);
        } else {
            items.drain(..items.len().saturating_sub(limit));
        }
        HistoryPage {
            items,
            has_more,
            seq: self.events.len() as u64,
        }
    }
}
