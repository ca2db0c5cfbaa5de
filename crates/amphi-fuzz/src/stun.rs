//! STUN of strangers is not answered; STUN of those who know the password is answered to where it came from.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use amphi_bridge::transport::{
    Certificate, Credentials, Heard, LocalAddress, Output, Peer, PeerConfig, PeerLimits, Receive, RemoteTransport,
    demux,
};
use aws_lc_rs::hmac;

static CERTIFICATE: LazyLock<Arc<Certificate>> = LazyLock::new(|| {
    Certificate::generate(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)).expect("a key")
});

const HEADER: usize = 20;
const INTEGRITY: usize = 24;

/// A message with that type and attributes, signed.
fn signed(kind: [u8; 2], attributes: &[u8], password: &str) -> Vec<u8> {
    let mut message = kind.to_vec();
    message.extend(((attributes.len() + INTEGRITY) as u16).to_be_bytes());
    message.extend([0x21, 0x12, 0xa4, 0x42]);
    message.extend([7; 12]);
    message.extend(attributes);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let mac = hmac::sign(&key, &message);
    message.extend([0, 8, 0, 20]);
    message.extend(mac.as_ref());
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Messages of two bytes of type, a byte of options, a byte of length in words, and attributes: bit 0 of the options signs it, bit 1 puts
/// USERNAME and PRIORITY before, bits 2 and 3 choose where it comes from.
pub fn stun(data: &[u8]) {
    let now = Instant::now();
    let base: SocketAddr = ([192, 0, 2, 1], 10_000).into();
    let config = PeerConfig {
        controlling: data.len().is_multiple_of(2),
        certificate: CERTIFICATE.clone(),
        addresses: Arc::from([LocalAddress { base, public: None }]),
        advertise_private: true,
        credentials: Credentials::random("", 0),
        sctp: None,
        limits: Arc::new(PeerLimits::default()),
    };
    let mut peer = Peer::new(now, config);
    let local = peer.local();
    let remote = RemoteTransport {
        ufrag: Some("theirs".into()),
        password: Some("a password of the other side".into()),
        ..RemoteTransport::default()
    };
    peer.set_remote(now, &remote);
    let (mut rest, mut clock) = (data, now);
    let mut proved: Vec<SocketAddr> = Vec::new();
    while let [k0, k1, options, words, more @ ..] = rest {
        let (attributes, after) = more.split_at((4 * usize::from(*words)).min(more.len()));
        rest = after;
        clock += Duration::from_millis(20);
        let mut all = Vec::new();
        if options & 2 != 0 {
            all.extend(attribute(0x0006, format!("{}:theirs", local.ufrag).as_bytes()));
            all.extend(attribute(0x0024, &1_000_000_u32.to_be_bytes()));
        }
        all.extend(attributes);
        let mut bytes = signed([*k0, *k1], &all, &local.password);
        if options & 1 == 0 {
            bytes.truncate(HEADER + all.len());
            let length = (all.len() as u16).to_be_bytes();
            bytes[2..4].copy_from_slice(&length);
        }
        let source: SocketAddr = ([198, 51, 100, 1], 4000 + u16::from(options >> 2 & 3)).into();
        let _ = (demux::classify(&bytes), demux::stun_local_ufrag(&bytes), demux::stun_transaction(&bytes));
        let heard = peer.handle(clock, Receive { source, destination: base, bytes: &bytes });
        if heard == Heard::Nothing {
            assert!(
                options & 1 == 0 || options & 2 == 0 || [*k0, *k1] != [0, 1] || !attributes.is_empty(),
                "a good check"
            );
        } else {
            assert!(options & 1 != 0 || attributes.windows(4).any(|w| w == [0, 8, 0, 20]), "not signed");
            proved.push(source);
        }
        peer.handle_timeout(clock);
        let mut sent = 0;
        while let Some(output) = peer.poll() {
            if let Output::Transmit(transmit) = output {
                assert!(proved.contains(&transmit.destination), "to {}", transmit.destination);
                sent += 1;
            }
        }
        assert!(sent <= 4, "{sent} datagrams for one");
    }
    // As it is, from a stranger.
    assert_eq!(
        peer.handle(clock, Receive { source: ([203, 0, 113, 9], 9).into(), destination: base, bytes: data }),
        Heard::Nothing
    );
}
