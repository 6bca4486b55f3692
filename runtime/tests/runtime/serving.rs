//! One connection of the test daemon: the handshake, then requests answered from its state.

use std::{sync::Arc, time::Duration};

use bowline_protocol::{
    Hello, Purpose,
    error::RpcError,
    methods::{Ack, History, name},
    rpc::{self, Incoming, Text},
};
use bowline_testkit::peer::{self, MessageSocket, Order, Peer};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    daemon::{Daemon, State},
    net::End,
    rig::server_id,
};

/// Serves one connection from the daemon's state until it ends.
pub(crate) async fn serve(daemon: Daemon, address: String, end: End) {
    let claim = daemon.state().claims.get(&address).copied();
    if let Some(reason) = claim {
        end.close(reason);
        return;
    }
    let keys = Arc::clone(&daemon.state().keys);
    let mut after = 0;
    let accepted = Peer::accept(end, &keys, |hello| {
        let (welcome, from) = daemon.state().welcome(&address, hello);
        after = from;
        Some(welcome)
    });
    let Ok(mut peer) = accepted.await else {
        return;
    };
    let (out, mut orders) = mpsc::unbounded_channel();
    let serving = peer.run(&mut orders, Duration::MAX, |hello, text| {
        take(&daemon, &address, hello, text, after, &out);
        true
    });
    serving.await;
}

fn take(
    daemon: &Daemon,
    address: &str,
    hello: &Hello,
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
            name::SESSION_READY if hello.purpose == Purpose::Session => {
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
            let answer = peer::answer(&asked.id, &state.answer(method, &params));
            // After earlier events, in the order of a real daemon.
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
        let seq = self.replay.last_seq();
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
                let most = asked.limit.unwrap_or(100) as usize;
                serde_json::to_value(peer::page(&self.items, &asked, most, seq)).unwrap()
            }
            name::LIVE_OPEN if params["kind"] == "topic" => return self.topic.open(params, seq),
            name::LIVE_OPEN => return self.table.open(params, seq),
            name::LIVE_PAGE => return self.table.page(params, seq),
            name::LIVE_CLOSE => {
                if params["kind"] == "topic" {
                    self.topic.followed_since = None;
                } else {
                    self.table.followed_since = None;
                }
                json!({})
            }
            name::AGENTS_SEND => {
                let id = params["intentId"].as_str().unwrap().to_owned();
                self.done.insert(id);
                json!({ "itemId": "item" })
            }
            _ => return Err(RpcError::method_not_found(method)),
        })
    }
}
