//! Identities: their forms on the wire and in files, and malformed ones (INV-1, INV-9).

use std::{fmt::Debug, str::FromStr};

use bowline_protocol::{
    AgentId, ClientSessionKey, DaemonIdentity, DeviceId, DeviceKey, Epoch, ExternalSessionKey,
    IntentId, ItemId, PermissionId, PublicKey, RouteKey, ServerId, TransportKey,
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use crate::{arbitrary, fixture::Golden, samples};

#[test]
fn golden_identities() {
    let mut golden = Golden::new("identities.json");
    golden.value("serverId", &samples::server());
    golden.value("clientSessionKey", &samples::session_key());
    golden.value("externalSessionKey", &samples::session_key().external());
    golden.value(
        "routeKey",
        &RouteKey::of_device(&samples::device_key().public(), &samples::server()),
    );
    golden.value("intentId", &samples::intent());
    golden.value("agentId", &samples::agent_id());
    golden.value("itemId", &samples::item_id());
    golden.value("permissionId", &samples::permission_id());
    golden.value("epoch", &samples::epoch());
    let device = samples::device_key().public();
    golden.value("deviceId", &DeviceId::of_public_key(&device));
    golden.value("deviceKey.public", &device);
    golden.value("transportKey.public", &samples::transport_key().public());
    golden.hex("daemonIdentity.public", samples::identity().public_key());
    golden.hex(
        "daemonIdentity.signature",
        samples::identity()
            .sign(b"bowline/1 sample\nnonce")
            .as_bytes(),
    );
    golden.check();
}

/// The private halves as `identity.json` and `profile.json` keep them.
#[test]
fn golden_private_keys_on_disk() {
    let mut golden = Golden::new("private_keys.json");
    for (name, text) in [
        ("deviceKey", samples::device_key().to_base64()),
        ("transportKey", samples::transport_key().to_base64()),
        ("daemonIdentity", samples::identity().to_base64()),
    ] {
        golden.value(name, &text);
    }
    golden.check();
}

fn survives<T>(value: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + ToString + FromStr + PartialEq + Debug,
    T::Err: Debug,
{
    let json = serde_json::to_string(value).unwrap();
    prop_assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), value);
    // Readers that cannot lend their input (files, streams) must work as well.
    prop_assert_eq!(
        &serde_json::from_reader::<_, T>(json.as_bytes()).unwrap(),
        value
    );
    prop_assert_eq!(&value.to_string().parse::<T>().unwrap(), value);
    Ok(())
}

proptest! {
    #[test]
    fn every_identity_is_read_back_as_written(
        (key, server) in (arbitrary::session_key(), arbitrary::server_id()),
        (intent, agent, item) in (arbitrary::intent_id(), arbitrary::agent_id(), arbitrary::item_id()),
        (permission, epoch) in (arbitrary::permission_id(), arbitrary::epoch()),
        device in arbitrary::device_id(),
    ) {
        survives(&key)?;
        survives(&key.external())?;
        survives(&RouteKey::of_device(&PublicKey::from_bytes([7; 32]), &server))?;
        survives(&server)?;
        survives(&intent)?;
        survives(&agent)?;
        survives(&item)?;
        survives(&permission)?;
        survives(&epoch)?;
        survives(&device)?;
    }

    #[test]
    fn every_key_is_read_back_from_its_stored_form(bytes: [u8; 32]) {
        let device = DeviceKey::from_private(bytes);
        prop_assert_eq!(DeviceKey::from_base64(&device.to_base64()).unwrap().public(), device.public());
        let transport = TransportKey::from_base64(&device.to_base64()).unwrap();
        prop_assert_eq!(transport.public(), device.public());
        prop_assert_eq!(device.public().to_string().parse::<PublicKey>().unwrap(), device.public());
        let identity = DaemonIdentity::from_seed(bytes).unwrap();
        let read = DaemonIdentity::from_base64(&identity.to_base64()).unwrap();
        prop_assert_eq!(read.server_id(), identity.server_id());
        prop_assert_eq!(read.public_key(), identity.public_key());
    }

    /// A relay cannot link one client across daemons, and two clients of one daemon have different
    /// keys.
    #[test]
    fn route_keys_differ_wherever_a_part_differs(
        (a, b) in (any::<[u8; 32]>(), any::<[u8; 32]>()),
        (x, y) in (arbitrary::server_id(), arbitrary::server_id()),
    ) {
        prop_assume!(a != b && x != y);
        let (a, b) = (PublicKey::from_bytes(a), PublicKey::from_bytes(b));
        prop_assert_ne!(RouteKey::of_device(&a, &x), RouteKey::of_device(&a, &y));
        prop_assert_ne!(RouteKey::of_device(&a, &x), RouteKey::of_device(&b, &x));
    }

    /// INV-9: any other text is an error, and the error does not repeat it: it may be a secret.
    #[test]
    fn inv_9_other_texts_are_errors_that_do_not_repeat_the_value(text in "[ -~]{9,80}") {
        let failures = [
            text.parse::<ServerId>().err(),
            text.parse::<ClientSessionKey>().err(),
            text.parse::<RouteKey>().err(),
            text.parse::<ExternalSessionKey>().err(),
            text.parse::<IntentId>().err(),
            text.parse::<DeviceId>().err(),
        ];
        for failure in failures {
            let failure = failure.ok_or_else(|| TestCaseError::fail("accepted"))?;
            prop_assert!(!failure.to_string().contains(&text));
        }
    }

    #[test]
    fn inv_9_one_changed_character_makes_a_key_malformed(
        key in arbitrary::session_key(), at in 0..30_usize, other in "[A-Z0189_ =é]",
    ) {
        let mut text: Vec<char> = key.to_string().chars().collect();
        let other = other.chars().next().unwrap();
        prop_assume!(text[at] != other);
        text[at] = other;
        prop_assert!(String::from_iter(text).parse::<ClientSessionKey>().is_err());
    }

    #[test]
    fn secrets_stay_out_of_debug(key in arbitrary::session_key(), bytes: [u8; 32]) {
        let secret = key.as_str().trim_start_matches("csk_").to_owned();
        let shown = format!("{key:?} {:?}", key.external());
        prop_assert!(!shown.contains(&secret));
        let device = DeviceKey::from_private(bytes);
        let shown = format!("{device:?}");
        prop_assert!(!shown.contains(&device.to_base64()));
    }
}

#[test]
fn inv_9_empty_and_over_long_names_are_errors() {
    let long = "x".repeat(129);
    for text in ["", "with space", "tab\t", "ä", long.as_str()] {
        assert!(text.parse::<AgentId>().is_err(), "{text:?}");
        assert!(text.parse::<ItemId>().is_err(), "{text:?}");
        assert!(text.parse::<PermissionId>().is_err(), "{text:?}");
        assert!(text.parse::<Epoch>().is_err(), "{text:?}");
    }
}
