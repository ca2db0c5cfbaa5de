//! Jingle, compact JSON sources and colibri2: the types and their wire forms.
//!
//! The focus writes what the bridge reads, and the other way round; both speak to clients and foreign parts with the same forms. Nothing
//! here keeps state or knows what a conference is. Every element that others send is read within [`Limits`].

pub mod colibri2;
mod error;
mod jingle;
pub mod json;
mod limits;
pub mod ns;
mod read;
mod rtp;
mod source;
mod transport;

pub use error::ParseError;
pub use jingle::{Action, BridgeSession, Content, Description, Jingle, Reason, StartMuted, Trace};
pub use limits::Limits;
pub use rtp::{Feedback, Formats, HeaderExtension, MediaType, Parameter, PayloadType};
pub use source::{MediaSources, Semantics, Source, SourceMap, SourceSet, SsrcGroup, VideoType};
pub use transport::{Candidate, Fingerprint, IceTransport, SctpMap, Setup, WebSocket};
