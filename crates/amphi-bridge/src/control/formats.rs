//! Payload types and header extensions of colibri2 in the terms of the media plane, and sources in those of decisions.

use std::sync::Arc;

use amphi_jingle::colibri2::{Media, MediaSource};
use amphi_jingle::{MediaType, PayloadType, Semantics};
use amphi_media::codec::Codec as Video;
use amphi_media::ids::{EndpointId, MediaKind, SourceId};
use amphi_media::source::{Semantics as GroupKind, Signaled, SourceDesc, SsrcGroup, VideoType};

use crate::plane::command::{self, Codec};

/// Adds what was signaled; nothing is ever taken away (`spec/bridge.md` 1.8). `relay`: feedback of the congestion control is not used on
/// relays (5.2).
pub(super) fn add(to: &mut command::Media, media: &[Media], relay: bool, most: usize) {
    for m in media {
        for p in &m.formats.payload_types {
            let full = to.payload_types.len() >= 2 * most;
            let new = payload_type(m.ty, p);
            match to.payload_types.iter_mut().find(|have| have.number == p.id) {
                Some(have) => *have = new,
                None if !full => to.payload_types.push(new),
                None => tracing::debug!(number = p.id, "A payload type beyond the limit is ignored."),
            }
            // Whoever knows a payload type of a medium wants the medium.
            match m.ty {
                MediaType::Audio => to.accepts_audio = true,
                MediaType::Video => to.accepts_video = true,
            }
        }
        for x in &m.formats.extensions {
            let congestion = x.uri.contains("transport-wide-cc") || x.uri.ends_with("abs-send-time");
            if relay && congestion {
                continue;
            }
            if let Err(e) = to.extensions.insert(x.id, &x.uri) {
                tracing::debug!(id = x.id, uri = %x.uri, error = %e, "A header extension is ignored.");
            }
        }
        to.extensions.set_mixed(m.formats.extmap_allow_mixed);
    }
}

fn payload_type(ty: MediaType, p: &PayloadType) -> command::PayloadType {
    let name = p.name.to_ascii_lowercase();
    let codec = match (ty, name.as_str()) {
        (MediaType::Audio, "opus") => Codec::Opus,
        (MediaType::Audio, "red") => Codec::Red,
        (MediaType::Audio, _) => Codec::OtherAudio,
        (MediaType::Video, "vp8") => Codec::Video(Video::Vp8),
        (MediaType::Video, "vp9") => Codec::Video(Video::Vp9),
        (MediaType::Video, "h264") => Codec::Video(Video::H264),
        (MediaType::Video, "av1") => Codec::Video(Video::Av1),
        (MediaType::Video, "rtx") => match p.parameter("apt").and_then(|apt| apt.parse().ok()) {
            Some(apt) => Codec::Rtx { apt },
            None => Codec::Video(Video::Other),
        },
        (MediaType::Video, _) => Codec::Video(Video::Other),
    };
    command::PayloadType {
        number: p.id,
        codec,
        clock_rate: p.clockrate,
        nack: p.has_feedback("nack", None),
        pli: p.has_feedback("nack", Some("pli")),
        fir: p.has_feedback("ccm", Some("fir")),
        transport_cc: p.has_feedback("transport-cc", None),
    }
}

/// A source as it is signaled.
pub(super) fn source(owner: EndpointId, id: SourceId, s: &MediaSource) -> SourceDesc {
    let kind = match s.ty {
        MediaType::Audio => MediaKind::Audio,
        MediaType::Video => MediaKind::Video,
    };
    let groups = s.media.groups.iter().map(|g| SsrcGroup {
        semantics: match g.semantics {
            Semantics::Sim => GroupKind::Sim,
            Semantics::Fid => GroupKind::Fid,
            Semantics::FecFr => GroupKind::Fec,
        },
        ssrcs: g.ssrcs.clone(),
    });
    let video_type = s.media.sources.iter().find_map(|x| x.video_type);
    SourceDesc::new(
        owner,
        Signaled {
            id,
            name: Arc::from(s.id.as_str()),
            kind,
            video_type: video_type.and_then(|v| VideoType::parse(v.as_str())),
            ssrcs: s.media.sources.iter().map(|x| x.ssrc).collect(),
            groups: groups.collect(),
            synthetic: s.synthetic,
        },
    )
}
