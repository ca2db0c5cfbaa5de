//! Media plane: sockets, shards, ingress of publishers and fan-out to receivers (`spec/bridge.md` 9.5).
//!
//! ```text
//!  control ──Command──►  Plane  ──►  shards (UDP, SRTP, RTP)  ◄──datagrams, keys──►  transport threads (ICE, DTLS, SCTP)
//!          ◄──Event────────┴─────────────┴────────────────────────────────────────────┘
//! ```
//!
//! Everything here runs on plain threads: one per shard and one or more for transports. Control holds a [`Plane`] and reads [`event::Event`]s.

pub mod command;

pub mod event;

pub mod socket;
pub mod stats;

use std::net::SocketAddr;
use std::time::Duration;

pub use command::{Command, PlaneError};
pub use event::Event;

/// Settings of the plane.
#[derive(Clone, Debug)]
pub struct PlaneConfig {
    /// Media shards: threads that own sockets. 0: one per core, at most 16.
    pub shards: usize,
    /// Threads for ICE, DTLS and SCTP.
    pub transport_threads: usize,
    /// Whether threads are bound to cores.
    pub pin: bool,
    /// Addresses of the UDP sockets; each shard opens one socket for each. IPv4 and IPv6 may be mixed.
    pub bind: Vec<SocketAddr>,
    /// Addresses that are signaled as host candidates, by address of `bind` (same index); an unspecified bind address needs one.
    pub advertise: Vec<SocketAddr>,
    /// `SO_RCVBUF` and `SO_SNDBUF`, in bytes.
    pub socket_buffer: usize,
    /// Whether UDP_SEGMENT and UDP_GRO may be used, if the kernel has them.
    pub offload: bool,
    /// Commands, datagrams and packets that may wait for one thread.
    pub queue: usize,
    /// Events that may wait for control.
    pub event_queue: usize,
    /// Endpoints and relays on this bridge.
    pub max_endpoints: usize,
    /// Sources of one endpoint.
    pub max_sources_per_endpoint: usize,
    /// Time without anything authenticated after which an endpoint's addresses are forgotten.
    pub idle_address: Duration,
}

impl Default for PlaneConfig {
    fn default() -> Self {
        Self {
            shards: 0,
            transport_threads: 1,
            pin: true,
            bind: vec![SocketAddr::from(([0, 0, 0, 0], 10_000))],
            advertise: Vec::new(),
            socket_buffer: 16 << 20,
            offload: true,
            queue: 16_384,
            event_queue: 65_536,
            max_endpoints: 100_000,
            max_sources_per_endpoint: 20,
            idle_address: Duration::from_secs(120),
        }
    }
}
