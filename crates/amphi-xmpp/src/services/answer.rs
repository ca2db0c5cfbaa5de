//! Answers to IQs that are addressed to a host, or to the account of the sender.

use bytes::Bytes;

use amphi_stanza::{Condition, Element, ErrorType, FullJid, Stanza, StanzaError, XmlWriter, ns};

use super::HostServices;

/// Whom an IQ is addressed to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Host,
    /// The sender's own bare address, or none (RFC 6120 §10.3.3).
    Account,
}

impl HostServices {
    /// Answers an IQ of a client of this host that is addressed to the host, to the client's own bare address, or to
    /// nobody. Whatever nobody knows gets `service-unavailable`. `None` if it must not be answered: a result, an error,
    /// something that is no IQ. `now` is seconds since 1970.
    pub fn answer(&self, iq: &Stanza, sender: &FullJid, now: u64) -> Option<Bytes> {
        if iq.kind() != amphi_stanza::StanzaKind::Iq {
            return None;
        }
        let ty = iq.ty();
        if matches!(ty.as_deref(), Some("result" | "error")) {
            return None;
        }
        let result = match ty.as_deref() {
            Some("get" | "set") => self.result(iq, sender, now),
            _ => Err(bad_request()),
        };
        let to = iq.attr("to");
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT).attr("type", if result.is_ok() { "result" } else { "error" });
        w.attr_opt("id", iq.id()).attr_opt("from", to).attr("to", sender);
        match result {
            Ok(content) => {
                w.raw(&content);
            }
            Err(e) => e.write(&mut w, None),
        }
        Some(w.finish())
    }

    fn result(&self, iq: &Stanza, sender: &FullJid, now: u64) -> Result<String, StanzaError> {
        let to = iq.to().map_err(|_| StanzaError::new(ErrorType::Modify, Condition::JidMalformed))?;
        let target = match &to {
            None => Target::Account,
            Some(j) if j.as_str() == self.host => Target::Host,
            Some(j) if j.as_str() == sender.bare_str() => Target::Account,
            Some(_) => return Err(unavailable()),
        };
        // RFC 6120 §8.2.3: a request has an id and exactly one child.
        let mut children = iq.children();
        let (Some(_), Some(request), None) = (iq.id(), children.next(), children.next()) else {
            return Err(bad_request());
        };
        let get = iq.ty().as_deref() == Some("get");
        match (request.name(), request.ns()) {
            ("ping", ns::PING) if get => Ok(String::new()),
            // RFC 3921 §3: does nothing any more, but old clients wait for the result.
            ("session", ns::SESSION) if !get => Ok(String::new()),
            ("bind", ns::BIND) => {
                Err(StanzaError::new(ErrorType::Cancel, Condition::NotAllowed)
                    .text("the stream has its address already"))
            }
            ("query", ns::DISCO_INFO) if get => self.info(request, target),
            ("query", ns::DISCO_ITEMS) if get => self.items(request, target),
            ("services", ns::EXTDISCO | ns::EXTDISCO1) if get && target == Target::Host => {
                Ok(self.external_services(request, now))
            }
            ("credentials", ns::EXTDISCO | ns::EXTDISCO1) if get && target == Target::Host => {
                self.external_credentials(request, now)
            }
            _ => Err(unavailable()),
        }
    }

    fn info(&self, request: Element<'_>, target: Target) -> Result<String, StanzaError> {
        if request.attr("node").is_some_and(|n| !n.is_empty()) {
            return Err(not_found());
        }
        let mut w = XmlWriter::new();
        w.open_ns("query", ns::DISCO_INFO);
        match target {
            Target::Host => {
                w.raw(&self.info);
            }
            Target::Account => {
                // XEP-0030 §3.1: an account of one's own.
                w.open("identity").attr("category", "account").attr("type", "registered").close();
                for f in [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING] {
                    w.open("feature").attr("var", f).close();
                }
            }
        }
        Ok(w.finish_string())
    }

    fn items(&self, request: Element<'_>, target: Target) -> Result<String, StanzaError> {
        let node = request.attr("node").filter(|n| !n.is_empty());
        if node.is_some() {
            return Err(not_found());
        }
        let mut w = XmlWriter::new();
        w.open_ns("query", ns::DISCO_ITEMS);
        if target == Target::Host {
            for i in &self.items {
                w.open("item").attr("jid", &i.jid).attr_opt("name", i.name.as_deref()).close();
            }
        }
        Ok(w.finish_string())
    }

    fn external_services(&self, request: Element<'_>, now: u64) -> String {
        let ty = request.attr("type");
        let mut w = XmlWriter::new();
        w.open_ns("services", request.ns()).attr_opt("type", ty.as_deref());
        self.external.iter().filter(|s| ty.as_deref().is_none_or(|t| t == s.ty)).for_each(|s| s.write(&mut w, now));
        w.finish_string()
    }

    fn external_credentials(&self, request: Element<'_>, now: u64) -> Result<String, StanzaError> {
        let asked: Vec<Element<'_>> = request.children().filter(|c| c.is("service", request.ns())).take(16).collect();
        if asked.is_empty() || asked.iter().any(|s| s.attr("type").is_none() || s.attr("host").is_none()) {
            return Err(bad_request());
        }
        let found: Vec<_> = self
            .external
            .iter()
            .filter(|s| {
                asked.iter().any(|a| {
                    a.attr("type").as_deref() == Some(&s.ty)
                        && a.attr("host").as_deref() == Some(&s.host)
                        && a.attr("port").is_none_or(|p| p.parse().ok() == s.port)
                })
            })
            .collect();
        if found.is_empty() {
            return Err(not_found());
        }
        let mut w = XmlWriter::new();
        w.open_ns("credentials", request.ns());
        found.iter().for_each(|s| s.write(&mut w, now));
        Ok(w.finish_string())
    }
}

fn unavailable() -> StanzaError {
    StanzaError::new(ErrorType::Cancel, Condition::ServiceUnavailable)
}

fn bad_request() -> StanzaError {
    StanzaError::new(ErrorType::Modify, Condition::BadRequest)
}

fn not_found() -> StanzaError {
    StanzaError::new(ErrorType::Cancel, Condition::ItemNotFound)
}
