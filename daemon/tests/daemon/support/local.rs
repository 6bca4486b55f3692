//! A client of the local socket that is none of ours: lines as they are, rightly or wrongly.

use std::{path::Path, time::Duration};

use bowline_local::{Endpoint, Stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::{PATIENCE, TestDaemon, within};

/// One connection.
pub(crate) struct Local {
    stream: BufReader<Stream>,
    next_id: u64,
}

impl Local {
    pub(crate) async fn connect(daemon: &TestDaemon) -> Self {
        Self::connect_to(daemon.daemon.socket()).await
    }

    pub(crate) async fn connect_to(path: &Path) -> Self {
        let endpoint = Endpoint::new(path).unwrap();
        Self {
            stream: BufReader::new(endpoint.connect(PATIENCE).await.unwrap()),
            next_id: 0,
        }
    }

    pub(crate) async fn write(&mut self, text: impl AsRef<[u8]>) {
        // A daemon that has just closed may not take it; the test looks at what it said.
        let _ = within("the daemon reads", self.stream.write_all(text.as_ref())).await;
    }

    /// Writes as much as is taken; stops when nothing was for a while. Whether all of it was.
    pub(crate) async fn write_some(&mut self, text: &[u8]) -> bool {
        let written = self.stream.write_all(text);
        let patience = Duration::from_millis(500);
        matches!(tokio::time::timeout(patience, written).await, Ok(Ok(())))
    }

    /// No more will be written; answers are still read.
    pub(crate) async fn stop_writing(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next line; `None` at the end.
    pub(crate) async fn line(&mut self) -> Option<Value> {
        let line = self.raw_line().await?;
        Some(serde_json::from_str(&line).unwrap())
    }

    /// The next line as it is; `None` at the end.
    pub(crate) async fn raw_line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = within("a line or the end", self.stream.read_line(&mut line)).await;
        match read {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line),
        }
    }

    /// So many bytes, or fewer if it ends.
    pub(crate) async fn some(&mut self, bytes: u64) -> Vec<u8> {
        let mut some = Vec::new();
        let mut stream = (&mut self.stream).take(bytes);
        let _ = within("some bytes", stream.read_to_end(&mut some)).await;
        some
    }

    /// Everything up to the end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = within("the end", self.stream.read_to_end(&mut rest)).await;
        rest
    }

    /// Sends a request; gives its id.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        let text = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.write(format!("{text}\n")).await;
        id
    }

    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params).await;
        loop {
            let line = self.line().await.expect("an answer");
            if line["id"] == id {
                return line;
            }
        }
    }

    /// Whether the daemon serves this connection.
    pub(crate) async fn is_served(&mut self) -> bool {
        let answer = self.call("system.ping", json!({})).await;
        answer["result"]["serverTime"].is_i64()
    }
}
