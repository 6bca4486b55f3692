//! `offers`: lists and withdraws pairing offers, and answers a device that asks (TR-3).

use bowline_program::{Exit, ages, print, say, short_ids};
use bowline_protocol::{
    Grant,
    methods::{Empty, name},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Failure, grant,
    pair::{self, Asking},
    socket::{Asked, call},
};

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Offers {
    offers: Vec<Offer>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Offer {
    offer_id: String,
    created_at: i64,
    expires_at: i64,
    approve: bool,
    #[serde(default)]
    grant: Grant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_ttl_ms: Option<u64>,
    /// The device that asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Asking>,
}

fn open(asked: &Asked) -> Result<Offers, Failure> {
    call(asked, name::PAIRING_LIST, &Empty {})
}

/// Lists the open offers.
pub(super) fn list(asked: &Asked, json: bool) -> Result<(), Failure> {
    let open = open(asked)?;
    if json {
        return print::json(&open).map_err(Failure::failed);
    }
    if open.offers.is_empty() {
        say!("no open offers; `{} pair` makes one", asked.program);
    }
    for offer in &open.offers {
        let until = ages::utc(u64::try_from(offer.expires_at).unwrap_or_default());
        let asks = if offer.approve {
            "asks before it pairs"
        } else {
            "pairs without a question"
        };
        let may = grant::words(&offer.grant);
        let lasts = offer
            .device_ttl_ms
            .map_or_else(String::new, |ttl| format!(" for {}", ages::lasting(ttl)));
        say!("{}  until {until}  {asks}  {may}{lasts}", offer.offer_id);
        if let Some(device) = &offer.request {
            say!("  asks now: {device}");
        }
    }
    Ok(())
}

/// Withdraws an offer.
pub(super) fn cancel(asked: &Asked, wanted: &str, json: bool) -> Result<(), Failure> {
    let offer_id = find(asked, wanted)?;
    let which = json!({"offerId": offer_id});
    call::<Value>(asked, name::PAIRING_CANCEL, &which)?;
    if json {
        return print::json(&which).map_err(Failure::failed);
    }
    say!("withdrawn: {offer_id}");
    Ok(())
}

/// Pairs the device that asks with an offer, if it shows `code`. On a terminal the owner is asked
/// instead. With `json` the device is printed as an object, and nobody is asked.
pub(super) fn approve(
    asked: &Asked,
    wanted: &str,
    code: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let offer_id = find(asked, wanted)?;
    let device = pair::asking(asked, &offer_id, 0)?
        .ok_or_else(|| Failure::usage(format!("no device asks to pair with {offer_id}")))?;
    match code {
        Some(code) if pair::is_code(&device, code) => {
            pair::approve(asked, &offer_id, &device, json)
        }
        Some(_) => Err(Failure::new(
            Exit::Refused,
            "not paired: the device that asks shows another code, so it may not be yours. \
             `offers cancel` withdraws the offer",
        )),
        None if pair::is_terminal() && !json => pair::answer(asked, &offer_id, &device),
        None => Err(Failure::usage(format!(
            "give the code that your device shows: `{} offers approve {wanted} --code CODE`",
            asked.program
        ))),
    }
}

/// The open offer that a part of an id means.
fn find(asked: &Asked, wanted: &str) -> Result<String, Failure> {
    let open = open(asked)?.offers;
    let ids = open.iter().map(|offer| offer.offer_id.as_str());
    let mut matching = ids.filter(|id| short_ids::means(id, wanted));
    match (matching.next(), matching.next()) {
        (Some(one), None) => Ok(one.to_owned()),
        (None, _) => Err(Failure::usage(format!("no open offer `{wanted}`"))),
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "`{wanted}` means several offers; give more of the id"
        ))),
    }
}
