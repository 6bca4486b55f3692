//! What the owner of a daemon does on its machine.

use bowline_local::{Client, Endpoint};
use bowline_protocol::methods::name;
use serde_json::{Value, json};

use super::{DaemonProcess, WorldError};

/// The owner of a running daemon.
pub(super) struct Owner<'a>(pub(super) &'a DaemonProcess);

fn unexpected(what: impl std::fmt::Display) -> WorldError {
    WorldError::Unexpected(what.to_string())
}

impl Owner<'_> {
    /// Runs a command that must succeed.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<(), WorldError> {
        let ended = self.0.command(arguments).await?;
        match ended.status.success() {
            true => Ok(()),
            false => Err(unexpected(format!("{arguments:?}: {ended:?}"))),
        }
    }

    /// Says yes to the device that asks and shows this code.
    pub(super) async fn approve(&self, code: &str) -> Result<(), WorldError> {
        let offer = self.asked_with(code).await?;
        self.run(&["offers", "approve", &offer, "--code", code])
            .await
    }

    /// Says no to the device that asks and shows this code. Without a terminal no command does
    /// that.
    pub(super) async fn refuse(&self, code: &str) -> Result<(), WorldError> {
        let which = json!({"offerId": self.asked_with(code).await?});
        let endpoint = Endpoint::new(self.0.state_dir().join("daemon.sock"));
        let client = Client::connect(&endpoint.map_err(unexpected)?).await;
        let client = client.map_err(unexpected)?;
        let refused = client.call::<Value>(name::PAIRING_REFUSE, &which).await;
        refused.map(drop).map_err(unexpected)
    }

    /// Changes the role of every device, or when its pairing ends.
    pub(super) async fn grant(
        &self,
        role: Option<&str>,
        expires: Option<&str>,
    ) -> Result<(), WorldError> {
        let flags = [("--role", role), ("--expires", expires)];
        let flags = flags.map(|(flag, value)| value.map(|value| [flag, value]));
        let flags: Vec<_> = flags.into_iter().flatten().flatten().collect();
        for device in self.devices().await? {
            self.run(&[&["devices", "set", &device], flags.as_slice()].concat())
                .await?;
        }
        Ok(())
    }

    /// Revokes every device.
    pub(super) async fn revoke(&self) -> Result<(), WorldError> {
        for device in self.devices().await? {
            self.run(&["devices", "revoke", &device]).await?;
        }
        Ok(())
    }

    /// The offer of the device that asks and shows this code.
    async fn asked_with(&self, code: &str) -> Result<String, WorldError> {
        let listed: Value = self.0.ask("offers").await?;
        let offers = listed.get("offers").and_then(Value::as_array);
        let mut offers = offers.into_iter().flatten();
        let offer = offers.find(|offer| {
            let shown = offer.pointer("/request/code");
            shown.and_then(Value::as_str) == Some(code)
        });
        let id = offer.and_then(|offer| offer.get("offerId"));
        let id = id.and_then(Value::as_str).map(str::to_owned);
        id.ok_or_else(|| unexpected(format!("no device that asks shows {code}: {listed}")))
    }

    /// The ids of the devices that are not revoked.
    async fn devices(&self) -> Result<Vec<String>, WorldError> {
        let listed: Value = self.0.ask("devices").await?;
        let rows = listed.get("devices").and_then(Value::as_array);
        let rows = rows.into_iter().flatten();
        let paired = rows.filter(|row| row.get("revoked") == Some(&Value::Bool(false)));
        let ids = paired.filter_map(|row| row.get("deviceId").and_then(Value::as_str));
        Ok(ids.map(str::to_owned).collect())
    }
}
