//! The conference focus: decides who is on stage and who is in the audience, joins rooms, opens and links shadow rooms on
//! visitor nodes, and keeps the audience's numbers. It is an ordinary XMPP client of the main node and of every visitor
//! node (`spec/focus.md` 1 to 4) and sees nothing but stanzas.
//!
//! The crate is sans-IO: feed [`Focus::handle`], then drain [`Focus::poll_output`], then ask [`Focus::poll_timeout`]
//! when [`Input::Tick`] is wanted. Connections, HTTP and clocks belong to the caller. Media sessions and bridges are in
//! `media`; without a brewery in [`MediaConfig`] nobody is invited.

mod admission;
mod answer;
mod auth;
mod conference;
mod config;
mod core;
mod disco;
mod ended;
mod focus;
mod iq;
mod lifecycle;
mod link;
mod media;
mod member;
mod metadata;
mod metrics;
mod muc;
mod nodes;
mod operator;
mod owner;
mod pace;
mod pending;
mod publish;
mod request;
mod route;
mod seats;
mod stage;
mod surface;
mod token;
mod visitors;

pub use answer::{ConferenceAnswer, RequestError};
pub use config::{AuthConfig, FocusConfig, Limits, LiveReading, VnodeConfig};
pub use focus::{ConferenceStatus, Focus, MemberStatus, NodeStatus, VroomStatus};
pub use media::config::{
    Codecs, Extension, HealthChecks, IceFailures, MediaConfig, MediaLimits, Redistribution, RestartLimits, Strategy,
    Topology, VideoCodec,
};
pub use metrics::Metrics;
pub use request::ConferenceRequest;
pub use surface::{
    BridgeStatus, Decision, EndReason, Event, Input, Meeting, Move, MoveError, NodeId, Output, Place, VisitorChange,
};
