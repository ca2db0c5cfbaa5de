//! How a peer is set up, and what bounds it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{Certificate, Credentials};

/// An address on which shards receive, and how it looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// Address and port of the socket; datagrams carry it as destination. Not a wildcard.
    pub base: SocketAddr,
    /// The address under which others reach `base`: a static mapping (`spec/bridge.md` 2.3), advertised as `srflx`.
    pub public: Option<SocketAddr>,
}

/// Our part in the SCTP association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SctpRole {
    /// The other side associates and opens the channel: endpoints, and relays that wait.
    Server,
    /// We associate and open a channel labelled `default`: relays (`spec/bridge.md` 5.2).
    Client,
}

/// How a peer is set up.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Whether we are the controlling agent; true for endpoints (`spec/bridge.md` 2.2).
    pub controlling: bool,
    /// Our certificate, shared by all transports of a day.
    pub certificate: Arc<Certificate>,
    /// Where we can be reached.
    pub addresses: Arc<[LocalAddress]>,
    /// Whether candidates with private addresses are told. They are always used.
    pub advertise_private: bool,
    /// First credentials; their ufrag names the transport thread.
    pub credentials: Credentials,
    /// Whether there is a data channel, and who opens it.
    pub sctp: Option<SctpRole>,
    /// What the peer may use.
    pub limits: Arc<PeerLimits>,
}

/// Bounds of a peer.
#[derive(Clone, Debug)]
pub struct PeerLimits {
    /// Remote candidates taken from signaling. Default 20.
    pub remote_candidates: usize,
    /// Remote addresses that may send authenticated checks, per generation. Default 64.
    pub remote_addresses: usize,
    /// Addresses as which the other side may see us, per generation. Default 16.
    pub mapped_addresses: usize,
    /// DTLS packets kept until the fingerprint is known and a path is valid. Default 128.
    pub early_packets: usize,
    /// Bytes of those packets. Default 128 KiB.
    pub early_bytes: usize,
    /// From the remote description to the first valid pair. Default 60 s.
    pub connect_timeout: Duration,
    /// Of the DTLS handshake. Default 30 s.
    pub handshake_timeout: Duration,
    /// Greatest time between two checks of a valid pair (RFC 7675 section 5.1). Default 5 s; a path is lost after about 32 s without answers.
    pub consent_interval: Duration,
    /// Silence of the selected pair after which another valid pair that is heard is used. Default 6 s.
    pub path_silence: Duration,
    /// Whether ICE restarts are done in place. Default true.
    pub restart: bool,
    /// From the start of a restart to its first valid pair. Default 20 s.
    pub restart_timeout: Duration,
    /// How long the old agent answers after a restart. Default 3 s.
    pub transition: Duration,
    /// Length of a message on the channel that we send. Default 256 KiB.
    pub message: usize,
    /// Length of a message that the peer sends; a longer one is ignored. Default 64 KiB.
    pub received_message: usize,
    /// Bytes that wait to be sent on the channel. Default 512 KiB.
    pub send_queue: usize,
    /// Bytes of messages that are not complete. Default 512 KiB.
    pub receive_queue: usize,
    /// SCTP streams that the other side may use. Default 256.
    pub streams: u16,
    /// Whether DTLS 1.3 is accepted as server. Default true; 1.2 always is.
    pub dtls13_server: bool,
    /// Whether DTLS 1.3 is offered as client. Default false.
    pub dtls13_client: bool,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            remote_candidates: 20,
            remote_addresses: 64,
            mapped_addresses: 16,
            early_packets: 128,
            early_bytes: 128 * 1024,
            connect_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(30),
            consent_interval: Duration::from_secs(5),
            path_silence: Duration::from_secs(6),
            restart: true,
            restart_timeout: Duration::from_secs(20),
            transition: Duration::from_secs(3),
            message: 256 * 1024,
            received_message: 64 * 1024,
            send_queue: 512 * 1024,
            receive_queue: 512 * 1024,
            streams: 256,
            dtls13_server: true,
            dtls13_client: false,
        }
    }
}

/// RFC 1918, fec0::/10 and fc00::/7 (`spec/bridge.md` 2.3).
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            first & 0xffc0 == 0xfec0 || first & 0xfe00 == 0xfc00
        }
    }
}

/// What stands for a related address that is not told.
pub(super) const HIDDEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
