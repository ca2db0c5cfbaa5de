//! Endpoints and relays, in requests and in answers.

use std::collections::HashMap;
use std::sync::Arc;

use amphi_stanza::{Element, XmlWriter};

use crate::error::{ParseError, Result};
use crate::read::{flag, need, number, push, text};
use crate::rtp::Formats;
use crate::{IceTransport, Limits, MediaSources, MediaType, SourceSet, ns};

/// What an endpoint or relay can send and receive of one medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Which.
    pub ty: MediaType,
    /// Payload types and header extensions.
    pub formats: Formats,
}

/// Which side of SCTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SctpRole {
    Client,
    Server,
}

/// SCTP over DTLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sctp {
    /// Which side the bridge takes.
    pub role: Option<SctpRole>,
    /// Port.
    pub port: Option<u16>,
}

/// A transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// The bridge controls ICE.
    pub ice_controlling: bool,
    /// Not the port that all share.
    pub use_unique_port: bool,
    /// Restart ICE in place.
    pub ice_restart: bool,
    /// Credentials, certificates, candidates.
    pub ice: Option<IceTransport>,
    /// SCTP.
    pub sctp: Option<Sctp>,
}

impl Transport {
    fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let mut t = Self {
            ice_controlling: flag(e, "ice-controlling"),
            use_unique_port: flag(e, "use-unique-port"),
            ice_restart: flag(e, "ice-restart"),
            ..Self::default()
        };
        if let Some(i) = e.child("transport", ns::ICE_UDP) {
            t.ice = Some(IceTransport::parse(i, l)?);
        }
        if let Some(s) = e.child("sctp", ns::COLIBRI2) {
            let role = match s.attr("role").as_deref() {
                None => None,
                Some("client") => Some(SctpRole::Client),
                Some("server") => Some(SctpRole::Server),
                Some(_) => return Err(ParseError::Unknown("sctp role")),
            };
            t.sctp = Some(Sctp { role, port: number(s, "port")? });
        }
        Ok(t)
    }

    fn write(&self, w: &mut XmlWriter) {
        w.open("transport");
        for (name, set) in [
            ("ice-controlling", self.ice_controlling),
            ("use-unique-port", self.use_unique_port),
            ("ice-restart", self.ice_restart),
        ] {
            if set {
                w.attr(name, "true");
            }
        }
        if let Some(i) = &self.ice {
            i.write(w);
        }
        if let Some(s) = &self.sctp {
            let role = s.role.map(|r| if r == SctpRole::Client { "client" } else { "server" });
            w.open("sctp").attr_opt("role", role).attr_opt("port", s.port).close();
        }
        w.close();
    }
}

/// One source of an endpoint: all SSRCs under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSource {
    /// Sound or pictures.
    pub ty: MediaType,
    /// Its name.
    pub id: String,
    /// Nobody sends it: a bridge's exporter may.
    pub synthetic: bool,
    /// SSRCs and groups.
    pub media: MediaSources,
}

impl MediaSource {
    fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let ty = e.attr("type").ok_or(ParseError::Missing("media-source type"))?;
        let mut s = Self {
            ty: MediaType::parse(&ty).ok_or(ParseError::Unknown("media-source type"))?,
            id: need(e, "id", l)?,
            synthetic: flag(e, "synthetic"),
            media: MediaSources::default(),
        };
        for c in e.children() {
            s.media.take(c, l)?;
        }
        Ok(s)
    }

    fn write(&self, w: &mut XmlWriter) {
        w.open("media-source").attr("type", self.ty).attr("id", &self.id);
        if self.synthetic {
            w.attr("synthetic", "true");
        }
        self.media.sources.iter().for_each(|s| s.write_plain(w));
        self.media.groups.iter().for_each(|g| g.write(w));
        w.close();
    }

    /// The sources of an endpoint, one per name. What has no name goes to `<endpoint>-a0` or `-v0`; a group goes to the
    /// source of its first member that is known (`spec/focus.md` 5.3).
    pub fn from_set(endpoint: &str, set: &SourceSet) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for ty in [MediaType::Video, MediaType::Audio] {
            let of = set.media(ty);
            let from = all.len();
            for s in &of.sources {
                let fallback = || format!("{endpoint}-{}0", if ty == MediaType::Audio { 'a' } else { 'v' });
                let id = s.name.clone().unwrap_or_else(fallback);
                let at = all[from..].iter().position(|m| m.id == id).map_or_else(
                    || {
                        all.push(Self { ty, id, synthetic: false, media: MediaSources::default() });
                        all.len() - 1
                    },
                    |at| from + at,
                );
                all[at].media.sources.push(s.clone());
            }
            for g in &of.groups {
                let home = all[from..]
                    .iter_mut()
                    .find(|m| m.media.sources.iter().any(|s| g.ssrcs.first().is_some_and(|first| *first == s.ssrc)));
                if let Some(m) = home {
                    m.media.groups.push(g.clone());
                }
            }
        }
        all
    }

    pub(crate) fn parse_all(e: Element<'_>, l: &Limits) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for c in e.children().filter(|c| c.is("media-source", ns::COLIBRI2)) {
            push(&mut all, Self::parse(c, l)?, l.sources, "media-sources")?;
        }
        if all.iter().map(|m| m.media.sources.len()).sum::<usize>() > l.sources {
            return Err(ParseError::TooMany("sources"));
        }
        Ok(all)
    }

    pub(crate) fn write_all(all: &[Self], w: &mut XmlWriter) {
        w.open("sources");
        all.iter().for_each(|s| s.write(w));
        w.close();
    }
}

/// What an endpoint must not send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct ForceMute {
    pub audio: bool,
    pub video: bool,
}

/// What an endpoint can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// Sources have names.
    pub source_names: bool,
    /// The bridge chooses the SSRCs that this endpoint receives.
    pub ssrc_rewriting: bool,
    /// The endpoint tells streams apart by MID.
    pub rtp_mid_demux: bool,
    /// The endpoint is in the bridge's network.
    pub private_addresses: bool,
}

impl Capabilities {
    fn list(&self) -> [(&'static str, bool); 4] {
        [
            ("source-names", self.source_names),
            ("ssrc-rewriting", self.ssrc_rewriting),
            ("rtp-mid-demux", self.rtp_mid_demux),
            ("private-address-connectivity", self.private_addresses),
        ]
    }
}

/// An endpoint, in a request or in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// It is new.
    pub create: bool,
    /// It goes.
    pub expire: bool,
    /// Id for statistics.
    pub stats_id: Option<String>,
    /// It only receives.
    pub visitor: bool,
    /// Tell speakers behind this endpoint apart.
    pub diarize: bool,
    /// What it can send and receive; shared, since many endpoints have the same.
    pub media: Arc<[Media]>,
    /// How `media` is written ([`media_text`]), if that is known already.
    pub media_text: Option<Arc<str>>,
    /// Its transport.
    pub transport: Option<Transport>,
    /// Its sources, all of them; `None`: as before.
    pub sources: Option<Vec<MediaSource>>,
    /// What it must not send; `None`: as before.
    pub force_mute: Option<ForceMute>,
    /// What it can do; read on creation.
    pub capabilities: Capabilities,
    /// How many videos it wants at first.
    pub initial_last_n: Option<i32>,
}

impl Endpoint {
    /// An endpoint of which nothing is said.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    /// An endpoint that goes.
    pub fn expired(id: impl Into<String>) -> Self {
        Self { id: id.into(), expire: true, ..Self::default() }
    }

    pub(crate) fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        Self::parse_knowing(e, l, &mut KnownMedia::default())
    }

    pub(crate) fn parse_knowing(e: Element<'_>, l: &Limits, known: &mut KnownMedia) -> Result<Self> {
        let mut p = Self {
            id: need(e, "id", l)?,
            create: flag(e, "create"),
            expire: flag(e, "expire"),
            stats_id: text(e, "stats-id", l)?,
            visitor: e.attr("muc-role").is_some_and(|r| r.eq_ignore_ascii_case("visitor")),
            diarize: flag(e, "diarize"),
            ..Self::default()
        };
        p.media = known.read(e, l)?;
        for c in e.children().filter(|c| c.ns() == ns::COLIBRI2) {
            match c.name() {
                "transport" => p.transport = Some(Transport::parse(c, l)?),
                "sources" => p.sources = Some(MediaSource::parse_all(c, l)?),
                "force-mute" => p.force_mute = Some(ForceMute { audio: flag(c, "audio"), video: flag(c, "video") }),
                "capability" => match c.attr("name").as_deref() {
                    Some("source-names") => p.capabilities.source_names = true,
                    Some("ssrc-rewriting") => p.capabilities.ssrc_rewriting = true,
                    Some("rtp-mid-demux") => p.capabilities.rtp_mid_demux = true,
                    Some("private-address-connectivity") => p.capabilities.private_addresses = true,
                    _ => {}
                },
                "initial-last-n" => p.initial_last_n = number(c, "value")?,
                _ => {}
            }
        }
        Ok(p)
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open("endpoint").attr("id", &self.id);
        write_life(self.create, self.expire, w);
        w.attr_opt("stats-id", self.stats_id.as_ref());
        if self.visitor {
            w.attr("muc-role", "visitor");
        }
        if self.diarize {
            w.attr("diarize", "true");
        }
        match &self.media_text {
            Some(text) => drop(w.raw(text)),
            None => self.media.iter().for_each(|m| write_media(m, w)),
        }
        if let Some(t) = &self.transport {
            t.write(w);
        }
        if let Some(s) = &self.sources {
            MediaSource::write_all(s, w);
        }
        if let Some(m) = self.force_mute {
            w.open("force-mute");
            for (name, set) in [("audio", m.audio), ("video", m.video)] {
                if set {
                    w.attr(name, "true");
                }
            }
            w.close();
        }
        for (name, has) in self.capabilities.list() {
            if has {
                w.open("capability").attr("name", name).close();
            }
        }
        if let Some(n) = self.initial_last_n {
            w.open("initial-last-n").attr("value", n).close();
        }
        w.close();
    }
}

fn write_life(create: bool, expire: bool, w: &mut XmlWriter) {
    for (name, set) in [("create", create), ("expire", expire)] {
        if set {
            w.attr(name, "true");
        }
    }
}

fn parse_media(e: Element<'_>, l: &Limits) -> Result<Media> {
    let ty = e.attr("type").ok_or(ParseError::Missing("media type"))?;
    let ty = MediaType::parse(&ty).ok_or(ParseError::Unknown("media type"))?;
    let mut formats = Formats::default();
    for c in e.children() {
        formats.take(c, l)?;
    }
    Ok(Media { ty, formats })
}

/// How media are written in an endpoint.
pub fn media_text(media: &[Media]) -> Arc<str> {
    let mut w = XmlWriter::new();
    media.iter().for_each(|m| write_media(m, &mut w));
    w.finish_string().into()
}

/// Media that were read before, by how they were written: nearly all clients of a meeting can do the same, and say it in hundreds of
/// elements.
#[derive(Debug, Default)]
pub struct KnownMedia {
    known: HashMap<Box<str>, Arc<[Media]>>,
    key: String,
}

/// There are a few kinds of clients. Whoever makes up more does not find them here.
const KNOWN: usize = 64;

impl KnownMedia {
    /// The media of an endpoint; those of one list are one.
    fn read(&mut self, e: Element<'_>, l: &Limits) -> Result<Arc<[Media]>> {
        let all = || e.children().filter(|c| c.is("media", ns::COLIBRI2));
        self.key.clear();
        all().for_each(|c| self.key.push_str(c.outer()));
        if self.key.is_empty() {
            return Ok(Arc::default());
        }
        if let Some(known) = self.known.get(self.key.as_str()) {
            return Ok(known.clone());
        }
        let mut media = Vec::new();
        for c in all() {
            push(&mut media, parse_media(c, l)?, 2, "media")?;
        }
        let media: Arc<[Media]> = media.into();
        // The same text means the same, unless it leans on prefixes that are declared further out.
        let alone = |c: Element<'_>| c.outer().starts_with("<media") && !c.standalone().contains("xmlns:");
        if self.known.len() < KNOWN && all().all(alone) {
            self.known.insert(self.key.as_str().into(), media.clone());
        }
        Ok(media)
    }
}

fn write_media(m: &Media, w: &mut XmlWriter) {
    w.open("media").attr("type", m.ty);
    m.formats.write(w, true);
    w.close();
}

/// A link to another bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relay {
    /// Relay id of the other bridge.
    pub id: String,
    /// It is new.
    pub create: bool,
    /// It goes.
    pub expire: bool,
    /// Which mesh the link belongs to.
    pub mesh_id: Option<String>,
    /// What goes over it.
    pub media: Arc<[Media]>,
    /// Its transport.
    pub transport: Option<Transport>,
    /// Endpoints behind it.
    pub endpoints: Vec<Endpoint>,
}

impl Relay {
    /// A relay of which nothing is said.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    pub(crate) fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let mut r = Self {
            id: need(e, "id", l)?,
            create: flag(e, "create"),
            expire: flag(e, "expire"),
            mesh_id: text(e, "mesh-id", l)?,
            ..Self::default()
        };
        let mut media = Vec::new();
        for c in e.children().filter(|c| c.ns() == ns::COLIBRI2) {
            match c.name() {
                "media" => push(&mut media, parse_media(c, l)?, 2, "media")?,
                "transport" => r.transport = Some(Transport::parse(c, l)?),
                "endpoints" => {
                    for x in c.children().filter(|x| x.is("endpoint", ns::COLIBRI2)) {
                        push(&mut r.endpoints, Endpoint::parse(x, l)?, l.endpoints, "endpoints")?;
                    }
                }
                _ => {}
            }
        }
        r.media = media.into();
        Ok(r)
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open("relay").attr("id", &self.id);
        write_life(self.create, self.expire, w);
        w.attr_opt("mesh-id", self.mesh_id.as_ref());
        self.media.iter().for_each(|m| write_media(m, w));
        if let Some(t) = &self.transport {
            t.write(w);
        }
        if !self.endpoints.is_empty() {
            w.open("endpoints");
            self.endpoints.iter().for_each(|e| e.write(w));
            w.close();
        }
        w.close();
    }
}

#[cfg(test)]
mod tests {
    use amphi_stanza::Stanza;

    use super::*;
    use crate::colibri2::ConferenceModify;

    fn media() -> Arc<[Media]> {
        let mut formats = Formats::default();
        formats.payload_types.push(crate::PayloadType {
            id: 111,
            name: "opus".into(),
            channels: 2,
            ..Default::default()
        });
        Arc::new([Media { ty: MediaType::Audio, formats }])
    }

    fn request(text: Option<Arc<str>>) -> Stanza {
        let mut m = ConferenceModify::new("m");
        m.endpoints.push(Endpoint { create: true, media: media(), media_text: text, ..Endpoint::new("e") });
        let mut w = XmlWriter::new();
        m.write(&mut w);
        w.stanza()
    }

    #[test]
    fn media_are_written_the_same_from_text_that_is_kept() {
        assert_eq!(request(None).raw(), request(Some(media_text(&media()))).raw());
    }

    #[test]
    fn equal_media_are_read_once() {
        let (l, mut known) = (Limits::default(), KnownMedia::default());
        let mut read =
            |s: &Stanza| ConferenceModify::parse_knowing(s.root(), &l, &mut known).unwrap().endpoints.remove(0).media;
        let (a, b) = (read(&request(None)), read(&request(None)));
        assert_eq!(a, media());
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn media_that_lean_on_prefixes_of_further_out_are_read_each_time() {
        let (l, mut known) = (Limits::default(), KnownMedia::default());
        let mut names = |ns: &str| {
            let xml = format!(
                "<conference-modify xmlns='jitsi:colibri2' xmlns:p='{ns}' meeting-id='m'><endpoint id='e'><media type='audio'><p:payload-type id='1' name='x'/></media></endpoint></conference-modify>"
            );
            let s = Stanza::authored(xml.into());
            ConferenceModify::parse_knowing(s.root(), &l, &mut known).unwrap();
            known.known.len()
        };
        assert_eq!(names("urn:xmpp:jingle:apps:rtp:1"), 0);
        assert_eq!(names("urn:other"), 0);
    }
}
