//! Transports: ICE, DTLS and SCTP of one endpoint or relay, without IO.
//!
//! A [`Peer`] is the transport of one endpoint or relay; a [`Pool`] owns those of one transport thread. Neither touches a socket or a clock:
//! datagrams, commands and the time come in, datagrams, keys and messages go out. Media (SRTP, RTP) is not here: shards take the
//! [`Keys`] and do it (`spec/bridge.md` 9.5).
//!
//! ```text
//!  shard ── STUN, DTLS datagrams ──►┌──────── Pool ────────┐
//!           (demux::classify)       │ ufrag, 5-tuple → Peer│── Bound, Selected, Keys ──► shard
//!  control ─ Add, SetRemote, Send ─►│  ICE ▸ DTLS ▸ SCTP   │── channel, failure ───────► control
//!                                   └──────────────────────┘── Transmit ───────────────► socket
//! ```
//!
//! Control makes the [`Peer`] itself, so that it can answer the focus at once with [`Peer::local`], and hands it to the pool.

mod certificate;
mod config;
mod credentials;
mod dcep;
pub mod demux;
mod description;
mod dtls;
mod event;
mod fingerprint;
#[doc(hidden)]
pub mod fuzzing;
mod hmac;
mod ice;
mod output;
mod peer;
mod pool;
mod restart;
mod schedule;
mod sctp;
mod secure;
#[cfg(test)]
mod tests;

pub use certificate::{Certificate, CertificateError};
pub use config::{LocalAddress, PeerConfig, PeerLimits, SctpRole};
pub use credentials::Credentials;
pub use dcep::{DataChannelOpen, DcepError, DcepMessage};
pub use description::{
    CandidateType, Fingerprint, LocalCandidate, LocalTransport, RemoteCandidate, RemoteTransport, Setup,
};
pub use event::{Command, Event, PoolCounters, PoolLimits};
pub use output::{Counters, DtlsRole, Failure, KeyPair, Keys, Output, Profile, Transmit};
pub use peer::{Heard, Peer, Receive, Restart, SendError};
pub use pool::Pool;
