//! What a receiver may ask for.

use std::time::Instant;

use super::{Receiver, ReceiverConfig};
use crate::srtp::{MasterKey, Outbound, Profile};

fn receiver(transport_cc: bool) -> Receiver {
    let outbound = Outbound::new(&MasterKey::new(Profile::AeadAes128Gcm, &[7; 16], &[8; 12]).unwrap()).unwrap();
    Receiver::new(Instant::now(), outbound, transport_cc, [(96, 97)], ReceiverConfig::default())
}

#[test]
fn a_remb_is_not_believed_above_what_is_ever_estimated() {
    let mut receiver = receiver(false);
    // 2^46 times 2^17.
    let remb = [0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 46 << 2 | 2, 0, 0, 0, 0, 0, 9];
    receiver.on_control(Instant::now(), &remb, &mut Vec::new());
    assert_eq!(receiver.bandwidth(), Some(ReceiverConfig::default().bwe.max));
}
