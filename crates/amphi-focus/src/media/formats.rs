//! Payload types and header extensions that are offered to a client, by what it can do (`spec/focus.md` 4.5).

use amphi_jingle::{Feedback, Formats, HeaderExtension, MediaType, Parameter, PayloadType};

use super::config::{Codecs, VideoCodec};
use super::features::Features;

fn parameter(name: Option<&str>, value: impl ToString) -> Parameter {
    Parameter { name: name.map(str::to_owned), value: value.to_string() }
}

fn extension(id: Option<u8>, uri: &str) -> Option<HeaderExtension> {
    Some(HeaderExtension { id: id?, uri: uri.to_owned() })
}

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const TCC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

fn audio(c: &Codecs, f: Features) -> Formats {
    let opus_pt = |id: u8, name: &str| PayloadType {
        id,
        name: name.to_owned(),
        clockrate: 48_000,
        channels: 2,
        ..PayloadType::default()
    };
    let mut payload_types = Vec::new();
    if let (Some(red), true) = (c.red, f.has(Features::RED)) {
        let p = opus_pt(red, "red");
        payload_types.push(PayloadType { parameters: vec![parameter(None, format!("{0}/{0}", c.opus))], ..p });
    }
    let mut opus = opus_pt(c.opus, "opus");
    opus.parameters.push(parameter(Some("minptime"), c.opus_minptime));
    if c.opus_fec && c.red.is_none() {
        opus.parameters.push(parameter(Some("useinbandfec"), 1));
    }
    let tcc = f.has(Features::TCC) && c.tcc.is_some();
    if tcc {
        opus.feedback.push(Feedback::new("transport-cc", None));
    }
    payload_types.push(opus);
    if let Some(id) = c.telephone_event {
        let p =
            PayloadType { id, name: "telephone-event".into(), clockrate: 8000, channels: 1, ..PayloadType::default() };
        payload_types.push(p);
    }
    let extensions = [
        extension(c.audio_level, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
        extension(c.mid, MID),
        extension(c.tcc.filter(|_| tcc), TCC),
    ];
    let extensions = extensions.into_iter().flatten().collect();
    Formats { payload_types, extensions, extmap_allow_mixed: c.extmap_allow_mixed }
}

fn video(c: &Codecs, f: Features) -> Formats {
    let tcc = f.has(Features::TCC) && c.tcc.is_some();
    let all: [(&str, VideoCodec); 4] = [("AV1", c.av1), ("VP8", c.vp8), ("H264", c.h264), ("VP9", c.vp9)];
    let base = |id: u8, name: &str| PayloadType {
        id,
        name: name.to_owned(),
        clockrate: 90_000,
        channels: 1,
        ..PayloadType::default()
    };
    let common =
        || vec![Feedback::new("ccm", Some("fir")), Feedback::new("nack", None), Feedback::new("nack", Some("pli"))];
    let mut payload_types = Vec::new();
    for (name, codec) in all.iter().filter(|(_, v)| v.enabled) {
        let mut p = base(codec.pt, name);
        if *name == "H264" {
            let value = "42e01f;level-asymmetry-allowed=1;packetization-mode=1;";
            p.parameters.push(parameter(Some("profile-level-id"), value));
        }
        p.feedback = common();
        if codec.remb && f.has(Features::REMB) && !tcc {
            p.feedback.push(Feedback::new("goog-remb", None));
        }
        if tcc {
            p.feedback.push(Feedback::new("transport-cc", None));
        }
        payload_types.push(p);
    }
    if f.has(Features::RTX) {
        // Retransmissions follow, H.264's last.
        for (name, codec) in [all[0], all[1], all[3], all[2]].iter().filter(|(_, v)| v.enabled) {
            let Some(id) = codec.rtx_pt else { continue };
            let mut p = base(id, "rtx");
            p.parameters.push(parameter(Some("apt"), codec.pt));
            if *name != "H264" {
                p.feedback = common();
            }
            payload_types.push(p);
        }
    }
    let extensions = [
        extension(c.video_layers_allocation, "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00"),
        extension(
            c.dependency_descriptor,
            "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
        ),
        extension(c.toffset, "urn:ietf:params:rtp-hdrext:toffset"),
        extension(c.mid, MID),
        extension(c.abs_send_time, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
        extension(c.framemarking, "http://tools.ietf.org/html/draft-ietf-avtext-framemarking-07"),
        extension(c.video_content_type, "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type"),
        extension(c.rid, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"),
        extension(c.tcc.filter(|_| tcc), TCC),
    ];
    let extensions = extensions.into_iter().flatten().collect();
    Formats { payload_types, extensions, extmap_allow_mixed: c.extmap_allow_mixed }
}

/// What is offered of one medium.
pub(crate) fn formats(media: MediaType, c: &Codecs, f: Features) -> Formats {
    match media {
        MediaType::Audio => audio(c, f),
        MediaType::Video => video(c, f),
    }
}

/// What goes between bridges: everything, without feedback that only receivers give.
pub(crate) fn between_bridges(media: MediaType, c: &Codecs) -> Formats {
    formats(media, c, Features::RTX.with(Features::TCC).with(Features::RED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(f: &Formats) -> Vec<u8> {
        f.payload_types.iter().map(|p| p.id).collect()
    }

    #[test]
    fn the_order_is_that_of_the_reference() {
        let c = Codecs { red: Some(112), ..Codecs::default() };
        let all = Features::RTX.with(Features::TCC).with(Features::RED).with(Features::REMB);
        assert_eq!(ids(&audio(&c, all)), [112, 111, 126]);
        let v = video(&c, all);
        assert_eq!(ids(&v), [41, 100, 107, 101, 42, 96, 97, 99]);
        assert!(v.payload_types[0].has_feedback("transport-cc", None));
        assert!(!v.payload_types[0].has_feedback("goog-remb", None));
        assert_eq!(v.extensions.iter().map(|x| x.id).collect::<Vec<_>>(), [11, 10, 3, 5]);
        let plain = video(&c, Features::REMB);
        assert_eq!(ids(&plain), [41, 100, 107, 101]);
        assert!(plain.payload_types[0].has_feedback("goog-remb", None));
        assert_eq!(audio(&c, Features::default()).payload_types[0].parameter("useinbandfec"), None);
    }
}
