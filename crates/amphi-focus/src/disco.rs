//! What the focus says of itself: service discovery, capabilities, ping, version (`spec/focus.md` 1.1).

use amphi_stanza::{Condition, ErrorType, Stanza, StanzaError, XmlWriter, ns};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

pub(crate) const CAPS_NODE: &str = "http://jitsi.org/jicofo";
const VERSION: &str = "jabber:iq:version";
const NAME: &str = "Amphi focus";
/// Sorted, as the verification string wants it.
const FEATURES: [&str; 3] = [ns::DISCO_INFO, "https://jitsi.org/meet/jicofo/terminate-restart", ns::PING];

/// The verification string (XEP-0115 5.1).
pub(crate) fn verification() -> String {
    let mut s = format!("client/bot//{NAME}<");
    for f in FEATURES {
        s.push_str(f);
        s.push('<');
    }
    STANDARD.encode(Sha1::digest(s.as_bytes()))
}

/// Writes `<c/>`.
pub(crate) fn caps(w: &mut XmlWriter, ver: &str) {
    w.open_ns("c", ns::CAPS).attr("hash", "sha-1").attr("node", CAPS_NODE).attr("ver", ver).close();
}

/// The answer to an IQ get or set that is not about conferences; whatever is unknown gets an error.
pub(crate) fn answer(iq: &Stanza) -> Option<XmlWriter> {
    let get = iq.ty().as_deref() == Some("get");
    let mut w = XmlWriter::new();
    w.open_ns("iq", ns::CLIENT);
    let info = iq.child("query", ns::DISCO_INFO);
    let known = get
        && (info.is_some()
            || iq.child("query", ns::DISCO_ITEMS).is_some()
            || iq.child("ping", ns::PING).is_some()
            || iq.child("query", VERSION).is_some());
    if !known {
        let error = StanzaError::new(ErrorType::Cancel, Condition::ServiceUnavailable);
        let answer = error.answer(iq)?;
        let mut w = XmlWriter::new();
        w.element(answer.root());
        return Some(w);
    }
    w.attr("type", "result").attr_opt("id", iq.id()).attr_opt("from", iq.attr("to")).attr_opt("to", iq.attr("from"));
    if let Some(q) = info {
        w.open_ns("query", ns::DISCO_INFO).attr_opt("node", q.attr("node"));
        w.open("identity").attr("category", "client").attr("type", "bot").attr("name", NAME).close();
        for f in FEATURES {
            w.open("feature").attr("var", f).close();
        }
    } else if iq.child("query", ns::DISCO_ITEMS).is_some() {
        w.empty("query", ns::DISCO_ITEMS);
    } else if iq.child("query", VERSION).is_some() {
        w.open_ns("query", VERSION).text_element("name", NAME).text_element("version", env!("CARGO_PKG_VERSION"));
    }
    Some(w)
}
