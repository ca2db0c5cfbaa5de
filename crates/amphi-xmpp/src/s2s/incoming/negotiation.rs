//! From the stream header to the first authenticated pair.

use std::time::Instant;

use amphi_stanza::{Stanza, StanzaKind, XmlWriter, ns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Incoming, IncomingOutput, Managed, PeerCheck, Phase};
use crate::link::wire;
use crate::s2s::pair::{self, Pair};
use crate::s2s::{PAIRS_NS, RESTRICTED, Tls, dialback};
use crate::{StreamCondition, StreamError};

impl Incoming {
    pub(super) fn write_header(&mut self, now: Instant) {
        self.stream_id = (self.ids)();
        let from = (!self.local.is_empty()).then_some(self.local.as_str());
        let h = wire::Header { xmlns: ns::SERVER, from, to: self.remote.as_deref(), id: Some(&self.stream_id) }.write();
        self.send(now, &h);
    }

    pub(super) fn header(&mut self, now: Instant, h: &Stanza, check: &dyn PeerCheck) {
        let root = h.root();
        if self.phase != Phase::Header {
            return self.fail(now, StreamCondition::NotWellFormed, Some("a second stream header"));
        }
        if !root.is("stream", ns::STREAM) {
            return self.fail(now, StreamCondition::InvalidNamespace, None);
        }
        self.local = root.attr("to").and_then(|v| pair::domain(&v)).unwrap_or_default();
        let from = root.attr("from");
        let remote = from.as_deref().and_then(pair::domain);
        let forged = from.is_some() && remote.is_none();
        if self.external.is_some() && remote.is_some() && self.external != remote {
            self.remote = remote;
            return self.fail(now, StreamCondition::InvalidFrom, None);
        }
        // RFC 6120 §4.7.1: before TLS an initiator may keep its name to itself.
        self.remote = remote.or_else(|| self.external.clone());
        if root.attr("xmlns").as_deref() != Some(ns::SERVER) {
            return self.fail(now, StreamCondition::InvalidNamespace, None);
        }
        if forged {
            return self.fail(now, StreamCondition::InvalidFrom, None);
        }
        if !check.serves(&self.local) {
            return self.fail(now, StreamCondition::HostUnknown, None);
        }
        let major = root.attr("version").and_then(|v| v.split('.').next()?.parse::<u32>().ok());
        if major.is_none_or(|m| m < 1) {
            return self.fail(now, StreamCondition::UnsupportedVersion, None);
        }
        self.write_header(now);
        self.phase = Phase::Negotiating;
        if self.remote.as_deref().is_some_and(|r| !check.allowed(r)) {
            return self.fail(now, StreamCondition::PolicyViolation, Some(RESTRICTED));
        }
        self.write_features(now, check);
        if let Some(from) = self.external.clone() {
            self.hold(now, check);
            self.authenticated(Pair { from, to: self.local.clone() });
        }
    }

    pub(super) fn announce_bidi(&mut self) {
        if self.bidi_asked && !self.bidi && self.phase == Phase::Open && self.holding.is_none() {
            self.bidi = true;
            self.out.push(IncomingOutput::Bidi);
        }
    }

    /// The peer has decided about stream management, or will not use it.
    pub(super) fn stop_holding(&mut self) {
        self.holding = None;
        self.announce_bidi();
    }

    pub(super) fn hold(&mut self, now: Instant, check: &dyn PeerCheck) {
        if self.primary.is_none() && self.manages(check) {
            self.holding = Some(now + self.config.hold_back);
        }
    }

    pub(super) fn must_start_tls(&self) -> bool {
        self.config.tls == Tls::Required && !self.secured
    }

    pub(super) fn offers_external(&self, check: &dyn PeerCheck) -> bool {
        self.secured && self.external.is_none() && self.remote.as_deref().is_some_and(|r| check.certificate_ok(r))
    }

    pub(super) fn manages(&self, check: &dyn PeerCheck) -> bool {
        self.remote.as_deref().is_some_and(|r| check.stream_management(r))
    }

    pub(super) fn write_features(&mut self, now: Instant, check: &dyn PeerCheck) {
        let mut w = XmlWriter::new();
        w.open("stream:features");
        if !self.secured && matches!(self.config.tls, Tls::Required | Tls::IfOffered) {
            w.open_ns("starttls", ns::TLS);
            if self.must_start_tls() {
                w.open("required").close();
            }
            w.close();
        }
        if !self.must_start_tls() {
            let external = self.offers_external(check);
            if external {
                w.open_ns("mechanisms", ns::SASL).text_element("mechanism", "EXTERNAL").close();
            }
            if self.config.dialback {
                dialback::write_feature(&mut w);
            }
            if self.config.bidi && !self.bidi_asked {
                w.empty("bidi", ns::BIDI_FEATURE);
            }
            // Dialback does not restart the stream, so what comes after it must be offered now.
            if !external {
                if self.config.pairs {
                    w.empty("pairs", PAIRS_NS);
                }
                if self.manages(check) {
                    w.empty("sm", ns::SM);
                }
            }
        }
        let features = w.finish();
        self.send(now, &features);
    }

    pub(super) fn authenticated(&mut self, pair: Pair) {
        if self.phase == Phase::Negotiating {
            self.phase = Phase::Open;
            self.deadline = None;
        }
        self.primary.get_or_insert_with(|| pair.clone());
        if self.pairs.insert(pair.clone()) {
            self.out.push(IncomingOutput::Authenticated(pair));
        }
        self.announce_bidi();
    }

    pub(super) fn element(&mut self, now: Instant, s: Stanza, check: &dyn PeerCheck) {
        if matches!(self.phase, Phase::Header | Phase::Tls | Phase::Resuming { .. }) {
            return self.fail(now, StreamCondition::PolicyViolation, Some("out of turn"));
        }
        if s.kind() != StanzaKind::Other {
            return self.stanza(now, s);
        }
        let root = s.root();
        let (name, xmlns) = (root.name(), root.ns());
        match (name, xmlns) {
            ("error", ns::STREAM) => {
                let error = StreamError::parse(root);
                self.managed = Managed::Off;
                self.send(now, wire::END);
                self.close(error);
            }
            ("starttls", ns::TLS) => self.start_tls(now),
            _ if self.must_start_tls() => self.fail(now, StreamCondition::PolicyViolation, Some("TLS is required")),
            ("auth", ns::SASL) => self.auth(now, &s, check),
            ("abort", ns::SASL) => self.refuse_auth(now, "aborted"),
            ("result", ns::DIALBACK) => self.dialback_key(now, &s, check),
            ("verify", ns::DIALBACK) => self.dialback_question(now, &s, check),
            ("bidi", ns::BIDI) => {
                self.bidi_asked = self.config.bidi;
                self.announce_bidi();
            }
            ("pairs", PAIRS_NS) => self.add_pairs(now, &s, check),
            (_, ns::SM) => self.management(now, &s, check),
            _ => self.fail(now, StreamCondition::UnsupportedStanzaType, None),
        }
    }

    pub(super) fn start_tls(&mut self, now: Instant) {
        let possible = matches!(self.config.tls, Tls::Required | Tls::IfOffered);
        if self.secured || !possible || self.phase != Phase::Negotiating {
            self.send(now, &wire::empty("failure", ns::TLS));
            self.send(now, wire::END);
            return self.close(None);
        }
        self.send(now, &wire::empty("proceed", ns::TLS));
        self.phase = Phase::Tls;
        // What was said before TLS does not count (RFC 6120 §5.4.3.3).
        self.remote = None;
        self.bidi_asked = false;
        self.pending.clear();
        self.out.push(IncomingOutput::StartTls);
    }

    /// XEP-0178 §3: the certificate proves, the authorization id only repeats.
    pub(super) fn auth(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        if self.phase != Phase::Negotiating {
            return self.refuse_auth(now, "not-authorized");
        }
        if s.attr("mechanism").as_deref() != Some("EXTERNAL") || !self.offers_external(check) {
            return self.refuse_auth(now, "invalid-mechanism");
        }
        let text = s.root().text();
        let authzid = match text.trim() {
            "" | "=" => self.remote.clone(),
            t => match BASE64.decode(t).ok().and_then(|b| String::from_utf8(b).ok()) {
                Some(d) => pair::domain(&d),
                None => return self.refuse_auth(now, "incorrect-encoding"),
            },
        };
        if authzid.is_none() || authzid != self.remote {
            return self.refuse_auth(now, "invalid-authzid");
        }
        self.external = authzid;
        self.send(now, &wire::empty("success", ns::SASL));
        self.phase = Phase::Header;
        self.out.push(IncomingOutput::Restart);
    }

    pub(super) fn refuse_auth(&mut self, now: Instant, condition: &'static str) {
        let mut w = XmlWriter::new();
        w.open_ns("failure", ns::SASL).open(condition).close();
        let failure = w.finish();
        self.send(now, &failure);
        self.refused(now);
    }

    pub(super) fn refused(&mut self, now: Instant) {
        self.refusals += 1;
        if self.refusals >= self.config.max_refusals {
            self.fail(now, StreamCondition::PolicyViolation, Some("too many refused attempts"));
        }
    }
}
