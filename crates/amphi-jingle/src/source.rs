//! Sources and their groups (XEP-0339, `spec/focus.md` 4.7).

use std::collections::BTreeMap;

use amphi_stanza::{Element, XmlWriter, ns as base};

use crate::error::{ParseError, Result};
use crate::read::{number, push, text};
use crate::{Limits, MediaType, ns};

/// What a video shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum VideoType {
    Camera,
    Desktop,
}

impl VideoType {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Desktop => "desktop",
        }
    }

    /// Reads it. Kinds that are not known count as not said.
    pub fn parse(s: &str) -> Option<Self> {
        match s {
            s if s.eq_ignore_ascii_case("camera") => Some(Self::Camera),
            s if s.eq_ignore_ascii_case("desktop") => Some(Self::Desktop),
            _ => None,
        }
    }
}

/// One SSRC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Source {
    /// Synchronisation source; never 0.
    pub ssrc: u32,
    /// Name of the source that it belongs to, as `a1b2-v0`.
    pub name: Option<String>,
    /// What it shows.
    pub video_type: Option<VideoType>,
    /// Stream and track.
    pub msid: Option<String>,
    /// Endpoint that sends it, where the element does not say it by where it is.
    pub owner: Option<String>,
}

impl Source {
    /// Reads `<source/>`.
    ///
    /// # Errors
    /// If the SSRC is missing or none.
    pub fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let mut s = Self {
            ssrc: ssrc(e)?,
            name: text(e, "name", l)?.filter(|n| !n.is_empty()),
            video_type: e.attr("videoType").and_then(|v| VideoType::parse(&v)),
            ..Self::default()
        };
        for c in e.children() {
            match c.name() {
                "parameter" if c.attr("name").as_deref() == Some("msid") => {
                    s.msid = text(c, "value", l)?.filter(|n| !n.is_empty());
                }
                "ssrc-info" => s.owner = text(c, "owner", l)?.filter(|n| !n.is_empty()),
                _ => {}
            }
        }
        Ok(s)
    }

    /// Writes `<source/>` with all that is known.
    pub fn write(&self, w: &mut XmlWriter) {
        self.start(w);
        if let Some(owner) = &self.owner {
            w.open_ns("ssrc-info", base::JITMEET).attr("owner", owner).close();
        }
        if let Some(msid) = &self.msid {
            w.open("parameter").attr("name", "msid").attr("value", msid).close();
        }
        w.close();
    }

    fn start(&self, w: &mut XmlWriter) {
        w.open_ns("source", ns::SSMA).attr("ssrc", self.ssrc).attr_opt("name", self.name.as_ref());
        w.attr_opt("videoType", self.video_type.map(VideoType::as_str));
    }

    /// Writes `<source/>` as bridges get it: without stream and owner.
    pub(crate) fn write_plain(&self, w: &mut XmlWriter) {
        self.start(w);
        w.close();
    }
}

fn ssrc(e: Element<'_>) -> Result<u32> {
    match number::<u32>(e, "ssrc")? {
        Some(0) => Err(ParseError::Invalid("ssrc")),
        Some(n) => Ok(n),
        None => Err(ParseError::Missing("ssrc")),
    }
}

/// What a group says of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Semantics {
    /// Encodings of one picture in rising quality.
    Sim,
    /// A stream and its retransmissions.
    Fid,
    /// A stream and its repair packets.
    FecFr,
}

impl Semantics {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sim => "SIM",
            Self::Fid => "FID",
            Self::FecFr => "FEC-FR",
        }
    }

    /// Reads it; letters may be of any case.
    pub fn parse(s: &str) -> Option<Self> {
        match s {
            s if s.eq_ignore_ascii_case("sim") => Some(Self::Sim),
            s if s.eq_ignore_ascii_case("fid") => Some(Self::Fid),
            s if s.eq_ignore_ascii_case("fec-fr") => Some(Self::FecFr),
            _ => None,
        }
    }
}

/// SSRCs that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SsrcGroup {
    /// In what way.
    pub semantics: Semantics,
    /// The members, in order.
    pub ssrcs: Vec<u32>,
}

impl SsrcGroup {
    /// Reads `<ssrc-group/>`.
    ///
    /// # Errors
    /// If the semantics are not known or a member has no valid SSRC.
    pub fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let semantics = e.attr("semantics").ok_or(ParseError::Missing("ssrc-group semantics"))?;
        let semantics = Semantics::parse(&semantics).ok_or(ParseError::Unknown("ssrc-group semantics"))?;
        let mut ssrcs = Vec::new();
        for s in e.children().filter(|c| c.name() == "source") {
            push(&mut ssrcs, ssrc(s)?, l.groups, "sources of a group")?;
        }
        Ok(Self { semantics, ssrcs })
    }

    /// Writes `<ssrc-group/>`.
    pub fn write(&self, w: &mut XmlWriter) {
        w.open_ns("ssrc-group", ns::SSMA).attr("semantics", self.semantics.as_str());
        for s in &self.ssrcs {
            w.open("source").attr("ssrc", s).close();
        }
        w.close();
    }
}

/// The sources of one endpoint in one medium.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MediaSources {
    /// Single SSRCs.
    pub sources: Vec<Source>,
    /// Their groups.
    pub groups: Vec<SsrcGroup>,
}

impl MediaSources {
    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.groups.is_empty()
    }

    /// Takes a child of a description or content that belongs here. False if it does not.
    pub(crate) fn take(&mut self, c: Element<'_>, l: &Limits) -> Result<bool> {
        if c.ns() != ns::SSMA {
            return Ok(false);
        }
        match c.name() {
            "source" => push(&mut self.sources, Source::parse(c, l)?, l.sources, "sources")?,
            "ssrc-group" => push(&mut self.groups, SsrcGroup::parse(c, l)?, l.groups, "ssrc-groups")?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        self.sources.iter().for_each(|s| s.write(w));
        self.groups.iter().for_each(|g| g.write(w));
    }
}

/// The sources of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceSet {
    /// What can be heard.
    pub audio: MediaSources,
    /// What can be seen.
    pub video: MediaSources,
}

impl SourceSet {
    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.audio.is_empty() && self.video.is_empty()
    }

    /// Sources of a medium.
    pub fn media(&self, m: MediaType) -> &MediaSources {
        match m {
            MediaType::Audio => &self.audio,
            MediaType::Video => &self.video,
        }
    }

    /// Sources of a medium, to change them.
    pub fn media_mut(&mut self, m: MediaType) -> &mut MediaSources {
        match m {
            MediaType::Audio => &mut self.audio,
            MediaType::Video => &mut self.video,
        }
    }

    /// All single SSRCs with their medium.
    pub fn sources(&self) -> impl Iterator<Item = (MediaType, &Source)> {
        let of = |m: MediaType| self.media(m).sources.iter().map(move |s| (m, s));
        of(MediaType::Video).chain(of(MediaType::Audio))
    }

    /// How many SSRCs there are.
    pub fn count(&self) -> usize {
        self.audio.sources.len() + self.video.sources.len()
    }

    /// How many groups there are.
    pub fn group_count(&self) -> usize {
        self.audio.groups.len() + self.video.groups.len()
    }
}

/// Sources by the endpoint that sends them.
pub type SourceMap = BTreeMap<String, SourceSet>;
