//! Hello and welcome: parsing never panics, and a parsed value survives writing and parsing again.

#![no_main]

use bowline_protocol::{Hello, Welcome};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(hello) = Hello::parse(data) {
        let written = serde_json::to_vec(&hello).unwrap();
        assert_eq!(Hello::parse(&written), Ok(hello));
    }
    if let Ok(welcome) = Welcome::parse(data) {
        let (proof, said) = &welcome;
        assert_eq!(Welcome::parse(&said.to_json(proof)), Ok(welcome.clone()));
    }
});
