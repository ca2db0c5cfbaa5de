//! What a client can do, learned from its capabilities (`spec/focus.md` 4.2). A hash is asked about once, whoever has it,
//! and believed only if it is the hash of what was answered (XEP-0115 5.4).

use std::collections::HashMap;
use std::sync::Arc;

use amphi_jingle::ns as jns;
use amphi_stanza::{BareJid, Element, Stanza, ns};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// A set of features that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Features(u16);

impl Features {
    pub(crate) const AUDIO: Self = Self(1);
    pub(crate) const VIDEO: Self = Self(1 << 1);
    pub(crate) const SCTP: Self = Self(1 << 2);
    pub(crate) const RTX: Self = Self(1 << 3);
    pub(crate) const TCC: Self = Self(1 << 4);
    pub(crate) const REMB: Self = Self(1 << 5);
    pub(crate) const RED: Self = Self(1 << 6);
    pub(crate) const JSON: Self = Self(1 << 7);
    pub(crate) const REWRITING: Self = Self(1 << 8);
    pub(crate) const MID_DEMUX: Self = Self(1 << 9);
    pub(crate) const AUDIO_MUTE: Self = Self(1 << 10);

    /// What a client is taken for that does not say what it can do.
    pub(crate) const ASSUMED: Self = Self(1 | 1 << 1 | 1 << 2);

    pub(crate) fn has(self, f: Self) -> bool {
        self.0 & f.0 == f.0
    }

    pub(crate) fn with(self, f: Self) -> Self {
        Self(self.0 | f.0)
    }

    pub(crate) fn without(self, f: Self) -> Self {
        Self(self.0 & !f.0)
    }

    fn of(var: &str) -> Self {
        match var {
            jns::RTP_AUDIO => Self::AUDIO,
            jns::RTP_VIDEO => Self::VIDEO,
            jns::DTLS_SCTP => Self::SCTP,
            "urn:ietf:rfc:4588" => Self::RTX,
            "http://jitsi.org/tcc" => Self::TCC,
            "http://jitsi.org/remb" => Self::REMB,
            "http://jitsi.org/opus-red" => Self::RED,
            "http://jitsi.org/json-encoded-sources" => Self::JSON,
            "http://jitsi.org/ssrc-rewriting-1" => Self::REWRITING,
            "http://jitsi.org/rtp-mid-demux" => Self::MID_DEMUX,
            "http://jitsi.org/protocol/audio-mute" => Self::AUDIO_MUTE,
            _ => Self::default(),
        }
    }

    /// Reads the answer to a question for information.
    pub(crate) fn read(answer: &Stanza) -> Self {
        let query = answer.child("query", ns::DISCO_INFO);
        let vars = query.iter().flat_map(|q| q.children()).filter(|c| c.name() == "feature");
        vars.filter_map(|f| f.attr("var")).fold(Self::default(), |all, var| all.with(Self::of(&var)))
    }
}

/// Most identities, features and form fields that a hash is computed of.
const MAX_ITEMS: usize = 1024;

/// The hash of an answer (XEP-0115 5.1); `None` if it is ill-formed.
pub(crate) fn verification(answer: &Stanza) -> Option<String> {
    let query = answer.child("query", ns::DISCO_INFO)?;
    let attr = |e: Element<'_>, n: &str| e.attr(n).map(|v| v.into_owned()).unwrap_or_default();
    let (mut identities, mut features, mut forms) = (Vec::new(), Vec::new(), Vec::new());
    for c in query.children() {
        match c.name() {
            "identity" => {
                let lang = attr(c, "xml:lang");
                identities.push(format!("{}/{}/{lang}/{}<", attr(c, "category"), attr(c, "type"), attr(c, "name")));
            }
            "feature" => features.push(format!("{}<", attr(c, "var"))),
            "x" if c.ns() == ns::DATA_FORMS => forms.push(form(c)?),
            _ => {}
        }
        if identities.len() + features.len() + forms.len() > MAX_ITEMS {
            return None;
        }
    }
    identities.sort_unstable();
    features.sort_unstable();
    forms.sort_unstable();
    let all: String = identities.into_iter().chain(features).chain(forms).collect();
    Some(STANDARD.encode(Sha1::digest(all.as_bytes())))
}

fn form(x: Element<'_>) -> Option<String> {
    let mut fields: Vec<(String, Vec<String>)> = Vec::new();
    let mut form_type = String::new();
    for f in x.children().filter(|f| f.name() == "field") {
        let var = f.attr("var")?.into_owned();
        let mut values: Vec<String> =
            f.children().filter(|v| v.name() == "value").map(|v| v.text().into_owned()).collect();
        if var == "FORM_TYPE" {
            form_type = values.first()?.clone();
            continue;
        }
        values.sort_unstable();
        fields.push((var, values));
        if fields.len() > MAX_ITEMS {
            return None;
        }
    }
    fields.sort_unstable();
    let mut out = format!("{form_type}<");
    for (var, values) in fields {
        out.push_str(&format!("{var}<"));
        values.iter().for_each(|v| out.push_str(&format!("{v}<")));
    }
    Some(out)
}

/// A member that waits for its features.
pub(crate) type Waiting = (BareJid, Box<str>);

/// What is known of a hash.
enum Known {
    /// Asked; these wait.
    Asked(Vec<Waiting>),
    Is(Features),
}

/// What to do for a member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Known(Features),
    /// Ask this member, and tell [`Caps::answered`].
    Ask,
    /// Somebody else was asked; the member will be told.
    Wait,
    /// Too much is going on: ask this member for itself alone.
    AskAlone,
}

/// Features by capability hash.
#[derive(Default)]
pub(crate) struct Caps {
    known: HashMap<Arc<str>, Known>,
}

impl Caps {
    pub(crate) fn lookup(&mut self, ver: &Arc<str>, who: Waiting, max: usize, max_waiting: usize) -> Lookup {
        match self.known.get_mut(ver) {
            Some(Known::Is(f)) => return Lookup::Known(*f),
            Some(Known::Asked(waiting)) if waiting.len() < max_waiting => {
                waiting.push(who);
                return Lookup::Wait;
            }
            Some(Known::Asked(_)) => return Lookup::AskAlone,
            None => {}
        }
        if self.known.len() >= max {
            // Somebody makes hashes up. What is known goes, except for what is being asked.
            self.known.retain(|_, k| matches!(k, Known::Asked(_)));
            if self.known.len() >= max {
                return Lookup::AskAlone;
            }
        }
        self.known.insert(ver.clone(), Known::Asked(Vec::new()));
        Lookup::Ask
    }

    /// The one that was asked answered, or did not. Returns those that waited, and what they are if that is certain.
    pub(crate) fn answered(&mut self, ver: &str, answer: Option<&Stanza>) -> (Vec<Waiting>, Option<Features>) {
        let certain = answer.filter(|a| verification(a).as_deref() == Some(ver)).map(Features::read);
        let before = self.known.remove(ver);
        if let Some(f) = certain {
            self.known.insert(ver.into(), Known::Is(f));
        }
        let waiting = match before {
            Some(Known::Asked(w)) => w,
            _ => Vec::new(),
        };
        (waiting, certain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(inside: &str) -> Stanza {
        let xml =
            format!("<iq type='result'><query xmlns='http://jabber.org/protocol/disco#info'>{inside}</query></iq>");
        Stanza::authored(xml.into())
    }

    /// The example of XEP-0115 5.2.
    const EXODUS: &str = "<identity category='client' name='Exodus 0.9.1' type='pc'/>
        <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>
        <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>";

    #[test]
    fn a_hash_is_believed_only_if_it_is_the_hash() {
        assert_eq!(verification(&answer(EXODUS)).as_deref(), Some("QgayPKawpkPSDYmwT/WM94uAlu0="));
        let room = BareJid::parse("a@b").unwrap();
        let mut c = Caps::default();
        let ver: Arc<str> = "QgayPKawpkPSDYmwT/WM94uAlu0=".into();
        assert_eq!(c.lookup(&ver, (room.clone(), "x".into()), 9, 9), Lookup::Ask);
        assert_eq!(c.lookup(&ver, (room.clone(), "y".into()), 9, 9), Lookup::Wait);
        let lie = answer("<feature var='http://jitsi.org/tcc'/>");
        assert_eq!(c.answered(&ver, Some(&lie)), (vec![(room.clone(), "y".into())], None));
        assert_eq!(c.lookup(&ver, (room.clone(), "y".into()), 9, 9), Lookup::Ask);
        assert_eq!(c.answered(&ver, Some(&answer(EXODUS))).1, Some(Features::default()));
        assert_eq!(c.lookup(&ver, (room, "z".into()), 9, 9), Lookup::Known(Features::default()));
    }

    #[test]
    fn made_up_hashes_do_not_fill_the_memory() {
        let room = BareJid::parse("a@b").unwrap();
        let mut c = Caps::default();
        for i in 0..100 {
            c.lookup(&format!("v{i}").into(), (room.clone(), "x".into()), 10, 9);
        }
        assert_eq!(c.known.len(), 10);
    }
}
