//! Colibri2: how a focus tells a bridge what to do (`spec/focus.md` 5). The focus writes requests and reads answers; the
//! bridge reads requests and writes answers, with the same types.

mod connect;
mod endpoint;
mod error;
mod request;

pub use connect::{Connect, ConnectType, Ping};
pub use endpoint::{
    Capabilities, Endpoint, ForceMute, KnownMedia, Media, MediaSource, Relay, Sctp, SctpRole, Transport, media_text,
};
pub use error::{ColibriError, ErrorReason};
pub use request::{ConferenceModified, ConferenceModify};
