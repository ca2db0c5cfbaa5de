//! How elements travel, and what the start and the end of a stream look like in each framing.

use bytes::Bytes;

use amphi_stanza::{Stanza, XmlWriter, ns};

use crate::{StreamCondition, StreamError};

/// End of a WebSocket stream. Clients compare it byte by byte (`spec/client.md` 3).
pub const CLOSE: &str = "<close xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\" />";

/// End of a TCP stream.
pub const STREAM_END: &str = "</stream:stream>";

/// How elements travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// RFC 7395: one element per message.
    WebSocket,
    /// RFC 6120: one document per direction.
    Tcp,
    /// XEP-0206: elements in bodies, a restart is an attribute.
    Bosh,
}

/// How well the transport is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// Not at all: on TCP, STARTTLS comes first.
    Plain,
    /// By TLS, or HTTP behind a proxy that does TLS.
    Encrypted,
    /// A connection on a secure interface, such as loopback (`spec/signaling.md` 2.12).
    Trusted,
}

impl Framing {
    /// Checks a stream header of this framing. For BOSH it is the body that creates or restarts the session.
    pub(super) fn check_header(self, header: &Stanza) -> Result<(), StreamError> {
        let root = header.root();
        let (name, namespace) = match self {
            Self::WebSocket => ("open", ns::FRAMING),
            Self::Tcp => ("stream", ns::STREAM),
            Self::Bosh => ("body", ns::BOSH),
        };
        if root.name() != name {
            return Err(StreamError::new(StreamCondition::BadFormat).text("stream header is wanted"));
        }
        if root.ns() != namespace {
            return Err(StreamError::new(StreamCondition::InvalidNamespace));
        }
        if self == Self::Tcp && root.attr("xmlns").as_deref() != Some(ns::CLIENT) {
            return Err(StreamError::new(StreamCondition::InvalidNamespace).text("jabber:client is wanted"));
        }
        // RFC 6120 §4.7.5: no version means 0.9, before SASL. In BOSH it is optional (XEP-0206 §3).
        let version = if self == Self::Bosh { root.attr("xmpp:version") } else { root.attr("version") };
        match version.as_deref() {
            None if self == Self::Bosh => Ok(()),
            Some(v) if v.split('.').next().and_then(|m| m.parse::<u32>().ok()).is_some_and(|m| m >= 1) => Ok(()),
            _ => Err(StreamError::new(StreamCondition::UnsupportedVersion)),
        }
    }

    /// The answer to a stream header, up to the id and after it. BOSH has none.
    pub(super) fn header_parts(self, host: &str) -> (Bytes, Bytes) {
        let name = match self {
            Self::WebSocket => "open",
            Self::Tcp => "stream:stream",
            Self::Bosh => return (Bytes::new(), Bytes::new()),
        };
        let mut w = XmlWriter::new();
        w.open(name);
        if self == Self::Tcp {
            w.attr("xmlns:stream", ns::STREAM);
        }
        w.attr("xmlns", if self == Self::Tcp { ns::CLIENT } else { ns::FRAMING });
        w.attr("version", "1.0").attr("xml:lang", "en");
        w.attr_opt("from", (!host.is_empty()).then_some(host)).attr("id", "");
        let tag = w.finish_string();
        // The tag ends in `id=''/>`; a TCP stream stays open.
        let cut = tag.len() - "'/>".len();
        let head = match self {
            Self::Tcp => ["<?xml version='1.0'?>", &tag[..cut]].concat(),
            _ => tag[..cut].to_owned(),
        };
        let tail: &'static [u8] = if self == Self::Tcp { b"'>" } else { b"'/>" };
        (Bytes::from(head.into_boxed_str().into_boxed_bytes()), Bytes::from_static(tail))
    }

    /// What ends a stream in this framing; `None` for BOSH, where the session ends it.
    pub fn end(self) -> Option<Bytes> {
        match self {
            Self::WebSocket => Some(Bytes::from_static(CLOSE.as_bytes())),
            Self::Tcp => Some(Bytes::from_static(STREAM_END.as_bytes())),
            Self::Bosh => None,
        }
    }

    /// A header for a stream that fails before its host is known (RFC 6120 §4.9.1.2: an error comes after a header).
    pub(super) fn header(self, host: &str, id: &str) -> Option<Bytes> {
        if self == Self::Bosh {
            return None;
        }
        let (head, tail) = self.header_parts(host);
        Some([&head[..], id.as_bytes(), &tail[..]].concat().into())
    }
}
