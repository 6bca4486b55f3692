//! Pairing offers: parsing never panics, and what was parsed reads the same after it was written again.

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
        // Our own writing escapes more than was read, so that only its length may stand in the way.
        if written.len() <= 4_096 {
            assert_eq!(written.parse::<Offer>().unwrap(), offer);
        }
    }
});
