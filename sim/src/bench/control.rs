//! The daemon's local socket, as a script would use it (`docs/protocol.md` §5).

use std::path::Path;

use serde_json::Value;

use super::Outcome;

/// One connection to it.
#[cfg(unix)]
pub(super) struct Control {
    socket: std::io::BufReader<std::os::unix::net::UnixStream>,
}

#[cfg(unix)]
impl Control {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(super) fn connect(path: &Path) -> Outcome<Self> {
        let stream = std::os::unix::net::UnixStream::connect(path)
            .map_err(|error| format!("no local socket at {}: {error}", path.display()))?;
        stream.set_read_timeout(Some(super::process::DEADLINE))?;
        Ok(Self {
            socket: std::io::BufReader::new(stream),
        })
    }

    /// Calls a method; waits for its result.
    ///
    /// # Errors
    /// What the daemon answers, and when it does not.
    pub(super) fn call(&mut self, method: &str, params: &Value) -> Outcome<Value> {
        use std::io::{BufRead, Write};

        let request =
            serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.socket
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut line = String::new();
            if self.socket.read_line(&mut line)? == 0 {
                return Err(format!("the daemon hung up on {method}").into());
            }
            let mut answer: Value = serde_json::from_str(&line)?;
            if answer.get("id") != Some(&Value::from(1)) {
                continue;
            }
            return match answer.get_mut("result") {
                Some(result) => Ok(result.take()),
                None => Err(format!("{method}: {line}").into()),
            };
        }
    }
}

/// Named pipes are not spoken here yet.
#[cfg(not(unix))]
pub(super) struct Control;

#[cfg(not(unix))]
impl Control {
    /// # Errors
    /// Always.
    pub(super) fn connect(_path: &Path) -> Outcome<Self> {
        Err("not supported here: this figure needs the local socket as a Unix domain socket".into())
    }

    /// # Errors
    /// Always.
    pub(super) fn call(&mut self, _method: &str, _params: &Value) -> Outcome<Value> {
        Err("not supported here".into())
    }
}
