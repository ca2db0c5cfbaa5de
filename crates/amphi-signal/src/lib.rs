//! The IO of the signaling roles: listeners, TLS, shards with connections and hubs, links, the HTTP front.
//!
//! ```text
//! front ──► shard (connections) ──► hub (rooms) ──► shards, links
//! c2s   ──►                                   ──► virtual connections (focus, BOSH)
//! ```
//!
//! Protocol rules are not here: streams are in `amphi-xmpp`, rooms in `amphi-room`, conferences in `amphi-focus`, the visitor queue in
//! `amphi-queue`.

mod addresses;
mod backend;
mod bosh;
mod budget;
mod focus_task;
mod front;
mod hosts;
mod http;
mod hub_task;
pub mod journal;
mod links;
mod metrics;
mod node;
mod operator;
mod operators;
mod queue;
mod server;
mod service;
mod shard;
mod timer;
mod tls;
mod token;
mod transport;
mod virt;

pub use addresses::AddressLimit;
pub use focus_task::{FocusHandle, FocusView};
pub use front::FrontSettings;
pub use hosts::{Account, HostAuth};
pub use links::{LinkSettings, PeerSettings};
pub use node::FocusProxy;
pub use operator::{LinkFigures, NodeFigures, Operator, Totals};
pub use queue::{QueueSettings, ServiceSettings, ServiceToken};
pub use server::{
    AdminRoutes, FocusTarget, FrontServer, HostSettings, NodeSettings, Server, ServerSettings, StartError,
};
pub use service::{Retry, ServiceLink};
pub use shard::ShardSettings;
pub use tls::{CertificateSource, TlsError, fingerprint};
pub use token::{TokenError, TokenSettings};
