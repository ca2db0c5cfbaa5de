//! The way of a client from the stream's opening to its own presence: features, authentication, bind, stream management,
//! the request by IQ, the join (spec/client.md 3 to 7 and 10).

use std::sync::Arc;

use super::{Client, Nanos, Output, Role, Scene, Sink, State};
use crate::{
    frame::Opcode,
    scan,
    script::{Admission, Xml},
};

impl Client {
    pub(super) fn open(&mut self, sink: &mut Sink) {
        let place = Arc::clone(&self.place);
        self.send(sink, |out| {
            Xml(out)
                .raw("<open to=\"")
                .esc(&place.domain)
                .raw("\" version=\"1.0\" xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\"/>");
        });
    }

    pub(super) fn features(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        match self.state {
            State::Opening if scan::has(xml, ">ANONYMOUS<") => {
                self.state = State::Authenticating;
                self.write(
                    sink,
                    Opcode::Text,
                    br#"<auth mechanism="ANONYMOUS" xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>"#,
                );
            }
            State::Opening => self.fail("authentication: ANONYMOUS is not offered", sink),
            State::Reopening if scan::child(xml, "bind").is_some() => {
                self.stream.offers_management = scan::has(xml, "urn:xmpp:sm:3");
                self.stream.offers_session = scan::child(xml, "session").is_some();
                self.state = State::Binding;
                let bind: &[u8] = br#"<iq id="_bind_auth_2" type="set" xmlns="jabber:client"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>"#;
                self.write(sink, Opcode::Text, bind);
            }
            State::Reopening => self.broken(now, "bind is not offered", scene, sink),
            _ => {}
        }
    }

    pub(super) fn bound(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        let Some(jid) = scan::text_after(xml, "<jid>") else {
            return self.fail("bind: no JID in the answer", sink);
        };
        let head = &jid.as_bytes()[..jid.len().min(8)];
        if head.len() == 8 && head.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            self.nick.copy_from_slice(head);
        } else {
            let digits = format!("{:08x}", self.random() as u32);
            self.nick.copy_from_slice(digits.as_bytes());
        }
        if !self.stream.offers_session {
            return self.manage(now, scene, sink);
        }
        self.state = State::OpeningSession;
        let session: &[u8] = br#"<iq id="_session_auth_2" type="set" xmlns="jabber:client"><session xmlns="urn:ietf:params:xml:ns:xmpp-session"/></iq>"#;
        self.write(sink, Opcode::Text, session);
    }

    pub(super) fn manage(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        if !self.stream.offers_management {
            return self.online(now, scene, sink);
        }
        self.state = State::Enabling;
        self.write(sink, Opcode::Text, br#"<enable resume="true" xmlns="urn:xmpp:sm:3"/>"#);
    }

    pub(super) fn online(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        let iq_first = matches!(scene.script.admission, Admission::Iq(_)) && self.place.vnode.is_none();
        if scene.script.queries && !self.stream.metadata_announced {
            let place = Arc::clone(&self.place);
            for (id, query) in [
                ("services:1", "<services xmlns=\"urn:xmpp:extdisco:2\"/>"),
                ("disco:1", "<query xmlns=\"http://jabber.org/protocol/disco#info\"/>"),
            ] {
                self.send_stanza(sink, |out| {
                    let mut xml = Xml(out);
                    xml.raw("<iq type=\"get\" to=\"").esc(&place.domain).raw("\" id=\"").raw(id);
                    xml.raw("\" xmlns=\"jabber:client\">").raw(query).raw("</iq>");
                });
            }
        }
        if iq_first { self.ask_by_iq(now, scene, sink) } else { self.enter(scene, sink) }
    }

    pub(super) fn ask_by_iq(&mut self, _now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        let Admission::Iq(focus) = &scene.script.admission else { return };
        self.state = State::AskingByIq;
        self.deadline = self.started + scene.script.join_timeout;
        let (machine, visitor) = (self.machine(), self.role == Role::Audience);
        self.send_stanza(sink, |out| scene.script.request_iq(out, "conference:1", focus, machine, visitor));
    }

    pub(super) fn enter(&mut self, scene: Scene<'_>, sink: &mut Sink) {
        self.state = State::Joining;
        self.write_presence(true, None, scene, sink);
    }

    pub(super) fn joined(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        self.state = State::Joined;
        self.entered = now;
        self.tracks = scene.board.tracks();
        self.deadline = self.next_check(now, scene);
        sink.stats.join.record(now - self.started);
        sink.stats.entry.record(now.saturating_sub(self.admitted));
        *sink.stats.nodes.entry(self.place.vnode.clone().unwrap_or_default()).or_default() += 1;
        if scene.script.queries {
            let place = Arc::clone(&self.place);
            self.send_stanza(sink, |out| {
                let mut xml = Xml(out);
                xml.raw("<iq type=\"get\" to=\"").esc(&place.room).raw("\" id=\"room:1\" xmlns=\"jabber:client\">");
                xml.raw("<query xmlns=\"http://jabber.org/protocol/disco#info\"/></iq>");
            });
        }
        sink.outputs.push(Output::Joined);
    }
}
