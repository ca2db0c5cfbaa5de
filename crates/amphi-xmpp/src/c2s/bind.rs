//! After the login: bind an address, or resume an earlier stream.

use amphi_stanza::{Condition, Element, ErrorType, Jid, Stanza, StanzaError, StanzaKind, XmlWriter, ns};

use super::negotiation::{Negotiation, State, random_id};
use super::{Backend, Bound, Login, Output, ResourcePolicy, ResumeRequest};
use crate::sasl::Mechanism;
use crate::sm::SmElement;
use crate::{StreamCondition, StreamError, sm};

impl<I> Negotiation<I> {
    pub(super) fn after_login<B: Backend<Identity = I>>(
        &mut self,
        backend: &mut B,
        element: &Stanza,
        m: Mechanism,
        login: Login<I>,
    ) {
        let e = element.root();
        if matches!(e.ns(), ns::SM | ns::SM2) {
            return self.sm_before_bind(e, m, login);
        }
        match element.kind() {
            StanzaKind::Iq => self.bind(backend, element, m, login),
            StanzaKind::Other => self.close(StreamError::new(StreamCondition::UnsupportedStanzaType)),
            // RFC 6120 §7.1: nothing may be sent before the address is known.
            _ => self.close(StreamError::new(StreamCondition::NotAuthorized).text("bind first")),
        }
    }

    pub(super) fn sm_before_bind(&mut self, e: Element<'_>, m: Mechanism, login: Login<I>) {
        let version = sm::Version::of(e);
        let Some(host) = self.host.clone() else { return self.close(StreamError::new(StreamCondition::HostUnknown)) };
        let offered = host.sm(self.framing).is_some();
        match SmElement::parse(e) {
            Some(SmElement::Resume { previd, h, version }) if offered => {
                self.state = State::Resuming(m, login.localpart.clone());
                let params = std::mem::take(&mut self.params);
                self.out.push_back(Output::Resume(Box::new(ResumeRequest {
                    host,
                    localpart: login.localpart,
                    previd,
                    h,
                    version,
                    identity: login.identity,
                    params,
                })));
            }
            parsed => {
                // XEP-0198 §3: enabling before bind, or a stream without stream management.
                let condition = match parsed {
                    _ if !offered => Condition::ServiceUnavailable,
                    Some(_) => Condition::UnexpectedRequest,
                    None => Condition::BadRequest,
                };
                self.send(sm::failed(version, condition, None));
                self.state = State::Binding(m, login);
            }
        }
    }

    pub(super) fn bind<B: Backend<Identity = I>>(
        &mut self,
        backend: &mut B,
        iq: &Stanza,
        m: Mechanism,
        login: Login<I>,
    ) {
        let refused = |s: &mut Self, login: Login<I>, e: StanzaError| {
            if let Some(answer) = e.answer(iq) {
                s.send(answer.raw().clone());
            }
            s.state = State::Binding(m, login);
        };
        let Some(bind) = iq.child("bind", ns::BIND) else {
            return refused(
                self,
                login,
                StanzaError::new(ErrorType::Auth, Condition::NotAuthorized).text("bind first"),
            );
        };
        let Some(id) = iq.id().filter(|_| iq.ty().as_deref() == Some("set")) else {
            return refused(self, login, StanzaError::new(ErrorType::Modify, Condition::BadRequest));
        };
        let Some(host) = self.host.clone() else { return self.close(StreamError::new(StreamCondition::HostUnknown)) };
        let asked = bind.child("resource", ns::BIND).map(|r| r.text().into_owned()).filter(|r| !r.is_empty());
        let resource = match asked {
            Some(r) if host.info().resource == ResourcePolicy::Requested => r,
            _ => random_id(backend, 6),
        };
        let jid = Jid::from_parts(Some(&login.localpart), host.name(), Some(&resource)).ok().and_then(|j| j.as_full());
        let Some(jid) = jid else {
            // RFC 6120 §7.7.2.1: the resource cannot be used.
            return refused(self, login, StanzaError::new(ErrorType::Modify, Condition::BadRequest).text("resource"));
        };
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT).attr("type", "result").attr("id", id);
        w.open_ns("bind", ns::BIND).text_element("jid", &jid);
        self.out.push_back(Output::Bound(Box::new(Bound {
            jid,
            host,
            identity: login.identity,
            params: std::mem::take(&mut self.params),
            mechanism: m,
            bind_result: w.finish(),
        })));
    }
}
