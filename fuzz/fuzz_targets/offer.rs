//! Pairing offers: parsing never panics, and a parsed offer survives writing and parsing again.

#![no_main]

use bowline_protocol::Offer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(offer) = text.parse::<Offer>() {
        assert!(text.trim().len() <= 4_096);
        let written = offer.to_string();
        // Writing may escape more characters than the input, so only its length may prevent
        // parsing.
        if written.len() <= 4_096 {
            assert_eq!(written.parse::<Offer>().unwrap(), offer);
        }
    }
});
