use proptest::prelude::*;

use super::cipher::Cipher;
use super::inbound::estimate;
use super::keys::Label;
use super::*;

const PROFILES: [Profile; 3] = Profile::PREFERRED;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|d| (d[0] << 4 | d[1]) as u8).collect()
}

fn master(profile: Profile, seed: u8) -> MasterKey {
    MasterKey::new(profile, &vec![seed; profile.key_len()], &vec![seed ^ 0x55; profile.salt_len()]).unwrap()
}

fn pair(profile: Profile) -> (Outbound, Inbound) {
    (Outbound::new(&master(profile, 7)).unwrap(), Inbound::new(&master(profile, 7)).unwrap())
}

/// A header of twelve bytes and a payload.
fn packet(ssrc: u32, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 9]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn sealed(out: &Outbound, ssrc: u32, index: u64, payload: &[u8]) -> Vec<u8> {
    let mut buf = packet(ssrc, index as u16, payload);
    buf.resize(buf.len() + MAX_TAG_LEN, 0);
    let len = out.seal(&mut buf, 12, payload.len(), ssrc, index).unwrap();
    buf.truncate(len);
    buf
}

#[test]
fn keys_are_derived_as_in_rfc_3711_b_3() {
    let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
    let master = MasterKey::new(Profile::Aes128CmSha1_80, &key, &salt).unwrap();
    let derived = |label| master.derive::<94>(label).unwrap();
    assert_eq!(derived(Label::Encryption)[..16], hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derived(Label::Salt)[..14], hex("30CBBC08863D8C85D49DB34A9AE1"));
    let authentication =
        "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF72270986371C10C9A36
        9AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2";
    assert_eq!(derived(Label::Authentication)[..], hex(authentication));
}

/// RFC 7714 gives session keys, not master keys.
fn rfc_7714_cipher() -> Cipher {
    let key: [u8; 16] = hex("000102030405060708090a0b0c0d0e0f").try_into().unwrap();
    Cipher::gcm(&key, *b"Quid pro quo").unwrap()
}

fn rfc_7714(control_index: u32) -> (Outbound, Inbound) {
    let profile = Profile::AeadAes128Gcm;
    (
        Outbound::with_ciphers(profile, rfc_7714_cipher(), rfc_7714_cipher(), control_index),
        Inbound::with_ciphers(profile, rfc_7714_cipher(), rfc_7714_cipher()),
    )
}

#[test]
fn rtp_is_sealed_and_opened_as_in_rfc_7714_16_1() {
    let (out, mut inbound) = rfc_7714(1);
    let mut buf = hex("8040f17b8041f8d35501a0b2");
    buf.extend_from_slice(b"Gallia est omnis divisa in partes tres");
    let plain = buf.clone();
    buf.resize(plain.len() + 16, 0);
    assert_eq!(out.seal(&mut buf, 12, plain.len() - 12, 0x5501_a0b2, 0xf17b), Ok(buf.len()));
    let wanted =
        hex("8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
         899d7f27beb16a9152cf765ee4390cce");
    assert_eq!(buf, wanted);
    let opened = inbound.open(&mut buf).unwrap();
    assert_eq!(buf[..opened.len], plain);
}

const RFC_7714_RTCP: &str =
    "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

#[test]
fn rtcp_is_sealed_and_opened_as_in_rfc_7714_17_1() {
    let (mut out, mut inbound) = rfc_7714(0x5d4);
    let mut buf = hex(RFC_7714_RTCP);
    out.seal_control_vec(&mut buf).unwrap();
    let wanted =
        hex("81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275b
         c84aa45896cf4d2fc5abf87245d9eade800005d4");
    assert_eq!(buf, wanted);
    let opened = inbound.open_control(&mut buf).unwrap();
    assert_eq!((opened.ssrc, &buf[..opened.len]), (0x4d61_7273, &hex(RFC_7714_RTCP)[..]));
}

#[test]
fn rtcp_that_is_only_authenticated_is_opened_as_in_rfc_7714_17_3() {
    let tagged = hex(&format!("{RFC_7714_RTCP}841dd9683dd78ec92ae58790125f62b3000005d4"));
    let mut buf = tagged.clone();
    let opened = rfc_7714(1).1.open_control(&mut buf).unwrap();
    assert_eq!(buf[..opened.len], hex(RFC_7714_RTCP));
    let mut claims_encryption = tagged;
    let at = claims_encryption.len() - 4;
    claims_encryption[at] |= 0x80;
    assert_eq!(rfc_7714(1).1.open_control(&mut claims_encryption), Err(SrtpError::Authentication));
}

/// What the stack of browsers makes of the same master keys, so that key derivation is checked with both salt lengths.
#[test]
fn whole_packets_are_those_of_another_stack() {
    let rtp = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let rtcp = hex("81c8000bcafebabeabababababababababababababababab");
    let cases = [
        (
            Profile::AeadAes128Gcm,
            "000102030405060708090a0b0c0d0e0f",
            "a0a1a2a3a4a5a6a7a8a9aaab",
            "800f1234decafbadcafebabec5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392",
            "81c8000bcafebabec98b8b5df0392a55852b6c21ac8e7025c52c6fbea2b3b446ea31123ba88ce61e80000001",
        ),
        (
            Profile::Aes128CmSha1_80,
            "e1f97a0d3e018be0d64fa32c06de4139",
            "0ec675ad498afeebb6960b3aabe6",
            "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
            "81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798",
        ),
    ];
    for (profile, key, salt, wanted_rtp, wanted_rtcp) in cases {
        let key = MasterKey::new(profile, &hex(key), &hex(salt)).unwrap();
        let mut out = Outbound::new(&key).unwrap();
        let mut buf = rtp.clone();
        buf.resize(rtp.len() + profile.tag_len(), 0);
        out.seal(&mut buf, 12, rtp.len() - 12, 0xcafe_babe, 0x1234).unwrap();
        assert_eq!(buf, hex(wanted_rtp), "{profile:?}");
        let mut buf = rtcp.clone();
        out.seal_control_vec(&mut buf).unwrap();
        assert_eq!(buf, hex(wanted_rtcp), "{profile:?}");
        let mut inbound = Inbound::new(&key).unwrap();
        let opened = inbound.open_control(&mut buf).unwrap();
        assert_eq!(buf[..opened.len], rtcp);
    }
}

#[test]
fn exported_keys_are_split_by_role() {
    for profile in PROFILES {
        let exported: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
        let keys = KeyingMaterial::split(profile, &exported).unwrap();
        let len = profile.key_len();
        let salt = 2 * len + profile.salt_len();
        assert_eq!(keys.client, MasterKey::new(profile, &exported[..len], &exported[2 * len..salt]).unwrap());
        assert_eq!(keys.server, MasterKey::new(profile, &exported[len..2 * len], &exported[salt..]).unwrap());
        let (mut client_in, client_out) = keys.contexts(DtlsRole::Client).unwrap();
        let (mut server_in, server_out) = keys.contexts(DtlsRole::Server).unwrap();
        assert!(server_in.open(&mut sealed(&client_out, 1, 1, b"to the server")).is_ok());
        assert!(client_in.open(&mut sealed(&server_out, 1, 1, b"to the client")).is_ok());
        assert!(client_in.open(&mut sealed(&client_out, 1, 2, b"own key")).is_err());
        let wrong = KeyingMaterial::split(profile, &exported[1..]);
        assert_eq!(wrong, Err(SrtpError::KeyLength(exported.len() - 1)));
    }
}

#[test]
fn profiles_have_the_numbers_of_their_rfcs() {
    for profile in PROFILES {
        assert_eq!(Profile::from_id(profile.id()), Some(profile));
    }
    assert_eq!(Profile::PREFERRED.map(Profile::id), [7, 8, 1]);
    assert_eq!(Profile::from_id(2), None);
}

#[test]
fn a_changed_byte_anywhere_fails_and_changes_no_state() {
    for profile in PROFILES {
        let (mut out, mut inbound) = pair(profile);
        let good = sealed(&out, 1, 100, b"payload");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(inbound.open(&mut bad).is_err(), "{profile:?} {at}");
        }
        assert_eq!(inbound.sources(), 0, "no context without authentication");
        assert!(inbound.open(&mut good.clone()).is_ok());
        let mut control = hex(RFC_7714_RTCP);
        out.seal_control_vec(&mut control).unwrap();
        for at in 0..control.len() {
            let mut bad = control.clone();
            bad[at] ^= 1;
            assert!(inbound.open_control(&mut bad).is_err(), "{profile:?} {at}");
        }
        assert!(inbound.open_control(&mut control).is_ok());
    }
}

#[test]
fn another_key_opens_nothing() {
    for profile in PROFILES {
        let (mut out, _) = pair(profile);
        let mut other = Inbound::new(&master(profile, 8)).unwrap();
        assert_eq!(other.open(&mut sealed(&out, 1, 1, b"payload")), Err(SrtpError::Authentication));
        let mut control = hex(RFC_7714_RTCP);
        out.seal_control_vec(&mut control).unwrap();
        assert_eq!(other.open_control(&mut control), Err(SrtpError::Authentication));
    }
}

#[test]
fn replays_are_refused() {
    for profile in PROFILES {
        let (mut out, mut inbound) = pair(profile);
        for index in [1000, 1001, 999] {
            let good = sealed(&out, 1, index, b"payload");
            assert!(inbound.open(&mut good.clone()).is_ok());
            assert_eq!(inbound.open(&mut good.clone()), Err(SrtpError::Replay));
        }
        assert!(inbound.open(&mut sealed(&out, 1, 3000, b"")).is_ok());
        assert_eq!(inbound.open(&mut sealed(&out, 1, 1003, b"")), Err(SrtpError::TooOld));
        let mut control = hex(RFC_7714_RTCP);
        out.seal_control_vec(&mut control).unwrap();
        assert!(inbound.open_control(&mut control.clone()).is_ok());
        assert_eq!(inbound.open_control(&mut control), Err(SrtpError::Replay));
    }
}

#[test]
fn the_source_that_was_not_heard_for_longest_makes_room_and_may_come_back() {
    let (out, mut inbound) = pair(Profile::AeadAes128Gcm);
    for ssrc in 0..MAX_SOURCES as u32 {
        for step in 0..5 {
            inbound.open(&mut sealed(&out, ssrc, 60_000 + 30_000 * step, b"")).unwrap();
        }
    }
    assert!(inbound.open(&mut sealed(&out, 0, 180_001, b"")).is_ok(), "the first one is heard");
    assert!(inbound.open(&mut sealed(&out, 5_000, 1, b"")).is_ok(), "a further one too");
    assert_eq!(inbound.sources(), MAX_SOURCES);
    // The second one went for it.
    assert_eq!(inbound.open(&mut sealed(&out, 1, 180_000, b"")), Err(SrtpError::TooOld), "no replays");
    let back = inbound.open(&mut sealed(&out, 1, 190_000, b"")).unwrap();
    assert_eq!(back.index, 190_000, "with its rollover counter");
    assert_eq!(inbound.open(&mut sealed(&out, 0, 180_001, b"")), Err(SrtpError::Replay));
}

#[test]
fn senders_of_control_packets_may_come_and_go() {
    let (mut out, mut inbound) = pair(Profile::AeadAes128Gcm);
    let mut first = Vec::new();
    for ssrc in 0..=MAX_SOURCES as u32 {
        let mut packet = vec![0x80, 201, 0, 1];
        packet.extend(ssrc.to_be_bytes());
        out.seal_control_vec(&mut packet).unwrap();
        if first.is_empty() {
            first.clone_from(&packet);
        }
        assert!(inbound.open_control(&mut packet).is_ok(), "{ssrc}");
    }
    assert_eq!(inbound.open_control(&mut first), Err(SrtpError::TooOld), "no replays");
}

#[test]
fn indexes_end() {
    for profile in PROFILES {
        let (out, _) = pair(profile);
        let mut buf = packet(1, MAX_INDEX as u16, b"payload");
        buf.resize(64, 0);
        assert!(out.seal(&mut buf.clone(), 12, 7, 1, MAX_INDEX).is_ok());
        assert_eq!(out.seal(&mut buf, 12, 7, 1, MAX_INDEX + 0x1_0000), Err(SrtpError::Exhausted));
    }
    let (mut out, _) = rfc_7714(0x7fff_ffff);
    assert!(out.seal_control_vec(&mut hex(RFC_7714_RTCP)).is_ok());
    let mut control = hex(RFC_7714_RTCP);
    assert_eq!(out.seal_control_vec(&mut control), Err(SrtpError::Exhausted));
    assert_eq!(control, hex(RFC_7714_RTCP), "left as it was");
}

#[test]
fn rollovers_are_estimated_as_in_rfc_3711_3_3_1() {
    assert_eq!(estimate(0x1_0005, 6), Some(0x1_0006));
    assert_eq!(estimate(0x1_0005, 0xfff0), Some(0xfff0), "before the wrap");
    assert_eq!(estimate(0x0_fff0, 5), Some(0x1_0005), "after it");
    assert_eq!(estimate(5, 0xfff0), None, "before the first packet");
    assert_eq!(estimate(MAX_INDEX, 5), None, "after the last");
    assert_eq!(estimate(0x1_0000, 0x8000), Some(0x1_8000));
    assert_eq!(estimate(0x1_8000, 0), Some(0x1_0000));
}

#[test]
fn small_buffers_and_wrong_lengths_are_errors() {
    for profile in PROFILES {
        let (mut out, _) = pair(profile);
        let mut buf = packet(1, 1, b"payload");
        assert_eq!(out.seal(&mut buf, 12, 7, 1, 1), Err(SrtpError::NoRoom));
        assert_eq!(out.seal(&mut buf, 12, usize::MAX, 1, 1), Err(SrtpError::NoRoom));
        assert_eq!(out.seal_from(&mut buf, 12, 11, b"", 1, 1), Err(SrtpError::NoRoom));
        assert_eq!(out.seal_from(&mut buf, 12, 12, b"payload", 1, 1), Err(SrtpError::NoRoom));
        assert_eq!(out.seal_from(&mut buf, 12, 14, b"payload", 1, 1), Err(SrtpError::NoRoom));
        assert_eq!(out.seal_control(&mut [0x80; 64], 4), Err(SrtpError::Malformed));
        assert_eq!(out.seal_control(&mut [0x80; 20], 20), Err(SrtpError::NoRoom));
    }
}

#[cfg(debug_assertions)]
#[test]
#[should_panic(expected = "would repeat a nonce")]
fn an_index_used_twice_is_noticed() {
    let mut order = IndexOrder::new();
    [1, 2, 5, 5].iter().for_each(|i| order.assert_next(*i));
}

#[test]
fn a_context_is_small() {
    assert!(size_of::<Outbound>() <= 48, "{}", size_of::<Outbound>());
    assert!(size_of::<Inbound>() <= 288, "{}", size_of::<Inbound>());
}

fn profiles() -> impl Strategy<Value = Profile> {
    proptest::sample::select(PROFILES.to_vec())
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened_across_rollovers_and_reordering(
        profile in profiles(), first in 65_000..66_000u64, extra in any::<u16>(),
        steps in proptest::collection::vec((1..30u64, 0..400u64, proptest::collection::vec(any::<u8>(), 0..80)), 1..80),
    ) {
        let (out, mut inbound) = pair(profile);
        // The first packet sets rollover counter zero.
        let mut index = first.min(0xffff);
        inbound.open(&mut sealed(&out, 1, index, b"first")).unwrap();
        let mut packets = Vec::new();
        for (by, delay, payload) in steps {
            index += by;
            packets.push((index + delay, index, payload));
        }
        packets.sort_by_key(|(due, _, _)| *due);
        for (_, index, payload) in packets {
            let mut buf = sealed(&out, 1, index, &payload);
            let opened = inbound.open(&mut buf).unwrap();
            prop_assert_eq!(opened.index, index);
            prop_assert_eq!(&buf[12..opened.len], &payload[..]);
            prop_assert_eq!(inbound.open(&mut sealed(&out, 1, index, &payload)), Err(SrtpError::Replay));
        }
        let other = u64::from(extra);
        prop_assert!(inbound.open(&mut sealed(&out, 2, other, b"another source")).is_ok());
    }

    #[test]
    fn sealing_from_a_shared_payload_is_sealing_in_place(
        profile in profiles(), payload in proptest::collection::vec(any::<u8>(), 0..200), split: proptest::sample::Index,
        index in 0..=MAX_INDEX, ssrc: u32,
    ) {
        let (out, _) = pair(profile);
        let wanted = sealed(&out, ssrc, index, &payload);
        for prefix in [0, split.index(payload.len() + 1)] {
            let mut buf = packet(ssrc, index as u16, &payload[..prefix]);
            let head = buf.len();
            buf.resize(300, 0xee);
            let len = out.seal_from(&mut buf, 12, head, &payload[prefix..], ssrc, index).unwrap();
            prop_assert_eq!(&buf[..len], &wanted[..]);
        }
    }

    #[test]
    fn rtcp_round_trips(profile in profiles(), words in proptest::collection::vec(any::<[u8; 4]>(), 0..40), ssrc: u32) {
        let (mut out, mut inbound) = pair(profile);
        let mut plain = vec![0x80, 201, 0, words.len() as u8];
        plain.extend_from_slice(&ssrc.to_be_bytes());
        words.iter().for_each(|w| plain.extend_from_slice(w));
        for _ in 0..3 {
            let mut buf = plain.clone();
            out.seal_control_vec(&mut buf).unwrap();
            prop_assert_eq!(buf.len(), plain.len() + profile.control_trailer_len());
            let opened = inbound.open_control(&mut buf).unwrap();
            prop_assert_eq!((opened.ssrc, &buf[..opened.len]), (ssrc, &plain[..]));
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused(profile in profiles(), mut data in proptest::collection::vec(any::<u8>(), 0..120)) {
        let (_, mut inbound) = pair(profile);
        prop_assert!(inbound.open(&mut data.clone()).is_err());
        prop_assert!(inbound.open_control(&mut data.clone()).is_err());
        if let Some(first) = data.first_mut() {
            *first = 0x80;
        }
        prop_assert!(inbound.open(&mut data.clone()).is_err());
        prop_assert!(inbound.open_control(&mut data).is_err());
        prop_assert_eq!(inbound.sources(), 0);
    }
}
