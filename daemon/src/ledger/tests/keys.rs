//! The keys of a device that pairs again, while answers and writes are lost (TR-3).

use super::super::*;
use super::{KEYS, attach, hello, open, pair, set_full};
use bowline_protocol::Reason;

/// A client that misses the answer to a pairing goes on with the key that it has. It was told that
/// it is not paired if the disk had been full when it first used that key.
#[tokio::test]
async fn tr_3_a_used_key_is_kept_at_the_next_pairing_though_its_use_could_not_be_stored() {
    let (_dir, ledger) = open();
    let key = || KEYS.with_borrow(|keys| keys[&1]);
    let go_on_with = |key| KEYS.with_borrow_mut(|keys| keys.insert(1, key));
    let mut keys = Vec::new();
    for n in 0..3 {
        let day = std::time::Duration::from_secs(86_400);
        let made = ledger.create_pairing(day, false, OfferedGrant::default());
        pair(&ledger, 1, &made.await.unwrap().token).await.unwrap();
        keys.push(key());
        if n < 2 {
            set_full(&ledger, n == 1).await;
            drop(attach(&ledger, 1, &hello(1, None, None)).await.unwrap());
            set_full(&ledger, false).await;
        }
    }
    // The answer to the third pairing was lost.
    go_on_with(keys[1]);
    drop(attach(&ledger, 1, &hello(1, None, None)).await.unwrap());
    go_on_with(keys[0]);
    let refused = attach(&ledger, 1, &hello(1, None, None)).await;
    assert_eq!(refused.err().unwrap().reason, Reason::DeviceUnknown);
}
