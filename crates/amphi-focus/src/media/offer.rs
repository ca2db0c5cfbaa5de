//! The offer. Everything in it but session, transport, sources and a few words is the same for all clients that can do
//! the same, so that part is rendered once (`spec/focus.md` 4.5, 10.2).

use std::collections::HashMap;
use std::sync::Arc;

use amphi_jingle::colibri2::{Capabilities, Media, media_text};
use amphi_jingle::{Action, IceTransport, MediaType, SctpMap, SourceMap, SourceSet, StartMuted, json, ns as jns};
use amphi_stanza::{XmlWriter, ns};

use super::config::MediaConfig;
use super::features::Features;
use super::formats::formats;

/// The part of an offer that depends on features alone.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Medium and its description, without the end tag: sources may follow.
    descriptions: Vec<(MediaType, String)>,
    /// `<description/>` of the data channel.
    pub(crate) data: bool,
    /// What the bridge is told of it.
    pub(crate) media: Arc<[Media]>,
    /// The same as it is written.
    pub(crate) media_text: Arc<str>,
    pub(crate) capabilities: Capabilities,
    /// The bridge announces sources itself.
    pub(crate) rewriting: bool,
    pub(crate) json: bool,
    pub(crate) features: Features,
}

const DESCRIPTION_END: &str = "</description>";
const TRANSPORT_END: &str = "</transport>";

impl Offer {
    fn new(features: Features, config: &MediaConfig) -> Self {
        let mut descriptions = Vec::new();
        let mut media = Vec::new();
        for (ty, feature) in [(MediaType::Audio, Features::AUDIO), (MediaType::Video, Features::VIDEO)] {
            if !features.has(feature) {
                continue;
            }
            let formats = formats(ty, &config.codecs, features);
            let mut w = XmlWriter::new();
            w.open_ns("description", jns::RTP).attr("media", ty);
            if ty == MediaType::Audio {
                w.attr("maxptime", 60);
            }
            formats.payload_types.iter().for_each(|p| p.write(&mut w, false));
            formats.extensions.iter().for_each(|x| x.write(&mut w));
            if formats.extmap_allow_mixed {
                w.empty("extmap-allow-mixed", jns::HDREXT);
            }
            w.open("rtcp-mux").close();
            let mut text = w.finish_string();
            text.truncate(text.len() - DESCRIPTION_END.len());
            descriptions.push((ty, text));
            media.push(Media { ty, formats });
        }
        let rewriting = config.ssrc_rewriting && features.has(Features::REWRITING);
        let mid_demux =
            rewriting && config.mid_demux && config.codecs.mid.is_some() && features.has(Features::MID_DEMUX);
        Self {
            descriptions,
            data: config.sctp && features.has(Features::SCTP),
            media_text: media_text(&media),
            media: media.into(),
            capabilities: Capabilities {
                source_names: true,
                ssrc_rewriting: rewriting,
                rtp_mid_demux: mid_demux,
                private_addresses: false,
            },
            rewriting,
            json: config.json_sources && features.has(Features::JSON),
            features,
        }
    }
}

/// Offers by features.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    known: HashMap<Features, Arc<Offer>>,
}

impl Offers {
    /// There are no more feature sets than bits allow, and clients have few of them.
    pub(crate) fn get(&mut self, features: Features, config: &MediaConfig) -> Arc<Offer> {
        let features = features.without(Features::AUDIO_MUTE);
        self.known.entry(features).or_insert_with(|| Arc::new(Offer::new(features, config))).clone()
    }
}

/// What is different in every offer.
pub(crate) struct Particulars<'a> {
    pub(crate) sid: &'a str,
    pub(crate) initiator: &'a str,
    pub(crate) transport: &'a IceTransport,
    pub(crate) sctp_port: Option<u16>,
    pub(crate) start_muted: StartMuted,
    pub(crate) session_id: &'a str,
    pub(crate) region: Option<&'a str>,
    /// Sources, the bridge's own included; already filtered for the client.
    pub(crate) sources: &'a SourceMap,
}

impl Offer {
    /// Writes `<jingle action='session-initiate'/>`.
    pub(crate) fn write(&self, w: &mut XmlWriter, p: &Particulars<'_>) {
        w.open_ns("jingle", ns::JINGLE).attr("action", Action::SessionInitiate.as_str());
        w.attr("initiator", p.initiator).attr("sid", p.sid);
        let mut transport = XmlWriter::new();
        p.transport.write(&mut transport);
        let transport = transport.finish_string();
        for (ty, description) in &self.descriptions {
            content(w, ty.as_str());
            w.raw(description);
            if !self.json {
                sources_xml(w, *ty, p.sources.iter().map(|(o, s)| (o.as_str(), s)));
            }
            w.raw(DESCRIPTION_END).raw(&transport).close();
        }
        let data = p.sctp_port.filter(|_| self.data);
        if let Some(port) = data {
            content(w, "data");
            w.open_ns("description", jns::RTP).attr("media", "application").open("rtcp-mux").close().close();
            let map = SctpMap { number: port, protocol: "webrtc-datachannel".into(), streams: 1024 };
            match transport.strip_suffix(TRANSPORT_END) {
                Some(begun) => {
                    w.raw(begun);
                    map.write(w);
                    w.raw(TRANSPORT_END);
                }
                None => IceTransport { sctpmap: Some(map), ..p.transport.clone() }.write(w),
            }
            w.close();
        }
        w.open_ns("group", jns::GROUPING).attr("semantics", "BUNDLE");
        for name in self.descriptions.iter().map(|(ty, _)| ty.as_str()).chain(data.map(|_| "data")) {
            w.open("content").attr("name", name).close();
        }
        w.close();
        if p.start_muted != StartMuted::default() {
            w.open_ns("startmuted", ns::START_MUTED).attr("audio", p.start_muted.audio);
            w.attr("video", p.start_muted.video).close();
        }
        w.open_ns("bridge-session", ns::FOCUS).attr("id", p.session_id).attr_opt("region", p.region).close();
        if self.json && !p.sources.is_empty() {
            sources_json(w, p.sources.iter().map(|(o, s)| (o.as_str(), s)));
        }
        w.close();
    }
}

fn content(w: &mut XmlWriter, name: &'static str) {
    w.open("content").attr("creator", "initiator").attr("name", name).attr("senders", "both");
}

/// Sources of one medium as XML, each with its owner.
pub(crate) fn sources_xml<'a>(
    w: &mut XmlWriter,
    ty: MediaType,
    sources: impl Iterator<Item = (&'a str, &'a SourceSet)>,
) {
    for (owner, set) in sources {
        let of = set.media(ty);
        for s in &of.sources {
            amphi_jingle::Source { owner: Some(owner.to_owned()), ..s.clone() }.write(w);
        }
        of.groups.iter().for_each(|g| g.write(w));
    }
}

/// Sources in compact JSON.
pub(crate) fn sources_json<'a>(w: &mut XmlWriter, sources: impl Iterator<Item = (&'a str, &'a SourceSet)>) {
    w.open_ns("json-message", ns::JITMEET).text(json::to_json(sources)).close();
}

#[cfg(test)]
mod tests {
    use amphi_jingle::{Jingle, Limits};

    use super::*;

    fn written(features: Features, sources: &SourceMap) -> Jingle {
        let config = MediaConfig::default();
        let offer = Offers::default().get(features, &config);
        let transport =
            IceTransport { ufrag: Some("u".into()), pwd: Some("p".into()), rtcp_mux: true, ..Default::default() };
        let mut w = XmlWriter::new();
        let p = Particulars {
            sid: "s",
            initiator: "focus@x/focus",
            transport: &transport,
            sctp_port: Some(5000),
            start_muted: StartMuted { audio: true, video: false },
            session_id: "b",
            region: None,
            sources,
        };
        offer.write(&mut w, &p);
        Jingle::parse(w.stanza().root(), &Limits::default()).unwrap()
    }

    fn sources() -> SourceMap {
        let mut set = SourceSet::default();
        let s = amphi_jingle::Source { ssrc: 7, msid: Some("m".into()), ..Default::default() };
        set.audio.sources.push(s);
        [("o".to_owned(), set)].into()
    }

    #[test]
    fn clients_without_json_get_sources_and_the_data_channel() {
        let j = written(Features::ASSUMED, &sources());
        assert_eq!(j.contents.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["audio", "video", "data"]);
        assert_eq!(j.contents[0].sources.sources[0].owner.as_deref(), Some("o"));
        assert!(j.json_sources.is_none());
        assert_eq!(j.contents[2].transport.as_ref().unwrap().sctpmap.as_ref().unwrap().number, 5000);
        assert_eq!(j.start_muted, Some(StartMuted { audio: true, video: false }));
    }

    #[test]
    fn clients_with_json_get_the_same_in_json() {
        let j = written(Features::ASSUMED.with(Features::JSON), &sources());
        assert_eq!(j.json_sources.unwrap()["o"].audio.sources[0].ssrc, 7);
        assert_eq!(j.contents.iter().map(|c| c.sources.sources.len()).sum::<usize>(), 0);
        let j = written(Features::AUDIO, &SourceMap::new());
        assert_eq!(j.contents.len(), 1);
        assert_eq!(j.bundle, Some(vec!["audio".into()]));
    }
}
