//! Hello and welcome: parsing never panics, and what was parsed reads the same after it was written again.

#![no_main]

use bowline_protocol::{Hello, Welcome};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(hello) = Hello::parse(data) {
        let written = serde_json::to_vec(&hello).unwrap();
        assert_eq!(Hello::parse(&written), Ok(hello));
    }
    if let Ok(welcome) = Welcome::parse(data) {
        assert_eq!(Welcome::parse(&welcome.to_json()), Ok(welcome));
    }
});
