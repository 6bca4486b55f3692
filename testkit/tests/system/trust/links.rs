//! TR-14: a pairing link does nothing by itself: it is shown and confirmed before anything is
//! dialled, and one that was put together by hand is refused whole.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
};

use bowline_protocol::{Offer, PublicKey, ServerId, offer::PairingToken};

use crate::cases::rig::{Rig, has};

/// An address that a link names; nobody may call it before the user says yes.
struct Watched(TcpListener);

impl Watched {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Whether anybody has called since the last look.
    fn was_called(&self) -> bool {
        match self.0.accept() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }

    /// A link with this address, a private one and a relay.
    fn link(&self) -> String {
        let offer = Offer {
            server_id: ServerId::of_public_key(&[7; 32]),
            transport_key: PublicKey::from_bytes([9; 32]),
            token: PairingToken::from_bytes([3; 16]),
            name: "workshop".to_owned(),
            direct: vec![self.address().to_string(), "192.168.255.254:9".to_owned()],
            relays: vec![format!("ws://{}", self.address())],
        };
        offer.to_string()
    }
}

#[test]
fn tr_14_a_script_that_runs_the_command_has_decided() {
    let rig = Rig::new();
    let watched = Watched::listen();
    for command in [&["pair"][..], &["pair", "--yes"]] {
        let link = watched.link();
        let ended = rig.bl(&[&["--timeout", "3s"], command, &[&link]].concat());
        assert_ne!(ended.code, 0, "{ended:?}");
        assert!(watched.was_called(), "{ended:?}");
        while watched.was_called() {}
    }
}

#[test]
fn tr_14_a_link_on_a_terminal_is_shown_and_confirmed() {
    if !has("script", "bsdutils") {
        return;
    }
    let rig = Rig::new();
    let watched = Watched::listen();
    let answered = |answer: &str| {
        let script = format!(
            "printf '{answer}\\n' >answer
            script -qec \"$BL --timeout 3s pair '{}'; echo ended=\\$?\" seen <answer >/dev/null
            cat seen",
            watched.link()
        );
        rig.sh(&script).stdout
    };
    for no in ["n", "", "Yes please"] {
        let seen = answered(no);
        assert!(seen.contains("ended=1"), "{no}: {seen}");
        assert!(seen.contains("nothing was contacted"), "{no}: {seen}");
        assert!(!watched.was_called(), "{no}");
    }
    let seen = answered("y");
    let address = watched.address();
    for shown in [
        "workshop (srv_".to_owned(),
        format!("{address} (this machine)"),
        "192.168.255.254:9 (private network)".to_owned(),
        format!("ws://{address} (relay, this machine)"),
        "[y/N]".to_owned(),
    ] {
        assert!(seen.contains(&shown), "{shown}: {seen}");
    }
    assert!(watched.was_called(), "{seen}");
}

#[test]
fn tr_14_a_link_put_together_by_hand_is_refused_whole() {
    let rig = Rig::new();
    let watched = Watched::listen();
    let good = watched.link();
    let here = watched.address();
    let with = |address: &str| good.replacen(&format!("d={here}"), &format!("d={address}"), 1);
    let many: String = (1..=100).map(|n| format!("&d=10.0.0.{n}:4717")).collect();
    let hostile = [
        with(&format!("workshop.example%40{here}")),
        with(&format!("workshop.example@{here}")),
        with(&format!("{here}%3Fworkshop.example")),
        with(&format!("{here}%23workshop.example")),
        with(&format!("{here}%2Fworkshop.example")),
        with(&format!("{here}%0Aworkshop.example%3A1")),
        with("0x7f000001:4717"),
        with("2130706433:4717"),
        good.replace("ws:", "http:"),
        good.replace("ws:", "file:"),
        good.replace("r=ws://", "r=ws://workshop.example%40"),
        good.replace("n=workshop", "n=work%1B%5B2Jshop"),
        good.replace("n=workshop", "n=work%0D%0Ashop"),
        format!("{good}#{here}"),
        format!("{good}&d={here}"),
        format!("{good}{many}"),
    ];
    for link in hostile {
        assert_ne!(link, good);
        let ended = rig.bl(&["pair", "--yes", &link]);
        assert_eq!(ended.code, 2, "{link}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{link}: {ended:?}");
        assert!(!watched.was_called(), "{link}");
    }
}
