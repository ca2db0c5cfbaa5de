//! From the stream header to `Online`: TLS, login, bind or resumption; and the elements of stream management.

use std::time::Instant;

use amphi_stanza::{FullJid, Stanza, StanzaKind, XmlWriter, ns};

use super::{ClientStream, Phase};
use crate::client::{ClientOutput, CloseReason, Credentials};
use crate::link::{Features, wire};
use crate::s2s::Tls;
use crate::sasl::Mechanism;
use crate::sasl::client::{Login, Step};
use crate::{StreamCondition, StreamError};

/// Id of the bind request; nothing else is on the stream then.
const BIND_ID: &str = "bind";

impl ClientStream {
    pub(super) fn open(&mut self, now: Instant) {
        let h = wire::Header { xmlns: ns::CLIENT, from: None, to: Some(&self.config.domain), id: None }.write();
        self.send_bytes(now, &h);
        self.phase = Phase::Header;
    }

    pub(super) fn header(&mut self, now: Instant, h: &Stanza) {
        let root = h.root();
        if !matches!(self.phase, Phase::Header) {
            return self.violated(now, StreamCondition::NotWellFormed, "a second stream header");
        }
        if !root.is("stream", ns::STREAM) || root.attr("xmlns").as_deref() != Some(ns::CLIENT) {
            return self.violated(now, StreamCondition::InvalidNamespace, "not a stream for clients");
        }
        if root.attr("version").and_then(|v| v.split('.').next()?.parse::<u32>().ok()).is_none_or(|m| m < 1) {
            return self.violated(now, StreamCondition::UnsupportedVersion, "no XMPP 1.0");
        }
        self.phase = Phase::Features;
    }

    pub(super) fn element(&mut self, now: Instant, s: Stanza) {
        let root = s.root();
        if root.is("error", ns::STREAM) {
            return self.stream_error(now, &s);
        }
        if let Phase::Login(login) = &mut self.phase {
            return match login.handle(root) {
                Ok(Step::Send(bytes)) => self.send_bytes(now, &bytes),
                Ok(Step::Done) => {
                    self.authenticated = true;
                    self.out.push(ClientOutput::Restart);
                    self.open(now);
                }
                Err(e) => self.give_up(now, e.into()),
            };
        }
        if s.kind() != StanzaKind::Other {
            return match self.phase {
                Phase::Online => self.stanza(s),
                Phase::Binding => self.bind_result(now, s),
                _ => self.violated(now, StreamCondition::NotAuthorized, "a stanza before bind"),
            };
        }
        match (&self.phase, root.name(), root.ns()) {
            (Phase::Features, "features", ns::STREAM) => self.read_features(now, &s),
            (Phase::AskedTls, "proceed", ns::TLS) => {
                self.phase = Phase::Handshake;
                self.out.push(ClientOutput::StartTls);
            }
            (Phase::AskedTls, "failure", ns::TLS) => self.end(CloseReason::Tls("refused by the server")),
            (Phase::Resuming, "resumed", ns::SM) => self.resumed(now, &s),
            (Phase::Resuming, "failed", ns::SM) => {
                // XEP-0198 §5: the server may still tell how far it had come.
                if let Some(h) = wire::read_h(&root) {
                    let _ = self.outbox.ack(h);
                }
                self.start_over();
                self.bind(now);
            }
            (Phase::Online, "enabled", ns::SM) if self.enabling => {
                self.enabling = false;
                self.managed = true;
                self.handled = 0;
                self.outbox.start_counting();
                let resume = matches!(s.attr("resume").as_deref(), Some("true" | "1"));
                self.session = s.id().filter(|_| resume).map(|id| id.into_owned());
                self.online(now);
            }
            (Phase::Online, "failed", ns::SM) if self.enabling => {
                self.enabling = false;
                self.online(now);
            }
            (Phase::Online, "r", ns::SM) if self.managed => {
                let a = wire::ack(self.handled);
                self.send_bytes(now, &a);
            }
            (Phase::Online, "a", ns::SM) if self.managed => {
                let Some(h) = wire::read_h(&root) else {
                    return self.violated(now, StreamCondition::PolicyViolation, "acknowledgement without a count");
                };
                self.ack_asked = None;
                if self.outbox.ack(h).is_err() {
                    return self.violated(now, StreamCondition::UndefinedCondition, "acknowledged more than was sent");
                }
                self.flush(now);
            }
            _ => self.violated(now, StreamCondition::UnsupportedStanzaType, "unexpected element"),
        }
    }

    pub(super) fn stream_error(&mut self, now: Instant, s: &Stanza) {
        let error =
            StreamError::parse(s.root()).unwrap_or_else(|| StreamError::new(StreamCondition::UndefinedCondition));
        self.send_bytes(now, wire::END);
        let passing = wire::is_passing(error.condition);
        let reason = CloseReason::StreamError(error);
        if passing { self.lost(reason) } else { self.end(reason) }
    }

    pub(super) fn read_features(&mut self, now: Instant, s: &Stanza) {
        self.features = Features::read(s).unwrap_or_default();
        if !self.secured {
            match (self.config.tls, self.features.starttls) {
                (Tls::Required | Tls::IfOffered, true) => {
                    self.send_bytes(now, &wire::empty("starttls", ns::TLS));
                    self.phase = Phase::AskedTls;
                    return;
                }
                (Tls::Required | Tls::Direct, _) => {
                    return self.give_up(now, CloseReason::Tls("not offered by the server"));
                }
                (Tls::IfOffered | Tls::Off, _) => {}
            }
        }
        if !self.authenticated {
            return self.log_in(now);
        }
        if let (Some(id), true) = (&self.session, self.features.sm) {
            let resume = wire::resume(id, self.handled);
            self.send_bytes(now, &resume);
            self.phase = Phase::Resuming;
            return;
        }
        if self.session.is_some() {
            self.start_over();
        }
        self.bind(now);
    }

    pub(super) fn log_in(&mut self, now: Instant) {
        // PLAIN gives the password away: to nobody but the server.
        let plain = self.known || self.config.plain_without_tls;
        let offered: Vec<Mechanism> = self
            .features
            .mechanisms
            .iter()
            .filter_map(|m| Mechanism::parse(m))
            .filter(|m| plain || *m != Mechanism::Plain)
            .collect();
        let login = match &self.config.credentials {
            Credentials::Anonymous => offered.contains(&Mechanism::Anonymous).then(Login::anonymous),
            Credentials::Password { user, password } => {
                let nonce = uuid::Uuid::new_v4().simple().to_string();
                Login::with_password(&offered, user, password, &nonce)
            }
        };
        let Some(login) = login else { return self.give_up(now, CloseReason::NoMechanism) };
        let auth = login.auth();
        self.send_bytes(now, &auth);
        self.phase = Phase::Login(Box::new(login));
    }

    pub(super) fn start_over(&mut self) {
        let unacked = self.forget_session();
        self.out.push(ClientOutput::Fresh { unacked });
    }

    pub(super) fn bind(&mut self, now: Instant) {
        if !self.features.bind {
            return self.give_up(now, CloseReason::Bind("not offered".to_owned()));
        }
        let mut w = XmlWriter::new();
        w.open("iq").attr("type", "set").attr("id", BIND_ID).open_ns("bind", ns::BIND);
        if let Some(r) = &self.config.resource {
            w.text_element("resource", r);
        }
        let bind = w.finish();
        self.send_bytes(now, &bind);
        self.phase = Phase::Binding;
    }

    pub(super) fn bind_result(&mut self, now: Instant, s: Stanza) {
        if s.kind() != StanzaKind::Iq || s.id().as_deref() != Some(BIND_ID) {
            // Services may announce themselves before the result of bind (`spec/signaling.md` 2.7).
            self.out.push(ClientOutput::Stanza(s));
            return;
        }
        if s.ty().as_deref() != Some("result") {
            let condition = s.root().child_named("error").and_then(|e| e.children().next().map(|c| c.name()));
            let condition = condition.unwrap_or("no reason").to_owned();
            return self.give_up(now, CloseReason::Bind(condition));
        }
        let jid = s.child("bind", ns::BIND).and_then(|b| b.child("jid", ns::BIND)).map(|j| j.text());
        let Some(jid) = jid.and_then(|j| FullJid::parse(j.trim()).ok()) else {
            return self.give_up(now, CloseReason::Bind("no address".to_owned()));
        };
        self.jid = Some(jid);
        self.phase = Phase::Online;
        if self.config.stream_management && self.features.sm {
            self.send_bytes(now, &wire::enable());
            // Nobody hears of us before the answer, so that nothing is sent uncounted.
            self.enabling = true;
            return;
        }
        self.online(now);
    }

    pub(super) fn online(&mut self, now: Instant) {
        self.deadline = None;
        if let Some(jid) = self.jid.clone() {
            self.out.push(ClientOutput::Online { jid, resumed: false });
        }
        self.flush(now);
    }

    pub(super) fn resumed(&mut self, now: Instant, s: &Stanza) {
        let h = wire::read_h(&s.root());
        let same = self.session.as_deref() == s.attr("previd").as_deref();
        let (Some(h), true) = (h, same) else {
            return self.violated(now, StreamCondition::PolicyViolation, "resumed something else");
        };
        if self.outbox.ack(h).is_err() {
            return self.violated(now, StreamCondition::UndefinedCondition, "acknowledged more than was sent");
        }
        self.outbox.rewind();
        self.phase = Phase::Online;
        self.deadline = None;
        if let Some(jid) = self.jid.clone() {
            self.out.push(ClientOutput::Online { jid, resumed: true });
        }
        self.flush(now);
    }
}
