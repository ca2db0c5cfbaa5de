//! What a member's presence says about its media (`spec/focus.md` 1.5). Values that many members share are kept once.

use std::collections::HashSet;
use std::sync::Arc;

use amphi_stanza::{Stanza, ns};
use serde_json::Value;

/// Texts that many have, as regions and lists of codecs.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: HashSet<Arc<str>>,
    max: usize,
}

/// Longest text that is kept.
const MAX_TEXT: usize = 256;

impl Names {
    pub(crate) fn new(max: usize) -> Self {
        Self { known: HashSet::new(), max }
    }

    pub(crate) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(t) = self.known.get(text) {
            return t.clone();
        }
        let t: Arc<str> = text.into();
        if self.known.len() >= self.max {
            // Nobody uses most of them any more.
            self.known.retain(|t| Arc::strong_count(t) > 1);
        }
        if self.known.len() < self.max {
            self.known.insert(t.clone());
        }
        t
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Capability hash; only of the kind that can be verified.
    pub(crate) caps: Option<Arc<str>>,
    /// Where capabilities are asked for: node and hash.
    pub(crate) caps_node: Option<Arc<str>>,
    pub(crate) region: Option<Arc<str>>,
    pub(crate) stats_id: Option<Box<str>>,
    /// Codecs it prefers, comma-separated, in lower case.
    pub(crate) codecs: Option<Arc<str>>,
    pub(crate) diarize: bool,
    /// Its microphone is open.
    pub(crate) audio: bool,
    /// It sends video.
    pub(crate) video: bool,
}

/// Most sources that are read of one presence.
const MAX_SOURCES: usize = 64;

impl Facts {
    pub(crate) fn read(presence: &Stanza, names: &mut Names) -> Self {
        let mut f = Self::default();
        let mut source_info = false;
        let mut codec_type = None;
        for c in presence.children() {
            let text = || {
                let t = c.text();
                let t = t.trim();
                (!t.is_empty() && t.len() <= MAX_TEXT).then(|| t.to_owned())
            };
            match c.name() {
                "c" if c.ns() == ns::CAPS => {
                    let ver = c.attr("ver").filter(|v| !v.is_empty() && v.len() <= MAX_TEXT);
                    if let (Some(ver), Some("sha-1")) = (ver, c.attr("hash").as_deref()) {
                        let node = c.attr("node").filter(|n| n.len() <= MAX_TEXT).unwrap_or_default();
                        f.caps_node = Some(names.get(&format!("{node}#{ver}")));
                        f.caps = Some(names.get(&ver));
                    }
                }
                "SourceInfo" => {
                    source_info = true;
                    (f.audio, f.video) = senders(&c.text());
                }
                // Older gateways say no more than this.
                "audiomuted" if !source_info => f.audio = c.text().trim() == "false",
                "videomuted" if !source_info => f.video = c.text().trim() == "false",
                "jitsi_participant_region" => f.region = text().map(|t| names.get(&t)),
                "stats-id" => f.stats_id = text().map(Into::into),
                "jitsi_participant_codecList" => f.codecs = text().map(|t| names.get(&codecs(&t))),
                "jitsi_participant_codecType" => codec_type = text(),
                "jitsi_participant_diarize" => f.diarize = c.text().trim() == "true",
                _ => {}
            }
        }
        if f.codecs.is_none() {
            f.codecs = codec_type.map(|t| names.get(&codecs(&t)));
        }
        f
    }
}

/// In lower case, with VP8, which everybody can.
fn codecs(list: &str) -> String {
    let mut all: Vec<String> = Vec::new();
    for c in list.split(',').map(|c| c.trim().to_ascii_lowercase()).filter(|c| !c.is_empty()) {
        if !all.contains(&c) {
            all.push(c);
        }
    }
    if !all.iter().any(|c| c == "vp8") {
        all.push("vp8".to_owned());
    }
    all.join(",")
}

/// Whether any audio, and any video source is not muted.
fn senders(json: &str) -> (bool, bool) {
    let Ok(Value::Object(o)) = serde_json::from_str(json) else { return (false, false) };
    let (mut audio, mut video) = (false, false);
    for (name, v) in o.iter().take(MAX_SOURCES) {
        if v.get("muted").and_then(Value::as_bool).unwrap_or(true) {
            continue;
        }
        let kind = v.get("mediaType").and_then(Value::as_str).map(str::to_owned).or_else(|| {
            let (_, rest) = name.split_once('-')?;
            Some(rest.chars().next()?.to_string())
        });
        match kind.as_deref().and_then(|k| k.chars().next()).map(|c| c.to_ascii_lowercase()) {
            Some('a') => audio = true,
            Some('v') => video = true,
            _ => {}
        }
    }
    (audio, video)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inside: &str) -> Facts {
        let xml = format!("<presence from='r@c/n'>{inside}</presence>");
        Facts::read(&Stanza::authored(xml.into()), &mut Names::new(10))
    }

    #[test]
    fn who_sends_is_seen_in_the_source_info() {
        let f = read(
            r#"<SourceInfo>{"x-a0":{"muted":false},"x-v0":{"muted":true},"y":1}</SourceInfo><videomuted>false</videomuted>"#,
        );
        assert!(f.audio && !f.video);
        let f = read(r#"<SourceInfo>{"x-v1":{"muted":false,"videoType":"desktop"},"x-a0":{}}</SourceInfo>"#);
        assert!(!f.audio && f.video);
        assert!(read("<audiomuted>false</audiomuted>").audio);
        assert!(!read("<SourceInfo>[</SourceInfo>").audio);
    }

    #[test]
    fn codec_lists_are_lower_case_and_have_vp8() {
        let f = read("<jitsi_participant_codecList>AV1, vp9,av1</jitsi_participant_codecList>");
        assert_eq!(f.codecs.as_deref(), Some("av1,vp9,vp8"));
        assert_eq!(
            read("<jitsi_participant_codecType>h264</jitsi_participant_codecType>").codecs.as_deref(),
            Some("h264,vp8")
        );
    }

    #[test]
    fn only_hashes_that_can_be_verified_are_kept() {
        let c =
            |hash: &str| read(&format!("<c xmlns='http://jabber.org/protocol/caps' hash='{hash}' node='n' ver='v'/>"));
        assert_eq!(c("sha-1").caps_node.as_deref(), Some("n#v"));
        assert_eq!(c("md5").caps, None);
    }

    #[test]
    fn shared_texts_are_bounded() {
        let mut n = Names::new(2);
        let a = n.get("a");
        n.get("b");
        n.get("c");
        assert!(Arc::ptr_eq(&a, &n.get("a")) && n.known.len() <= 2);
    }
}
