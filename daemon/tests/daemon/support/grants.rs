//! Devices that may do only so much, and what they are refused.

use bowline_protocol::Offer;
use bowline_testkit::eventually;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{
    Install,
    client::{Attempt, Client},
    local::Local,
};

/// Pairs a device with this grant.
pub(crate) async fn paired_with(local: &mut Local, params: Value) -> (Install, Attempt, Client) {
    let created = local.call("pairing.create", params).await;
    let link = created["result"]["offer"].as_str();
    let offer: Offer = link.unwrap_or_else(|| panic!("{created}")).parse().unwrap();
    let install = Install::new();
    let attempt = Attempt::of_offer(&offer, &install);
    let client = attempt.connect().await;
    (install, attempt, client)
}

/// An intent of a client.
pub(crate) async fn intent(client: &mut Client, method: &str, mut params: Value) -> Value {
    params["intentId"] = json!(Uuid::now_v7().to_string());
    client.call(method, params).await
}

/// The reason of a refusal, or `none`.
pub(crate) fn reason(answer: &Value) -> &str {
    answer["error"]["data"]["reason"].as_str().unwrap_or("none")
}

/// Asks on the local socket until the answer is what is awaited.
pub(crate) async fn until<R>(
    local: &mut Local,
    what: &str,
    (method, params): (&str, Value),
    found: impl Fn(&Value) -> Option<R>,
) -> R {
    let local = Mutex::new(local);
    eventually(what, async || {
        let answer = local.lock().await.call(method, params.clone()).await;
        found(&answer["result"]).ok_or(answer)
    })
    .await
}
