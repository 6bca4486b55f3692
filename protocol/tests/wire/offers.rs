//! Pairing offers.

use bowline_protocol::{
    Offer,
    identity::{OfferId, PairingNonce, PairingSecret, PresharedKey, pairing_code},
    offer::PairingToken,
};
use proptest::prelude::*;

use crate::{arbitrary, fixture::Golden, samples};

fn offer() -> Offer {
    Offer {
        server_id: samples::server(),
        transport_key: samples::transport_key().public(),
        token: PairingToken::from_bytes([0x55; 16]),
        name: "workshop".into(),
        direct: vec!["127.0.0.1:4717".into()],
        relays: Vec::new(),
    }
}

#[test]
fn golden_offers() {
    let mut golden = Golden::new("offers.json");
    let offers = [
        ("direct", offer()),
        (
            "every part",
            Offer {
                name: "Bärs & Söhne = 100% #1".into(),
                direct: vec!["[::1]:4717".into(), "host.example:1".into()],
                relays: vec!["wss://relay.example:8443/a/b=c&d".into()],
                ..offer()
            },
        ),
        (
            "relay only, no name",
            Offer {
                name: String::new(),
                direct: Vec::new(),
                relays: vec!["ws://[::1]:4718".into()],
                ..offer()
            },
        ),
    ];
    for (name, offer) in offers {
        golden.json(name, serde_json::to_string(&offer.to_string()).unwrap());
        if let Some(committed) = golden.committed().get(name) {
            let link: String = serde_json::from_str(committed.get()).unwrap();
            assert_eq!(link.parse::<Offer>(), Ok(offer), "{name}");
        }
    }
    let key = PresharedKey::of_offer(&offer().token);
    let secret = PairingSecret::from_bytes([4; 32]);
    golden.value("offer id", &OfferId::of_token(&offer().token));
    golden.hex("offer key", key.as_bytes());
    let device_key = PresharedKey::of_device(&key, &secret);
    golden.hex("device key", device_key.as_bytes());
    golden.value("key", &device_key.id());
    let device = samples::device_key().public();
    let nonce = PairingNonce::from_bytes([5; 16]);
    let code = pairing_code(&key, &device, &secret, &nonce);
    golden.value("code", &code);
    golden.check();
}

proptest! {
    #[test]
    fn every_offer_is_read_back_as_written(offer in arbitrary::offer()) {
        let link = offer.to_string();
        prop_assert!(link.bytes().all(|b| b.is_ascii_graphic()), "fit for a QR code and a shell: {}", link);
        prop_assert_eq!(link.parse::<Offer>(), Ok(offer));
    }

    #[test]
    fn any_text_is_an_offer_or_an_error(text in "(bowline://pair\\?)?\\PC{0,200}") {
        let _ = text.parse::<Offer>();
    }

    /// An offer with a part cut out, as a clipboard may truncate it, never names another daemon or
    /// key.
    #[test]
    fn a_cut_offer_never_names_another_daemon(
        offer in arbitrary::offer(), from in any::<prop::sample::Index>(), len in 1..40_usize,
    ) {
        let mut link = offer.to_string();
        let from = from.index(link.len());
        link.replace_range(from..(from + len).min(link.len()), "");
        if let Ok(read) = link.parse::<Offer>() {
            prop_assert_eq!(read.server_id, offer.server_id);
            prop_assert_eq!(read.transport_key, offer.transport_key);
            prop_assert_eq!(read.token, offer.token);
        }
    }
}
