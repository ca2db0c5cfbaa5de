//! Stanzas on their way to the conference, or the part of the focus, that they are for. Nothing that a peer sends is an
//! error of the stream: what cannot be understood is answered where an answer is due, and counted.

use std::time::Instant;

use amphi_stanza::{BareJid, Condition, ErrorType, Jid, Stanza, StanzaError, StanzaKind, XmlWriter, ns};

use crate::core::{ReplyTo, Waiting};
use crate::iq::{Answered, Purpose};
use crate::media::mute::{self, ModerationChange, Muted};
use crate::metadata::RoomMetadata;
use crate::{AuthConfig, ConferenceAnswer, ConferenceRequest, Event, Focus, NodeId, RequestError, disco};

impl Focus {
    fn bad(&mut self, node: &NodeId, why: &str) {
        self.core.metrics.bad_stanzas += 1;
        self.core.event(Event::BadStanza { node: node.clone(), why: why.to_owned() });
    }

    pub(crate) fn stanza(&mut self, now: Instant, node: &NodeId, stanza: &Stanza) {
        match stanza.kind() {
            StanzaKind::Presence => self.presence(now, node, stanza),
            StanzaKind::Message => self.message(now, node, stanza),
            StanzaKind::Iq => match stanza.ty().as_deref() {
                Some("result" | "error") => {
                    if self.media_answer(now, node, stanza) {
                        return;
                    }
                    if let Some((purpose, answered)) = self.core.iqs.answer(node, stanza) {
                        self.answered(now, purpose, answered);
                    }
                }
                Some("get" | "set") => self.iq_request(now, node, stanza),
                _ => self.bad(node, "an IQ of no known type"),
            },
            StanzaKind::Other => self.bad(node, "no stanza"),
        }
    }

    pub(crate) fn answered(&mut self, now: Instant, purpose: Purpose, answered: Answered) {
        match purpose.room.clone() {
            None => self.components(now, answered),
            Some(room) => self.with(now, &room, |c, core| c.on_answer(core, now, purpose, answered)),
        }
    }

    fn presence(&mut self, now: Instant, node: &NodeId, stanza: &Stanza) {
        let Ok(Some(from)) = stanza.from() else {
            self.bad(node, "a presence without a valid sender");
            return;
        };
        match stanza.ty().as_deref() {
            Some("subscribe") => return self.subscription(node, &from),
            Some("subscribed" | "unsubscribe" | "unsubscribed" | "probe") => return,
            _ => {}
        }
        // Presence of something that is no occupant: our own resources, contacts.
        let (Some(nick), Some(room)) = (from.resource(), from.to_bare().as_bare()) else { return };
        if self.core.media.brewery.room.as_ref() == Some(&room) {
            if *node == self.core.bridge_node() {
                self.brewery_presence(now, nick, stanza);
            }
            return;
        }
        match node {
            NodeId::Service => {}
            NodeId::Main => self.with(now, &room, |c, core| c.on_main_presence(core, now, nick, stanza)),
            NodeId::Vnode(name) => {
                let Some(main) = self.main_room(name, &room) else { return };
                let name = name.clone();
                self.with(now, &main, |c, core| {
                    if c.vrooms.get(&name).is_some_and(|v| v.muc.jid == room) {
                        c.on_vroom_presence(core, now, &name, nick, stanza);
                    }
                });
            }
        }
    }

    /// The main room of a shadow room: the node's domain in its address is the main domain there.
    fn main_room(&self, vnode: &str, vroom: &BareJid) -> Option<BareJid> {
        let domain = &self.core.nodes.get(vnode)?.domain;
        let prefix = vroom.domain().strip_suffix(domain.as_str())?;
        BareJid::new(vroom.node(), &format!("{prefix}{}", self.core.config.xmpp_domain)).ok()
    }

    /// The proxy that forwards conference requests learns where we are from our presence.
    fn subscription(&mut self, node: &NodeId, from: &Jid) {
        let proxy = self.core.config.client_proxy.as_deref() == Some(from.bare_str());
        let mut w = XmlWriter::new();
        w.open_ns("presence", ns::CLIENT).attr("to", from.bare_str());
        w.attr("type", if proxy { "subscribed" } else { "unsubscribed" });
        self.core.send(node, w);
        if proxy {
            self.initial_presence(node);
        }
    }

    fn message(&mut self, now: Instant, node: &NodeId, stanza: &Stanza) {
        let from = stanza.from().ok().flatten();
        if *node != NodeId::Main || from.is_none() {
            return;
        }
        let components = &self.core.main.components;
        if from == components.av_moderation {
            let max = self.core.config.media.limits.whitelist;
            let change = mute::json_message(stanza).and_then(|json| ModerationChange::parse(&json.text(), max));
            if let Some((room, change)) = change.and_then(|c| Some((c.room.clone()?, c))) {
                self.with(now, &room, |c, core| c.on_moderation(core, now, change));
                return;
            }
        }
        if from != self.core.main.components.room_metadata {
            return;
        }
        let Some(json) = stanza.child("json-message", ns::JITMEET) else { return };
        let room = json.attr("room").and_then(|r| BareJid::parse(&r).ok());
        match (room, RoomMetadata::parse(&json.text())) {
            (Some(room), Some(m)) => self.with(now, &room, |c, core| c.on_metadata(core, now, &m)),
            _ => self.bad(node, "no room metadata"),
        }
    }

    fn iq_request(&mut self, now: Instant, node: &NodeId, stanza: &Stanza) {
        let set = stanza.ty().as_deref() == Some("set");
        if *node == NodeId::Main
            && let Some(e) = stanza.children().find(|e| e.ns() == ns::FOCUS)
        {
            match (e.name(), set) {
                ("conference", true) => return self.conference_iq(now, stanza),
                ("logout", true) => return self.logout(stanza),
                ("login-url", false) => return self.login_url(stanza),
                _ => {}
            }
        }
        if set && self.core.media.brewery.room.is_some() {
            if stanza.child("jingle", ns::JINGLE).is_some() {
                return self.jingle_iq(now, node, stanza);
            }
            if *node == NodeId::Main && Muted::of(stanza).is_some() {
                return self.mute_iq(now, stanza);
            }
        }
        if let Some(w) = disco::answer(stanza) {
            self.core.send(node, w);
        }
    }

    /// The conference of an occupant, and its nick.
    fn occupant(&self, node: &NodeId, stanza: &Stanza) -> Option<(BareJid, String)> {
        let from = stanza.from().ok()??;
        let (room, nick) = (from.to_bare().as_bare()?, from.resource()?.to_owned());
        let main = match node {
            NodeId::Main => room,
            NodeId::Vnode(v) => self.main_room(v, &room)?,
            NodeId::Service => return None,
        };
        self.has_conference(&main).then_some((main, nick))
    }

    fn unknown_conference(&mut self, node: &NodeId, stanza: &Stanza) {
        let error = StanzaError::new(ErrorType::Cancel, Condition::ItemNotFound).text("no such conference");
        self.core.answer(node, stanza, Err(error));
    }

    fn jingle_iq(&mut self, now: Instant, node: &NodeId, stanza: &Stanza) {
        match self.occupant(node, stanza) {
            Some((room, nick)) => self.with(now, &room, |c, core| c.on_jingle(core, now, node, &nick, stanza)),
            None => self.unknown_conference(node, stanza),
        }
    }

    fn mute_iq(&mut self, now: Instant, stanza: &Stanza) {
        match self.occupant(&NodeId::Main, stanza) {
            Some((room, nick)) => self.with(now, &room, |c, core| c.on_mute(core, now, &nick, stanza)),
            None => self.unknown_conference(&NodeId::Main, stanza),
        }
    }

    /// Whoever is behind the proxy.
    fn requester(&self, stanza: &Stanza) -> Option<Jid> {
        let from = stanza.from().ok()??;
        if from.local().is_none() && self.core.config.client_proxy.as_deref() == Some(from.domain()) {
            return from.resource().and_then(|r| Jid::parse(r).ok());
        }
        Some(from)
    }

    fn reply_to(stanza: &Stanza) -> Option<ReplyTo> {
        let owned = |name: &str| stanza.attr(name).map(|v| v.into_owned());
        Some(ReplyTo::Iq { id: owned("id"), from: owned("to"), to: owned("from")? })
    }

    fn conference_iq(&mut self, now: Instant, stanza: &Stanza) {
        let Some(reply) = Self::reply_to(stanza) else { return };
        let request = match (self.requester(stanza), stanza.child("conference", ns::FOCUS)) {
            (Some(from), Some(e)) => ConferenceRequest::from_element(e, from),
            _ => Err(RequestError::BadRequest("no valid sender")),
        };
        match request {
            Ok(request) => {
                let answer = ConferenceAnswer { room: request.room_text.clone(), ..ConferenceAnswer::default() };
                self.request(now, Waiting { reply, request, peer: None, answer, why: None, because: "" });
            }
            Err(e) => {
                self.core.metrics.conference_requests += 1;
                self.core.reply(reply, Err(e));
            }
        }
    }

    fn result(stanza: &Stanza) -> XmlWriter {
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT).attr("type", "result").attr_opt("id", stanza.id());
        w.attr_opt("from", stanza.attr("to")).attr_opt("to", stanza.attr("from"));
        w
    }

    fn logout(&mut self, stanza: &Stanza) {
        let id = stanza.child("logout", ns::FOCUS).and_then(|e| e.attr("session-id"));
        match self.core.auth.logout(id.as_deref().unwrap_or_default()) {
            Ok(()) => {
                let mut w = Self::result(stanza);
                w.empty("logout", ns::FOCUS);
                self.core.send(&NodeId::Main, w);
            }
            Err(e) => {
                if let Some(answer) = e.stanza_error().answer(stanza) {
                    let mut w = XmlWriter::new();
                    w.element(answer.root());
                    self.core.send(&NodeId::Main, w);
                }
            }
        }
    }

    fn login_url(&mut self, stanza: &Stanza) {
        let room = stanza.child("login-url", ns::FOCUS).and_then(|e| e.attr("room"));
        let (AuthConfig::Xmpp { .. }, Some(Ok(room))) = (&self.core.config.auth, room.map(|r| BareJid::parse(&r)))
        else {
            if let Some(w) = disco::answer(stanza) {
                self.core.send(&NodeId::Main, w);
            }
            return;
        };
        let mut w = Self::result(stanza);
        let url = percent_encoded(&format!("./{}?login=true", room.node()));
        w.open_ns("login-url", ns::FOCUS).attr("room", &room).attr("url", url);
        self.core.send(&NodeId::Main, w);
    }
}

/// Percent-encoded, as a URL is wanted inside of an attribute by clients.
fn percent_encoded(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for b in s.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'*') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}
