//! What a bridge offers, whichever way the offer came (Jingle or colibri2), and what a client answers.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use amphi_jingle::{Formats, IceTransport, Jingle, MediaType};
use anyhow::{Context, bail};

/// URIs of the header extensions that matter here.
pub(crate) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
/// Transport-wide sequence numbers.
pub(crate) const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// The bridge's transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bridge {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    pub(crate) hash: String,
    pub(crate) fingerprint: String,
    /// Where it is reached from here.
    pub(crate) address: SocketAddr,
    /// The channel goes over SCTP.
    pub(crate) sctp: bool,
}

impl Bridge {
    /// From a transport element.
    pub(crate) fn new(ice: &IceTransport, sctp: bool) -> anyhow::Result<Self> {
        let fingerprint = ice.fingerprints.first().context("offer without fingerprint")?;
        Ok(Self {
            ufrag: ice.ufrag.clone().context("offer without ufrag")?,
            password: ice.pwd.clone().context("offer without password")?,
            hash: fingerprint.hash.clone(),
            fingerprint: fingerprint.value.clone(),
            address: reachable(ice)?,
            sctp,
        })
    }
}

/// Loopback is best where it is offered, then any IPv4 address.
fn reachable(ice: &IceTransport) -> anyhow::Result<SocketAddr> {
    let udp = ice.candidates.iter().filter(|c| c.protocol == "udp");
    let addresses: Vec<SocketAddr> =
        udp.filter_map(|c| Some(SocketAddr::new(c.ip.parse::<IpAddr>().ok()?, c.port))).collect();
    let v4 = || addresses.iter().filter(|it| it.is_ipv4());
    match v4().find(|it| it.ip().is_loopback()).or_else(|| v4().next()) {
        Some(address) => Ok(*address),
        None => bail!("offer without an IPv4 candidate"),
    }
}

/// The address from which this machine reaches another one, and whether that one is this machine itself.
pub(crate) fn own_address(of: SocketAddr) -> anyhow::Result<(IpAddr, bool)> {
    let probe = UdpSocket::bind("0.0.0.0:0")?;
    probe.connect(of)?;
    let own = probe.local_addr()?.ip();
    Ok((own, of.ip().is_loopback() || own == of.ip()))
}

/// Payload types and extension numbers of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) opus: u8,
    pub(crate) vp8: u8,
    pub(crate) rtx: u8,
    pub(crate) audio_level: Option<u8>,
    pub(crate) transport_cc: Option<u8>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { opus: 111, vp8: 100, rtx: 96, audio_level: Some(1), transport_cc: Some(5) }
    }
}

impl Numbers {
    fn new(audio: &Formats, video: &Formats) -> anyhow::Result<Self> {
        let named = |formats: &Formats, name: &str| {
            let found = formats.payload_types.iter().find(|it| it.name.eq_ignore_ascii_case(name));
            found.map(|it| it.id)
        };
        let vp8 = named(video, "VP8").context("offer without VP8")?;
        let apt = vp8.to_string();
        let rtx = video.payload_types.iter().find(|it| it.name == "rtx" && it.parameter("apt") == Some(&apt));
        let extension =
            |formats: &Formats, uri: &str| formats.extensions.iter().find(|it| it.uri == uri).map(|it| it.id);
        Ok(Self {
            opus: named(audio, "opus").context("offer without Opus")?,
            vp8,
            rtx: rtx.context("offer without RTX for VP8")?.id,
            audio_level: extension(audio, AUDIO_LEVEL),
            transport_cc: extension(video, TRANSPORT_CC),
        })
    }
}

/// What a `session-initiate` says.
pub(crate) fn offered(jingle: &Jingle) -> anyhow::Result<(Bridge, Numbers)> {
    let formats = |wanted: MediaType| {
        let content = jingle.contents.iter().find(|c| c.media() == Some(wanted));
        content.and_then(|c| c.description.as_ref()).map(|d| &d.formats)
    };
    let audio = formats(MediaType::Audio).context("offer without audio")?;
    let video = formats(MediaType::Video).context("offer without video")?;
    let sctp = jingle.contents.iter().any(|c| c.name == "data");
    let ice = jingle.transport().context("offer without transport")?;
    Ok((Bridge::new(ice, sctp)?, Numbers::new(audio, video)?))
}

/// What a client publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    pub(crate) audio: u32,
    /// Encodings, lowest first, each with its SSRC of retransmissions.
    pub(crate) video: Vec<(u32, u32)>,
}

impl Sources {
    /// SSRCs that no other client of the run has.
    pub(crate) fn of(index: u32, run: u32) -> Self {
        let base = (run & 0x00ff_ffff) << 8 ^ index << 4 | 1;
        let video = (0..super::video::COUNT as u32).map(|n| (base + 1 + 2 * n, base + 2 + 2 * n)).collect();
        Self { audio: base, video }
    }
}

/// A client's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    pub(crate) hash: String,
    pub(crate) fingerprint: String,
    pub(crate) sources: Option<Sources>,
}

#[cfg(test)]
mod tests {
    use amphi_jingle::Limits;
    use amphi_stanza::{Limits as XmlLimits, Stanza};

    use super::*;

    #[test]
    fn an_offer_says_where_the_bridge_is_and_how_formats_are_numbered() {
        let xml = format!(
            "<iq xmlns='jabber:client'><jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s' initiator='f'>\
             <content name='audio'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>\
             <payload-type id='111' name='opus' clockrate='48000' channels='2'/>\
             <rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='1' uri='{AUDIO_LEVEL}'/></description>\
             <transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='u' pwd='p'>\
             <fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256'>AA:BB</fingerprint>\
             <candidate component='1' foundation='1' ip='192.0.2.1' port='9' protocol='udp' type='host'/>\
             <candidate component='1' foundation='1' ip='127.0.0.1' port='7' protocol='udp' type='host'/>\
             </transport></content>\
             <content name='video'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='video'>\
             <payload-type id='42' name='rtx' clockrate='90000'><parameter name='apt' value='41'/></payload-type>\
             <payload-type id='100' name='VP8' clockrate='90000'/>\
             <payload-type id='96' name='rtx' clockrate='90000'><parameter name='apt' value='100'/></payload-type>\
             <rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='5' uri='{TRANSPORT_CC}'/></description></content>\
             <content name='data'/></jingle></iq>"
        );
        let stanza = Stanza::parse(xml.into(), &XmlLimits::default()).unwrap();
        let jingle = Jingle::parse(stanza.child("jingle", "urn:xmpp:jingle:1").unwrap(), &Limits::default()).unwrap();
        let (bridge, numbers) = offered(&jingle).unwrap();
        assert_eq!((bridge.address.to_string().as_str(), bridge.sctp), ("127.0.0.1:7", true));
        assert_eq!(numbers, Numbers::default());
    }

    #[test]
    fn ssrcs_of_clients_do_not_meet() {
        let all: Vec<u32> = (0..50)
            .flat_map(|n| {
                let it = Sources::of(n, 77);
                it.video.into_iter().flat_map(|(a, b)| [a, b]).chain([it.audio])
            })
            .collect();
        let set: std::collections::HashSet<u32> = all.iter().copied().collect();
        assert_eq!(set.len(), all.len());
    }
}
