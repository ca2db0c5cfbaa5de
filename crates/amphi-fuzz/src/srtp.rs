//! SRTP: only what our side sealed is opened, once, and gives back what went in.

use std::collections::BTreeSet;

use amphi_media::srtp::{Inbound, MAX_TAG_LEN, MasterKey, Outbound, Profile};

const SSRC: u32 = 7;

/// The first byte takes the profile. Then records: a byte that says what to do, two bytes of a number, a byte of length and as many bytes.
pub fn srtp(data: &[u8]) {
    let Some((&options, mut rest)) = data.split_first() else { return };
    let profile = Profile::PREFERRED[usize::from(options) % Profile::PREFERRED.len()];
    let key = MasterKey::new(profile, &[1; 32][..profile.key_len()], &[2; 14][..profile.salt_len()])
        .expect("lengths of the profile");
    let mut inbound = Inbound::new(&key).expect("a context");
    let mut outbound = Outbound::new(&key).expect("a context");
    let mut seen = BTreeSet::new();

    while let Some((&[what, high, low, len], after)) = rest.split_first_chunk() {
        let (bytes, after) = after.split_at(usize::from(len).min(after.len()));
        rest = after;
        let number = u16::from_be_bytes([high, low]);
        match what % 6 {
            0 => assert!(inbound.open(&mut bytes.to_vec()).is_err(), "a forgery"),
            1 => assert!(inbound.open_control(&mut bytes.to_vec()).is_err(), "a forgery"),
            2 | 3 => {
                // Within half of the number space of the highest, so that the index is guessed rightly.
                let highest = seen.last().copied().unwrap_or(u64::from(number));
                let index = if what % 6 == 2 {
                    highest + u64::from(number >> 1)
                } else {
                    highest.saturating_sub(u64::from(number >> 3))
                };
                let sealed = seal(&outbound, index, bytes);
                if high & 1 == 1 {
                    let mut changed = sealed.clone();
                    let at = usize::from(low) % changed.len();
                    changed[at] ^= high | 1;
                    assert!(inbound.open(&mut changed).is_err(), "a changed byte");
                }
                let new = seen.insert(index);
                // The first one fixes the rollover counter as zero.
                let first = seen.len() == 1;
                if first && index > 0xffff {
                    seen.clear();
                    continue;
                }
                let mut packet = sealed.clone();
                match inbound.open(&mut packet) {
                    Ok(opened) => {
                        assert!(new, "a replay");
                        assert_eq!((opened.index, &packet[12..opened.len]), (index, bytes));
                    }
                    Err(_) => assert!(!new || index + 1024 <= highest, "a good packet was refused"),
                }
                assert!(inbound.open(&mut sealed.clone()).is_err(), "a second time");
            }
            4 => {
                let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
                packet.extend_from_slice(bytes);
                let plain = packet.clone();
                outbound.seal_control_vec(&mut packet).expect("indexes are left");
                let opened = inbound.open_control(&mut packet.clone()).expect("our own");
                assert_eq!(opened.len, plain.len());
                assert!(inbound.open_control(&mut packet).is_err(), "a second time");
            }
            _ => {
                let mut header = vec![0x90, 100, high, low, 0, 0, 0, 0, 0, 0, 0, 9];
                header.extend_from_slice(bytes);
                assert!(inbound.open(&mut header).is_err(), "a forgery");
            }
        }
    }
}

fn seal(outbound: &Outbound, index: u64, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 100];
    packet.extend_from_slice(&(index as u16).to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&SSRC.to_be_bytes());
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + MAX_TAG_LEN, 0);
    let len = outbound.seal(&mut packet, 12, payload.len(), SSRC, index).expect("room for the tag");
    packet.truncate(len);
    packet
}
