//! Stanzas of a client: marked lines and presences, answers to whoever asks, pings, and what it sends itself
//! (spec/client.md 6.3, 10.3, 12 to 15).

use std::sync::Arc;

use super::{Client, Nanos, Output, PING_PATIENCE, Role, Scene, Sink, State};
use crate::{
    accept::ACCEPT_ID,
    frame::Opcode,
    marker::{Carrier, Marker},
    scan,
    script::{Persona, Xml},
};

impl Client {
    pub(super) fn message(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        match self.state {
            State::Joined => self.marked(now, xml, scene, sink),
            State::Binding | State::OpeningSession | State::Enabling => {
                self.stream.metadata_announced |= scan::has_attr(xml, "type", "room_metadata");
            }
            _ => {}
        }
        if scan::attr(xml, "type") == Some(b"error") {
            sink.stats.error(&format!("message error: {}", scan::condition(xml)));
        }
    }

    pub(super) fn presence(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        match self.state {
            State::Joined => {
                self.marked(now, xml, scene, sink);
                if scan::attr(xml, "type") == Some(b"unavailable") && self.is_own(xml) {
                    let why =
                        if scan::child(xml, "destroy").is_some() { "room destroyed" } else { "removed from the room" };
                    self.drop_out(why, sink);
                }
            }
            State::Joining if self.is_own(xml) || scan::attr(xml, "type") == Some(b"error") => {
                match scan::attr(xml, "type") {
                    None if scan::has_attr(xml, "code", "110") => self.joined(now, scene, sink),
                    Some(b"error") => {
                        let why = format!("join: {}", scan::condition(xml));
                        // spec/client.md 10.3: the room may not have been created yet; the request is repeated.
                        if scan::has(xml, "Room creation is restricted")
                            || scan::child(xml, "room-does-not-exist").is_some()
                        {
                            self.retry(now, &why, scene, sink);
                        } else {
                            self.fail(&why, sink);
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    pub(super) fn is_own(&self, xml: &[u8]) -> bool {
        let (room, Some(from)) = (self.place.room.as_bytes(), scan::attr(xml, "from")) else { return false };
        from.len() == room.len() + 9 && from.starts_with(room) && from[room.len()] == b'/' && from.ends_with(&self.nick)
    }

    pub(super) fn marked(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        let Some(mark) = Marker::find(xml) else { return };
        if mark.run != scene.script.run {
            sink.stats.strays += u64::from(scene.script.runs.contains(&mark.run));
            return;
        }
        if scan::child(xml, "delay").is_some() {
            sink.stats.history += 1;
            return;
        }
        if scan::attr(xml, "type") == Some(b"error") || scan::attr(xml, "type") == Some(b"unavailable") {
            return;
        }
        if sink.stats.see(scene.board, &mut self.tracks, &mark, xml.len(), now)
            && mark.carrier == Carrier::Chat
            && self.sender == Some(mark.sender)
        {
            sink.stats.echo.record(now.saturating_sub(mark.sent));
        }
    }

    pub(super) fn iq(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        match scan::attr(xml, "type") {
            Some(b"get" | b"set") => self.asked(now, xml, scene, sink),
            Some(b"result") => match (self.state, scan::attr_str(xml, "id")) {
                (State::Binding, Some("_bind_auth_2")) => self.bound(now, xml, scene, sink),
                (State::OpeningSession, Some("_session_auth_2")) => self.manage(now, scene, sink),
                (State::AskingByIq, Some("conference:1")) => {
                    let conference = scan::child(xml, "conference").unwrap_or(b"<none/>");
                    let ready = scan::attr(conference, "ready") == Some(b"true");
                    let live = !scan::has(xml, "name='live' value='false'")
                        && !scan::has(xml, "name=\"live\" value=\"false\"");
                    let vnode = scan::attr_str(conference, "vnode").map(str::to_owned);
                    self.admit(now, ready, live, vnode.as_deref(), scene, sink);
                }
                (_, Some(ACCEPT_ID)) => {
                    sink.stats.accepted += 1;
                    sink.stats.accept.record(now.saturating_sub(self.entered));
                }
                _ => {}
            },
            Some(b"error") => {
                let id = scan::attr_str(xml, "id").unwrap_or_default();
                let why = |what: &str| format!("{what}: {}", scan::condition(xml));
                match id {
                    "_bind_auth_2" => self.fail(&why("bind"), sink),
                    "_session_auth_2" => self.fail(&why("session"), sink),
                    "conference:1" => self.fail(&why("conference request"), sink),
                    ACCEPT_ID => sink.stats.error(&why("session-accept")),
                    "services:1" | "disco:1" | "room:1" => sink.stats.error(&why("query refused")),
                    _ => sink.stats.error(&why("iq error")),
                }
            }
            _ => {}
        }
    }

    /// Answers a request as the client would.
    pub(super) fn asked(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        let to = scan::attr(xml, "from").unwrap_or_default().to_vec();
        let id = scan::attr(xml, "id").unwrap_or_default().to_vec();
        if scan::has(xml, "http://jabber.org/protocol/disco#info") {
            sink.stats.disco_answers += 1;
            let node = scan::child(xml, "query").and_then(|q| scan::attr(q, "node"));
            self.send_stanza(sink, |out| scene.script.disco_answer(out, &to, &id, node));
            return;
        }
        // spec/client.md 15.3: the client never answers the answer to a raised hand.
        if scan::has(xml, "promotion-response") {
            return;
        }
        let known = scan::has(xml, "urn:xmpp:ping") || scan::has(xml, "urn:xmpp:jingle:1");
        self.send_stanza(sink, |out| {
            let mut answer = Xml(out);
            answer.raw("<iq type=\"").raw(if known { "result" } else { "error" });
            answer.raw("\" id=\"").escaped(&id);
            if !to.is_empty() {
                answer.raw("\" to=\"").escaped(&to);
            }
            answer.raw("\" xmlns=\"jabber:client\"");
            if known {
                answer.raw("/>");
            } else {
                answer.raw(
                    "><error type=\"cancel\"><service-unavailable xmlns=\"urn:ietf:params:xml:ns:xmpp-stanzas\"/>",
                );
                answer.raw("</error></iq>");
            }
        });
        if scan::has(xml, "\"session-initiate\"") || scan::has(xml, "'session-initiate'") {
            sink.stats.offers += 1;
            if self.entered > 0 {
                sink.stats.offer.record(now.saturating_sub(self.entered));
            }
            if scene.script.accepts {
                sink.offers.push_back(xml.to_vec());
                sink.outputs.push(Output::Offer);
            }
        }
    }

    pub(super) fn acknowledged(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        let h = scan::attr_str(xml, "h").and_then(|h| h.parse::<u32>().ok());
        match h {
            Some(h) if h >= self.stream.acked && h <= self.stream.sent => self.stream.acked = h,
            // spec/client.md 5: an impossible count kills acknowledgements in the client.
            _ => {
                sink.stats.malformed += 1;
                let why = format!("impossible acknowledgement: {:?} of {}", h, self.stream.sent);
                self.broken(now, &why, scene, sink);
            }
        }
    }

    pub(super) fn next_check(&self, from: Nanos, scene: Scene<'_>) -> Nanos {
        if scene.script.ping_after == 0 { Nanos::MAX } else { from + scene.script.ping_after }
    }

    /// Pings when nothing was heard for long, gives up after two pings without anything heard (spec/client.md 6.3).
    pub(super) fn check_alive(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        let stream = &mut self.stream;
        if stream.ping_sent > 0 && self.heard < stream.ping_sent {
            stream.pings_missed += 1;
            if stream.pings_missed >= 2 {
                return self.drop_out("two pings without an answer", sink);
            }
        } else {
            stream.pings_missed = 0;
            if now < self.heard + scene.script.ping_after {
                stream.ping_sent = 0;
                self.deadline = self.next_check(self.heard, scene);
                return;
            }
        }
        self.stream.ping_sent = now;
        self.deadline = now + PING_PATIENCE;
        sink.stats.pings += 1;
        let place = Arc::clone(&self.place);
        self.send_stanza(sink, |out| {
            let mut xml = Xml(out);
            xml.raw("<iq type=\"get\" to=\"").esc(&place.domain).raw("\" id=\"ping:1\" xmlns=\"jabber:client\">");
            xml.raw("<ping xmlns=\"urn:xmpp:ping\"/></iq>");
        });
    }

    pub(super) fn mark(&self, now: Nanos, carrier: Carrier, scene: Scene<'_>) -> Option<Marker> {
        let sender = self.sender.filter(|_| self.is_joined())?;
        let seq = scene.board.next(carrier, sender);
        Some(Marker { run: scene.script.run, carrier, sender, seq, sent: now })
    }

    pub(super) fn send_line(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        let Some(mark) = self.mark(now, Carrier::Chat, scene) else {
            return sink.stats.error("line not sent: not in the room");
        };
        let place = Arc::clone(&self.place);
        self.send_stanza(sink, |out| scene.script.line(out, &place.room, &mark));
    }

    pub(super) fn send_presence(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        let Some(mark) = self.mark(now, Carrier::Presence, scene) else {
            return sink.stats.error("presence not sent: not in the room");
        };
        self.write_presence(false, Some(&mark), scene, sink);
    }

    pub(super) fn write_presence(&mut self, join: bool, mark: Option<&Marker>, scene: Scene<'_>, sink: &mut Sink) {
        let place = Arc::clone(&self.place);
        let nick = self.nick;
        let nick = std::str::from_utf8(&nick).unwrap_or("00000000");
        let stage = self.role == Role::Stage;
        let name = format!("{} {}", if stage { "Speaker" } else { "Visitor" }, self.index);
        let who = Persona { name: &name, stats_id: "Cathryn-P4c", machine: self.machine(), sources: stage };
        self.send_stanza(sink, |out| scene.script.presence(out, (&place.room, nick), &who, join, mark));
    }

    pub(super) fn leave(&mut self, sink: &mut Sink) {
        if self.state == State::Joined {
            // spec/client.md 13: what a client sends when its page is closed.
            self.send(sink, |out| out.extend_from_slice(br#"<presence type="unavailable" xmlns="jabber:client"/>"#));
        }
        if self.connected && !matches!(self.state, State::Connecting | State::Upgrading) {
            self.close_stream(sink);
        }
        if self.connected {
            sink.outputs.push(Output::Close);
        }
        self.connected = false;
        self.state = State::Left;
        self.deadline = Nanos::MAX;
    }

    pub(super) fn close_stream(&mut self, sink: &mut Sink) {
        self.write(sink, Opcode::Text, br#"<close xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>"#);
        self.write(sink, Opcode::Close, &1000u16.to_be_bytes());
    }
}
