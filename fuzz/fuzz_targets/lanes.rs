//! What a relay and a daemon send each other: lane frames and messages of a control socket.
//! Decoding never panics; a frame is written as it was read, and a message that was read is read
//! again as written.

#![no_main]

use bowline_protocol::relay::{DaemonMessage, LaneFrame, RelayMessage};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = LaneFrame::decode(data.to_vec().into()) {
        assert_eq!(frame.encode(), data);
    }
    again::<RelayMessage>(data, |message| matches!(message, RelayMessage::Unknown));
    again::<DaemonMessage>(data, |message| matches!(message, DaemonMessage::Unknown));
});

/// Reads a message, and reads it again as written; unknown ones are not written.
fn again<T>(data: &[u8], is_unknown: impl Fn(&T) -> bool)
where
    T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    if let Ok(message) = serde_json::from_slice::<T>(data)
        && !is_unknown(&message)
    {
        let written = serde_json::to_vec(&message).unwrap();
        assert_eq!(serde_json::from_slice::<T>(&written).unwrap(), message);
    }
}
