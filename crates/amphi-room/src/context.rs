//! What a room has at hand while it handles one input: configuration, time, chance, and the way out.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use amphi_stanza::{BareJid, Element, FullJid, Jid, Stanza, XmlWriter, ns};
use bytes::Bytes;
use foldhash::fast::RandomState;
use rand::rngs::StdRng;

use crate::address::to_virtual;
use crate::config::NodeConfig;
use crate::error::RoomError;
use crate::occupant::Peer;
use crate::{ConnId, Output};

/// Which rooms a connection is in, or waits for.
pub(crate) type Memberships = HashMap<ConnId, Vec<BareJid>, RandomState>;

pub(crate) struct Cx<'a> {
    pub(crate) cfg: &'a NodeConfig,
    pub(crate) now: Instant,
    /// Milliseconds since the epoch.
    pub(crate) wall: u64,
    pub(crate) rng: &'a mut StdRng,
    pub(crate) secret: &'a [u8; 32],
    pub(crate) out: &'a mut VecDeque<Output>,
    pub(crate) members: &'a mut Memberships,
}

/// One received stanza with its sender and the address it was sent to, in real form.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) to: &'a Jid,
    pub(crate) stanza: &'a Stanza,
}

impl Request<'_> {
    /// First child of this name in the stanza's own namespace.
    pub(crate) fn plain(&self, name: &str) -> Option<Element<'_>> {
        self.stanza.child(name, ns::CLIENT)
    }
}

impl Cx<'_> {
    pub(crate) fn push(&mut self, o: Output) {
        self.out.push_back(o);
    }

    /// Delivers a complete stanza to one peer.
    pub(crate) fn send(&mut self, to: &Peer, stanza: Bytes) {
        match &to.session {
            Some(s) => self.push(Output::Send { conn: s.conn, stanza }),
            None => self.push(Output::Route(Stanza::authored(stanza))),
        }
    }

    /// A login under this name is let onto the stage of the room.
    pub(crate) fn promise(&mut self, room: BareJid, username: String) {
        let ttl = amphi_visitors::PromotionLimits::default().name_ttl;
        self.push(Output::Promised { room, username, ttl });
    }

    /// Sends a stanza towards its `to`, over a link or to a component.
    pub(crate) fn route(&mut self, stanza: Stanza) {
        self.push(Output::Route(stanza));
    }

    /// An address of this node as `peer` knows it.
    pub(crate) fn seen_by(&self, peer: &Peer, real: &Jid) -> Jid {
        if peer.is_local() { to_virtual(self.cfg, real) } else { real.clone() }
    }

    /// Answers a request with an error. Errors and results are not answered (RFC 6120 §8.3.1).
    pub(crate) fn refuse(&mut self, rq: &Request<'_>, error: &RoomError) {
        let name = match rq.stanza.root().name() {
            "message" => "message",
            "presence" => "presence",
            "iq" => "iq",
            _ => return,
        };
        // Nothing but answers to IQs goes from a visitor node to people on stage (spec/signaling.md 4.6).
        if name != "iq" && !rq.peer.is_local() && self.cfg.node().is_some() {
            return;
        }
        let ty = rq.stanza.ty();
        if ty.as_deref() == Some("error") || (name == "iq" && ty.as_deref() == Some("result")) {
            return;
        }
        let mut w = XmlWriter::new();
        w.open_ns(name, ns::CLIENT).attr("type", "error").attr_opt("id", rq.stanza.id());
        w.attr("from", self.seen_by(rq.peer, rq.to)).attr("to", &rq.peer.jid);
        error.stanza_error().write(&mut w, None);
        if let RoomError::Lobby { lobby, .. } = error {
            if let Some(l) = lobby {
                w.text_element("lobbyroom", l.as_str());
            }
            w.empty("x", ns::MUC);
        }
        self.send(rq.peer, w.finish());
    }

    /// Answers an IQ with a result.
    pub(crate) fn result(&mut self, rq: &Request<'_>, content: impl FnOnce(&mut XmlWriter)) {
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT).attr("type", "result").attr_opt("id", rq.stanza.id());
        w.attr("from", self.seen_by(rq.peer, rq.to)).attr("to", &rq.peer.jid);
        content(&mut w);
        self.send(rq.peer, w.finish());
    }

    /// Remembers that a connection is in a room, or waits for it, so that its end is noticed there.
    pub(crate) fn note_member(&mut self, peer: &Peer, room: &BareJid) {
        if let Some(s) = &peer.session {
            let rooms = self.members.entry(s.conn).or_default();
            if !rooms.contains(room) {
                rooms.push(room.clone());
            }
        }
    }

    /// The connection has nothing to do with the room any more.
    pub(crate) fn forget_member(&mut self, peer: &Peer, room: &BareJid) {
        if let Some(s) = &peer.session
            && let Some(rooms) = self.members.get_mut(&s.conn)
        {
            rooms.retain(|r| r != room);
            if rooms.is_empty() {
                self.members.remove(&s.conn);
            }
        }
    }

    /// A random UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let bytes: [u8; 16] = rand::Rng::random(self.rng);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// The time as XEP-0082 writes it.
    pub(crate) fn stamp(&self) -> String {
        stamp(self.wall)
    }

    /// A keyed hash, for ids that others must not be able to compute.
    pub(crate) fn keyed(&self, what: &str, parts: &[&str]) -> [u8; 20] {
        use sha1::Digest;
        let mut h = sha1::Sha1::new();
        h.update(self.secret);
        h.update(what);
        for p in parts {
            h.update([0]);
            h.update(p);
        }
        // Twice, so that the secret cannot be extended over.
        let inner = h.finalize();
        let mut h = sha1::Sha1::new();
        h.update(self.secret);
        h.update(inner);
        h.finalize().into()
    }
}

/// Milliseconds since the epoch as XEP-0082 writes them.
pub(crate) fn stamp(wall: u64) -> String {
    let ms = i64::try_from(wall).unwrap_or(0);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// The occupant `nick` of a room at `base`.
pub(crate) fn occupant_jid(base: &BareJid, nick: &str) -> FullJid {
    // The nick has been a resource before.
    base.occupant(nick).expect("a nick that entered is a resource")
}
