//! From features to success: STARTTLS and SASL.

use bytes::Bytes;

use amphi_stanza::{Element, Jid, Stanza, StanzaKind, XmlWriter, ns};

use super::negotiation::{Negotiation, State, random_id};
use super::{Backend, HostProfile, Login, Output, Security, StartTlsPolicy, Verdict};
use crate::sasl::{self, Failure, Mechanism, SaslCondition, ScramCredentials, ScramServer};
use crate::{StreamCondition, StreamError};

impl<I> Negotiation<I> {
    pub(super) fn before_login<B: Backend<Identity = I>>(&mut self, backend: &mut B, element: &Stanza) {
        let e = element.root();
        if e.is("auth", ns::SASL) {
            return self.auth(backend, e);
        }
        if e.is("starttls", ns::TLS) {
            return self.starttls();
        }
        if e.is("abort", ns::SASL) {
            return self.refuse(Failure::new(SaslCondition::Aborted));
        }
        self.unexpected(element);
    }

    /// An element that has no place here before the login.
    pub(super) fn unexpected(&mut self, element: &Stanza) {
        let condition = match element.kind() {
            StanzaKind::Other if element.root().ns() == ns::SASL => StreamCondition::NotAuthorized,
            StanzaKind::Other => StreamCondition::UnsupportedStanzaType,
            _ => StreamCondition::NotAuthorized,
        };
        self.close(StreamError::new(condition));
    }

    pub(super) fn starttls(&mut self) {
        let offered = HostProfile::offers_tls(self.framing, self.security)
            && self.host.as_ref().is_some_and(|h| h.info().starttls == StartTlsPolicy::Required);
        let mut w = XmlWriter::new();
        if offered {
            w.empty("proceed", ns::TLS);
            self.send(w.finish());
            self.state = State::Tls;
            self.out.push_back(Output::StartTls);
        } else {
            // RFC 6120 §5.4.2.2: failure, then the stream ends.
            w.empty("failure", ns::TLS);
            self.send(w.finish());
            self.end();
        }
    }

    pub(super) fn auth<B: Backend<Identity = I>>(&mut self, backend: &mut B, e: Element<'_>) {
        if HostProfile::wants_tls(self.framing, self.security) {
            return self.refuse(Failure::new(SaslCondition::EncryptionRequired));
        }
        let offered = self.host.as_ref().map(|h| &h.info().mechanisms[..]).unwrap_or_default();
        let mechanism = e.attr("mechanism").and_then(|m| Mechanism::parse(&m)).filter(|m| offered.contains(m));
        let Some(mechanism) = mechanism else {
            return self.refuse(Failure::new(SaslCondition::InvalidMechanism));
        };
        if mechanism == Mechanism::Plain && self.security == Security::Plain {
            return self.refuse(Failure::new(SaslCondition::EncryptionRequired));
        }
        match sasl::decode(e) {
            Err(f) => self.refuse(f),
            Ok(None) if mechanism != Mechanism::Anonymous => {
                // RFC 6120 §6.4.3: the mechanism's first message was not sent along; ask for it.
                self.send(sasl::encode("challenge", None, None));
                self.state = State::EmptyChallenge(mechanism);
            }
            Ok(message) => self.authenticate(backend, mechanism, message),
        }
    }

    /// The message in a response; `Err(None)` if this is not one.
    pub(super) fn response(&self, e: Element<'_>) -> Result<Vec<u8>, Option<Failure>> {
        if e.is("abort", ns::SASL) {
            return Err(Some(Failure::new(SaslCondition::Aborted)));
        }
        if !e.is("response", ns::SASL) {
            return Err(None);
        }
        Ok(sasl::decode(e).map_err(Some)?.unwrap_or_default())
    }

    pub(super) fn authenticate<B: Backend<Identity = I>>(
        &mut self,
        backend: &mut B,
        m: Mechanism,
        message: Option<Vec<u8>>,
    ) {
        let Some(host) = self.host.clone() else { return self.refuse(Failure::not_authorized()) };
        let message = message.unwrap_or_default();
        let verdict = match m {
            // RFC 4505: the message is a trace for logs; nobody needs it here.
            Mechanism::Anonymous => backend.anonymous(&host, &self.params),
            Mechanism::Plain => match sasl::plain(&message) {
                Err(f) => return self.refuse(f),
                Ok(p) => match account(&host, &p.user, p.authzid.as_deref()) {
                    Err(f) => return self.refuse(f),
                    Ok(user) => backend.plain(&host, &user, &p.password),
                },
            },
            Mechanism::External => match sasl::external(&message) {
                Err(f) => return self.refuse(f),
                Ok(authzid) => backend.external(&host, authzid.as_deref()),
            },
            Mechanism::ScramSha1 | Mechanism::ScramSha256 => {
                let Some(hash) = m.scram_hash() else { return self.refuse(Failure::not_authorized()) };
                let nonce = random_id(backend, 18);
                let decoy_key = backend.decoy_key();
                let started = ScramServer::start(&message, &nonce, |user| {
                    account(&host, user, None)
                        .ok()
                        .and_then(|u| backend.scram(&host, &u, hash))
                        .filter(|c| c.hash == hash)
                        .unwrap_or_else(|| ScramCredentials::decoy(hash, user, &decoy_key))
                });
                match started {
                    Err(f) => return self.refuse(f),
                    Ok((machine, challenge)) => {
                        self.send(sasl::encode("challenge", None, Some(challenge.as_bytes())));
                        self.state = State::Scram(m, Box::new(machine));
                        return;
                    }
                }
            }
        };
        self.verdict(m, verdict, None);
    }

    pub(super) fn scram_response<B: Backend<Identity = I>>(
        &mut self,
        backend: &mut B,
        m: Mechanism,
        machine: ScramServer,
        e: Element<'_>,
    ) {
        let message = match self.response(e) {
            Ok(message) => message,
            Err(Some(f)) => return self.refuse(f),
            Err(None) => return self.close(StreamError::new(StreamCondition::NotAuthorized)),
        };
        let Some(host) = self.host.clone() else { return self.refuse(Failure::not_authorized()) };
        match machine.finish(&message) {
            Err(f) => self.refuse(f),
            Ok((who, last)) => match account(&host, &who.user, who.authzid.as_deref()) {
                Err(f) => self.refuse(f),
                Ok(user) => {
                    let verdict = backend.account(&host, &user);
                    self.verdict(m, verdict, Some(Bytes::from(last)));
                }
            },
        }
    }

    pub(super) fn verdict(&mut self, m: Mechanism, verdict: Verdict<I>, success: Option<Bytes>) {
        match verdict {
            Verdict::Granted(login) => self.logged_in(m, login, success),
            Verdict::Refused(f) => self.refuse(f),
            Verdict::Later => self.state = State::Deciding(m, success),
        }
    }

    pub(super) fn logged_in(&mut self, m: Mechanism, login: Login<I>, success: Option<Bytes>) {
        self.send(sasl::encode("success", None, success.as_deref()));
        self.out.push_back(Output::Restart);
        self.state = State::Reopening(m, login);
    }

    pub(super) fn refuse(&mut self, failure: Failure) {
        self.failures += 1;
        self.send(failure.write());
        if self.failures >= self.limits.failures {
            self.close(StreamError::new(StreamCondition::PolicyViolation).text("too many failed logins"));
        } else {
            self.state = State::LoggingIn;
        }
    }
}

/// The account that a name means: the name itself, or `name@host`. An identity to act as must be the same account.
fn account(host: &HostProfile, user: &str, authzid: Option<&str>) -> Result<String, Failure> {
    let own = |name: &str| {
        let jid = match name.split_once('@') {
            Some((local, domain)) => Jid::from_parts(Some(local), domain, None),
            None => Jid::from_parts(Some(name), host.name(), None),
        };
        jid.ok().filter(|j| j.domain() == host.name()).and_then(|j| j.local().map(str::to_owned))
    };
    let user = own(user).ok_or_else(Failure::not_authorized)?;
    match authzid {
        Some(a) if own(a).as_ref() != Some(&user) => Err(Failure::new(SaslCondition::InvalidAuthzid)),
        _ => Ok(user),
    }
}
