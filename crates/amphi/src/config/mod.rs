//! The configuration: one TOML file in which every key is optional, overlaid by the environment and the command line.
//!
//! Two stages. [`Layers`] become a [`File`]: right keys, right types. A [`File`] becomes a [`Config`]: addresses parsed,
//! secrets read, names valid, usual hosts filled in, contradictions named. The rest of the program sees only [`Config`].

mod acme;
mod admin;
mod bridge;
mod bridge_check;
mod check;
mod checked;
mod error;
mod file;
mod focus;
mod hosts;
mod layers;
mod limits;
mod lobby;
mod media;
mod nodes;
mod queue;
pub mod reference;
mod scalars;
mod schema;
mod secret;
mod services;
#[cfg(test)]
mod tests;
mod units;
mod visitors;
mod web;

pub use acme::{Acme, AcmeFile};
pub use admin::{AdminFile, WebhookFile};
pub use bridge::{BridgeFile, BridgeLoginFile};
pub use bridge_check::{Bridge, BridgeLogin, BridgePlace};
pub use checked::{
    Admin, Certificate, Config, Focus, FocusPlace, Listen, Peer, Roles, Tls, VisitorNode, Visitors, Webhook, WhereNode,
};
pub use error::{ConfigError, Mistake, Place};
pub use file::{File, Links, ListenFile, LogFile, LogFormat, MetricsFile, Promotion, TlsFile};
pub use focus::{FocusAuthentication, FocusFile, Live};
pub use hosts::{AccountFile, Auth, HostFile, MucFile, MucKind, NickRule};
pub use layers::{Layered, Layers, Places, VARIABLE_PREFIX};
pub use limits::LimitsFile;
pub use media::{BridgeStrategy, BridgeTopology, MediaFile};
pub use nodes::{Account, Host, Login, Muc, Node, TokenKey, TokenLogin};
pub use queue::QueueFile;
pub use secret::Password;
pub use services::{Service, ServiceFile, ServiceKind, Transport};
pub use units::{BadUnit, Size, Span};
pub use visitors::{NodeFile, VisitorsFile};
pub use web::{Web, WebFile};
