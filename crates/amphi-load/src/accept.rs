//! The client's answer to a `session-initiate` (spec/client.md 16.4), as little of it as a focus reads.

use crate::{scan, script::Xml};

/// Id of the stanza with the answer.
pub(crate) const ACCEPT_ID: &str = "accept:1";

/// The session that is answered; all values as they came, still escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Invitation {
    from: Vec<u8>,
    to: Vec<u8>,
    sid: Vec<u8>,
    initiator: Vec<u8>,
}

impl Invitation {
    /// From an IQ with `session-initiate`.
    pub(crate) fn read(iq: &[u8]) -> Option<Self> {
        let jingle = scan::child(iq, "jingle")?;
        Some(Self {
            from: scan::attr(iq, "from")?.to_vec(),
            to: scan::attr(iq, "to").unwrap_or_default().to_vec(),
            sid: scan::attr(jingle, "sid")?.to_vec(),
            initiator: scan::attr(jingle, "initiator").unwrap_or_default().to_vec(),
        })
    }
}

/// What the client says of its transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transport<'a> {
    pub(crate) ufrag: &'a str,
    pub(crate) password: &'a str,
    pub(crate) hash: &'a str,
    pub(crate) fingerprint: &'a str,
}

impl Transport<'static> {
    /// A transport that nobody will ever connect to.
    pub(crate) const CANNED: Self = Self {
        ufrag: "cann",
        password: "cannedpasswordcannedpassword",
        hash: "sha-256",
        fingerprint: "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF",
    };
}

/// SSRCs of one client: audio, then each video encoding with its retransmissions.
pub(crate) type Ssrcs<'a> = (u32, &'a [(u32, u32)]);

/// Writes the stanza. `endpoint`: the client's id, in front of the names of its sources.
pub(crate) fn write(
    out: &mut Vec<u8>,
    session: &Invitation,
    transport: Transport<'_>,
    endpoint: &str,
    sources: Option<Ssrcs<'_>>,
) {
    let mut xml = Xml(out);
    xml.raw("<iq type=\"set\" id=\"").raw(ACCEPT_ID).raw("\" to=\"").escaped(&session.from);
    xml.raw("\" xmlns=\"jabber:client\"><jingle xmlns=\"urn:xmpp:jingle:1\" action=\"session-accept\" initiator=\"");
    xml.escaped(&session.initiator).raw("\" responder=\"").escaped(&session.to).raw("\" sid=\"").escaped(&session.sid);
    xml.raw("\">");
    let senders = if sources.is_some() { "both" } else { "responder" };
    for (media, formats) in [("audio", OPUS), ("video", VP8)] {
        xml.raw("<content creator=\"responder\" name=\"").raw(media).raw("\" senders=\"").raw(senders);
        xml.raw("\"><description xmlns=\"urn:xmpp:jingle:apps:rtp:1\" media=\"").raw(media).raw("\">").raw(formats);
        xml.raw("<rtcp-mux/>");
        match (media, sources) {
            ("audio", Some((ssrc, _))) => source(&mut xml, endpoint, "a0", ssrc),
            ("video", Some((_, encodings))) => {
                for (ssrc, rtx) in encodings {
                    source(&mut xml, endpoint, "v0", *ssrc);
                    source(&mut xml, endpoint, "v0", *rtx);
                }
                if encodings.len() > 1 {
                    group(&mut xml, "SIM", encodings.iter().map(|it| it.0));
                }
                for (ssrc, rtx) in encodings {
                    group(&mut xml, "FID", [*ssrc, *rtx].into_iter());
                }
            }
            _ => {}
        }
        xml.raw("</description><transport xmlns=\"urn:xmpp:jingle:transports:ice-udp:1\" ufrag=\"")
            .esc(transport.ufrag);
        xml.raw("\" pwd=\"").esc(transport.password).raw("\"><rtcp-mux/>");
        xml.raw("<fingerprint xmlns=\"urn:xmpp:jingle:apps:dtls:0\" setup=\"active\" hash=\"").esc(transport.hash);
        xml.raw("\">").esc(transport.fingerprint).raw("</fingerprint></transport></content>");
    }
    xml.raw("<group xmlns=\"urn:xmpp:jingle:apps:grouping:0\" semantics=\"BUNDLE\">");
    xml.raw("<content name=\"audio\"/><content name=\"video\"/><content name=\"data\"/></group></jingle></iq>");
}

const OPUS: &str = "<payload-type id=\"111\" name=\"opus\" clockrate=\"48000\" channels=\"2\"/>";
const VP8: &str = "<payload-type id=\"100\" name=\"VP8\" clockrate=\"90000\"/>";

fn source(xml: &mut Xml<'_>, endpoint: &str, name: &str, ssrc: u32) {
    xml.raw("<source xmlns=\"urn:xmpp:jingle:apps:rtp:ssma:0\" ssrc=\"").raw(&ssrc.to_string());
    xml.raw("\" name=\"").esc(endpoint).raw("-").raw(name).raw("\"");
    if name.starts_with('v') {
        xml.raw(" videoType=\"camera\"");
    }
    let kind = if name.starts_with('v') { "video" } else { "audio" };
    xml.raw("><parameter name=\"msid\" value=\"").esc(endpoint).raw("-").raw(kind).raw("-0-1 t").raw(name);
    xml.raw("\"/></source>");
}

fn group(xml: &mut Xml<'_>, semantics: &str, ssrcs: impl Iterator<Item = u32>) {
    xml.raw("<ssrc-group xmlns=\"urn:xmpp:jingle:apps:rtp:ssma:0\" semantics=\"").raw(semantics).raw("\">");
    for ssrc in ssrcs {
        xml.raw("<source ssrc=\"").raw(&ssrc.to_string()).raw("\"/>");
    }
    xml.raw("</ssrc-group>");
}

#[cfg(test)]
mod tests {
    use amphi_jingle::{Jingle, Limits};
    use amphi_stanza::{Limits as XmlLimits, Stanza};

    use super::*;
    use crate::strict;

    #[test]
    fn an_answer_is_what_a_focus_reads() {
        let offer = b"<iq type='set' id='1' from='r@m/focus' to='a@d/r'><jingle xmlns='urn:xmpp:jingle:1' sid='s&amp;1' initiator='f@d/x' action='session-initiate'/></iq>";
        let session = Invitation::read(offer).unwrap();
        let mut out = Vec::new();
        write(&mut out, &session, Transport::CANNED, "1a2b3c4d", Some((1, &[(2, 3), (4, 5), (6, 7)])));
        assert_eq!(strict::check(&out), Ok(()));
        let stanza = Stanza::parse(out.into(), &XmlLimits::default()).unwrap();
        assert_eq!(stanza.attr("to").as_deref(), Some("r@m/focus"));
        let jingle = Jingle::parse(stanza.child("jingle", "urn:xmpp:jingle:1").unwrap(), &Limits::default()).unwrap();
        assert_eq!((jingle.sid.as_str(), jingle.responder.as_deref()), ("s&1", Some("a@d/r")));
        let sources = jingle.sources().unwrap();
        assert_eq!((sources.count(), sources.group_count()), (7, 4));
        assert_eq!(jingle.transport().unwrap().ufrag.as_deref(), Some("cann"));
        let mut out = Vec::new();
        write(&mut out, &session, Transport::CANNED, "1a2b3c4d", None);
        assert_eq!(strict::check(&out), Ok(()));
        assert!(!scan::has(&out, "<source"));
    }
}
