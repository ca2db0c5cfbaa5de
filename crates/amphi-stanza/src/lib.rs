//! XML for XMPP, cheaply: a strict parser that makes an index of spans over the received bytes, JIDs, a writer that
//! escapes by type, and frames whose bytes are shared by all receivers of a broadcast.
//!
//! A [`Stanza`] is one complete top-level element. Nothing in it is copied: reading goes through [`Element`], which
//! looks at the bytes; forwarding goes through [`Stanza::rewrite`], which splices a new start tag before the untouched
//! children. There are no element trees here.
//!
//! What this crate does not do: it knows no protocol rule. Streams are in `amphi-xmpp`, rooms in `amphi-room`.

mod chars;
mod element;
mod error;
mod frame;
mod index;
mod jid;
mod limits;
pub mod ns;
mod parse;
mod rewrite;
mod stream;
mod write;

pub use element::{Attrs, Child, Children, Element, Stanza, StanzaKind};
pub use error::{Condition, ErrorType, StanzaError};
pub use frame::Frame;
pub use jid::{BadJid, BareJid, FullJid, Jid};
pub use limits::{Limits, XmlError};
pub use rewrite::Rewrite;
pub use stream::{StreamEvent, StreamReader};
pub use write::{XmlWriter, escape_into};
