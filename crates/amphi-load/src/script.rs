//! What all clients of a run have in common: addresses, capabilities, texts of stanzas, patience. Clients hold a reference
//! and keep only what differs.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

use crate::{marker::Marker, url::Url};

/// Features of the web client (spec/client.md 12), sorted as XEP-0115 hashes them.
const FEATURES: [&str; 20] = [
    "http://jabber.org/protocol/caps",
    "http://jitsi.org/json-encoded-sources",
    "http://jitsi.org/opus-red",
    "http://jitsi.org/receive-multiple-video-streams",
    "http://jitsi.org/remb",
    "http://jitsi.org/source-name",
    "http://jitsi.org/ssrc-rewriting-1",
    "http://jitsi.org/start-muted-room-metadata",
    "http://jitsi.org/tcc",
    "http://jitsi.org/visitors-1",
    "https://jitsi.org/meet/e2ee",
    "urn:ietf:rfc:4588",
    "urn:xmpp:jingle:1",
    "urn:xmpp:jingle:apps:dtls:0",
    "urn:xmpp:jingle:apps:rtp:1",
    "urn:xmpp:jingle:apps:rtp:audio",
    "urn:xmpp:jingle:apps:rtp:video",
    "urn:xmpp:jingle:transports:dtls-sctp:1",
    "urn:xmpp:jingle:transports:ice-udp:1",
    "urn:xmpp:rayo:client:1",
];
const CAPS_NODE: &str = "https://jitsi.org/jitsi-meet";

/// How the focus is asked for admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// `POST` to this URL.
    Http(Url),
    /// IQ to this address over the main node.
    Iq(String),
    /// Not at all; the audience goes to this node, if any.
    None {
        /// Visitor node of the audience.
        audience_node: Option<String>,
    },
}

/// A node and the room on it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Visitor node; `None`: main node.
    pub(crate) vnode: Option<String>,
    /// XMPP domain.
    pub(crate) domain: String,
    /// Bare JID of the room.
    pub(crate) room: String,
    /// Where to connect.
    pub(crate) url: Url,
    /// Path and query of the upgrade.
    pub(crate) target: String,
}

/// The common part of all clients.
#[derive(Debug)]
pub(crate) struct Script {
    /// Number of the run, in every marker.
    pub(crate) run: u32,
    /// Numbers of all rooms of the run, this one's included: what carries another one's is in the wrong room.
    pub(crate) runs: Range<u32>,
    /// Room name.
    pub(crate) room: String,
    /// Main domain.
    pub(crate) domain: String,
    /// Domain of rooms on the main node.
    pub(crate) muc: String,
    /// Domain under which visitor nodes live (`meet.jitsi`, fixed in clients).
    pub(crate) vnode_parent: String,
    /// WebSocket URL of the main node.
    pub(crate) url: Url,
    /// Own URLs of visitor nodes.
    pub(crate) vnode_urls: HashMap<String, Url>,
    /// How admission works.
    pub(crate) admission: Admission,
    /// Longest time from the first request to the own presence.
    pub(crate) join_timeout: u64,
    /// Further attempts after a broken or refused connection.
    pub(crate) retries: u8,
    /// Idle time after which a client pings; 0: never.
    pub(crate) ping_after: u64,
    /// Whether clients send the queries of spec/client.md 6.2 and 10.4.
    pub(crate) queries: bool,
    /// Every client whose number divides by this parses strictly.
    pub(crate) strict_every: u32,
    /// Length of a chat line.
    pub(crate) line_bytes: usize,
    /// Whether clients answer offers of media.
    pub(crate) accepts: bool,
    places: Mutex<HashMap<Option<String>, Arc<Place>>>,
    caps_ver: String,
}

const SECOND: u64 = 1_000_000_000;

impl Script {
    /// A script with the web client's habits.
    pub(crate) fn new(url: Url, domain: &str, muc: &str, room: &str, admission: Admission, run: u32) -> Self {
        let mut sha = Sha1::new();
        for feature in FEATURES {
            sha.update(feature.as_bytes());
            sha.update(b"<");
        }
        Self {
            run,
            runs: run..run,
            room: room.to_lowercase(),
            domain: domain.to_owned(),
            muc: muc.to_owned(),
            vnode_parent: "meet.jitsi".into(),
            url,
            vnode_urls: HashMap::new(),
            admission,
            join_timeout: 120 * SECOND,
            retries: 3,
            ping_after: 10 * SECOND,
            queries: true,
            strict_every: 100,
            line_bytes: 120,
            accepts: false,
            places: Mutex::default(),
            caps_ver: STANDARD.encode(sha.finalize()),
        }
    }

    /// Addresses on the main node or a visitor node (spec/client.md 9.1).
    pub(crate) fn place(&self, vnode: Option<&str>) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = vnode.map(str::to_owned);
        Arc::clone(places.entry(key).or_insert_with(|| Arc::new(self.build_place(vnode))))
    }

    fn build_place(&self, vnode: Option<&str>) -> Place {
        let Some(vnode) = vnode else {
            let target = self.url.target_with(&[("room", &self.room)]);
            let room = format!("{}@{}", self.room, self.muc);
            return Place { vnode: None, domain: self.domain.clone(), room, url: self.url.clone(), target };
        };
        let domain = format!("{vnode}.{}", self.vnode_parent);
        let room = format!("{}@{}", self.room, self.muc.replacen(&self.domain, &domain, 1));
        let url = self.vnode_urls.get(vnode).unwrap_or(&self.url).clone();
        let target = url.target_with(&[("vnode", vnode), ("room", &self.room)]);
        Place { vnode: Some(vnode.to_owned()), domain, room, url, target }
    }

    /// Body of the conference request (spec/client.md 7.1).
    pub(crate) fn request_body(&self, machine: u64, visitor: bool) -> String {
        let mut properties = serde_json::json!({ "rtcstatsEnabled": false, "visitors-version": 1 });
        if visitor {
            properties["visitor"] = true.into();
        }
        let room = format!("{}@{}", self.room, self.muc);
        serde_json::json!({ "room": room, "machineUid": machine_uid(machine), "properties": properties }).to_string()
    }

    /// The conference request as an IQ (spec/client.md 7.2).
    pub(crate) fn request_iq(&self, out: &mut Vec<u8>, id: &str, focus: &str, machine: u64, visitor: bool) {
        let mut xml = Xml(out);
        xml.raw("<iq type=\"set\" to=\"").esc(focus).raw("\" id=\"").raw(id);
        xml.raw("\" xmlns=\"jabber:client\"><conference xmlns=\"http://jitsi.org/protocol/focus\" room=\"");
        xml.esc(&self.room).raw("@").esc(&self.muc).raw("\" machine-uid=\"").raw(&machine_uid(machine)).raw("\">");
        xml.raw(
            "<property name=\"rtcstatsEnabled\" value=\"false\"/><property name=\"visitors-version\" value=\"1\"/>",
        );
        if visitor {
            xml.raw("<property name=\"visitor\" value=\"true\"/>");
        }
        xml.raw("</conference></iq>");
    }

    /// A presence as the web client sends it: the first one with `join`, later ones without (spec/client.md 10.1).
    pub(crate) fn presence(
        &self,
        out: &mut Vec<u8>,
        to: (&str, &str),
        who: &Persona<'_>,
        join: bool,
        mark: Option<&Marker>,
    ) {
        let mut xml = Xml(out);
        xml.raw("<presence to=\"").esc(to.0).raw("/").esc(to.1).raw("\" xmlns=\"jabber:client\">");
        if join {
            xml.raw("<x xmlns=\"http://jabber.org/protocol/muc\"><billingid>").raw(&machine_uid(who.machine));
            xml.raw("</billingid></x>");
        }
        xml.raw("<stats-id>").esc(who.stats_id).raw("</stats-id><c hash=\"sha-1\" node=\"").raw(CAPS_NODE);
        xml.raw("\" ver=\"").raw(&self.caps_ver).raw("\" xmlns=\"http://jabber.org/protocol/caps\"/>");
        xml.raw("<features><feature var=\"https://jitsi.org/meet/e2ee\"/></features><SourceInfo>");
        if who.sources {
            for (n, (kind, muted, more)) in
                [("a0", "false", ""), ("v0", "false", ""), ("v1", "true", DESKTOP)].iter().enumerate()
            {
                xml.raw(if n == 0 { "{" } else { "," }).raw("\"").esc(to.1).raw("-").raw(kind);
                xml.raw("\":{\"muted\":").raw(muted).raw(more).raw("}");
            }
            xml.raw("}");
        } else {
            xml.raw("{}");
        }
        xml.raw("</SourceInfo><jitsi_participant_codecList>av1,vp9,vp8,h264</jitsi_participant_codecList>");
        xml.raw("<jitsi_participant_region>eu-central-1</jitsi_participant_region>");
        xml.raw("<nick xmlns=\"http://jabber.org/protocol/nick\">").esc(who.name).raw("</nick>");
        for key in ["curve25519", "ed25519"] {
            // Same length as a real key; nobody decrypts with it.
            xml.raw("<jitsi_participant_e2ee.idKey.").raw(key).raw(">");
            xml.raw(&STANDARD.encode([who.machine as u8; 32])).raw("</jitsi_participant_e2ee.idKey.").raw(key).raw(">");
        }
        xml.raw("<avatar-url>https://avatars.example.org/")
            .raw(&machine_uid(who.machine))
            .raw("/64x64.png</avatar-url>");
        if let Some(mark) = mark {
            xml.raw("<jitsi_participant_load>");
            mark.write(xml.0);
            xml.raw("</jitsi_participant_load>");
        }
        xml.raw("</presence>");
    }

    /// A chat line with its marker, padded to the length of the script.
    pub(crate) fn line(&self, out: &mut Vec<u8>, room: &str, mark: &Marker) {
        let mut xml = Xml(out);
        xml.raw("<message type=\"groupchat\" to=\"").esc(room).raw("\" id=\"");
        xml.raw(&format!("l{:08x}-{}-{}", mark.run, mark.sender, mark.seq));
        xml.raw("\" xmlns=\"jabber:client\"><body>");
        let start = xml.0.len();
        mark.write(xml.0);
        let len = xml.0.len() - start;
        const WORDS: &str =
            " the quick brown fox jumps over the lazy dog and says good evening to everybody in the hall";
        let pad = self.line_bytes.saturating_sub(len);
        xml.0.extend(WORDS.bytes().cycle().take(pad));
        xml.raw("</body></message>");
    }

    /// The answer to a `disco#info` query (spec/client.md 12); `to`, `id` and `node` are still escaped.
    pub(crate) fn disco_answer(&self, out: &mut Vec<u8>, to: &[u8], id: &[u8], node: Option<&[u8]>) {
        let mut xml = Xml(out);
        xml.raw("<iq type=\"result\" id=\"").escaped(id).raw("\" to=\"").escaped(to).raw("\" xmlns=\"jabber:client\">");
        xml.raw("<query xmlns=\"http://jabber.org/protocol/disco#info\"");
        if let Some(node) = node {
            xml.raw(" node=\"").escaped(node).raw("\"");
        }
        xml.raw(">");
        for feature in FEATURES {
            xml.raw("<feature var=\"").raw(feature).raw("\"/>");
        }
        xml.raw("</query></iq>");
    }
}

const DESKTOP: &str = ",\"videoType\":\"desktop\"";

fn machine_uid(machine: u64) -> String {
    format!("{machine:016x}{:016x}", machine.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// What differs from one client's presence to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Persona<'a> {
    /// Display name.
    pub(crate) name: &'a str,
    /// Pseudonym.
    pub(crate) stats_id: &'a str,
    /// Number of the device.
    pub(crate) machine: u64,
    /// Whether it has sources.
    pub(crate) sources: bool,
}

/// Appends markup and escaped text.
#[derive(Debug)]
pub(crate) struct Xml<'a>(pub &'a mut Vec<u8>);

impl Xml<'_> {
    /// Markup, or text that needs no escaping.
    pub(crate) fn raw(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Text of whatever kind.
    pub(crate) fn esc(&mut self, text: &str) -> &mut Self {
        for b in text.bytes() {
            match b {
                b'<' => self.0.extend_from_slice(b"&lt;"),
                b'>' => self.0.extend_from_slice(b"&gt;"),
                b'&' => self.0.extend_from_slice(b"&amp;"),
                b'"' => self.0.extend_from_slice(b"&quot;"),
                b'\'' => self.0.extend_from_slice(b"&apos;"),
                _ => self.0.push(b),
            }
        }
        self
    }

    /// An attribute value that is escaped already but may have stood in the other kind of quotes.
    pub(crate) fn escaped(&mut self, value: &[u8]) -> &mut Self {
        for &b in value {
            match b {
                b'"' => self.0.extend_from_slice(b"&quot;"),
                _ => self.0.push(b),
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{marker::Carrier, strict};

    fn script() -> Script {
        let url = Url::parse("ws://127.0.0.1:5280/xmpp-websocket").unwrap();
        let mut s = Script::new(url, "example.org", "conference.example.org", "Town", Admission::Iq("focus".into()), 1);
        s.vnode_urls.insert("v2".into(), Url::parse("ws://127.0.0.2:5290/ws").unwrap());
        s
    }

    #[test]
    fn a_visitor_node_is_addressed_as_clients_do() {
        let s = script();
        let place = s.place(Some("v1"));
        assert_eq!(place.domain, "v1.meet.jitsi");
        assert_eq!(place.room, "town@conference.v1.meet.jitsi");
        assert_eq!(place.target, "/xmpp-websocket?vnode=v1&room=town");
        assert_eq!(s.place(Some("v2")).url.port, 5290);
        assert_eq!(s.place(None).target, "/xmpp-websocket?room=town");
    }

    #[test]
    fn written_stanzas_are_well_formed() {
        let s = script();
        let mark = Marker { run: 1, carrier: Carrier::Chat, sender: 0, seq: 0, sent: 1 };
        let who = Persona { name: "A <&\"'> B", stats_id: "Ann-P4c", machine: 5, sources: true };
        let mut out = Vec::new();
        s.presence(&mut out, ("r@m", "1a2b3c4d"), &who, true, Some(&mark));
        assert_eq!(strict::check(&out), Ok(()));
        assert!((1_000..1_400).contains(&out.len()), "a realistic size, not {}", out.len());
        out.clear();
        s.line(&mut out, "r@m", &mark);
        assert_eq!(strict::check(&out), Ok(()));
        assert!(crate::scan::text_after(&out, "<body>").is_some_and(|b| b.len() == s.line_bytes));
        out.clear();
        s.disco_answer(&mut out, b"r@m/f\"x", b"&apos;1", Some(b"n#v"));
        assert_eq!(strict::check(&out), Ok(()));
        out.clear();
        s.request_iq(&mut out, "i1", "focus.example.org", 1, true);
        assert_eq!(strict::check(&out), Ok(()));
    }

    #[test]
    fn features_are_sorted_as_the_hash_demands() {
        assert!(FEATURES.is_sorted());
    }
}
