//! What can be said in RTP: payload types, feedback and header extensions (XEP-0167, XEP-0293, XEP-0294).

use amphi_stanza::{Element, XmlWriter};

use crate::error::{ParseError, Result};
use crate::read::{need, number, push, text};
use crate::{Limits, ns};

/// Sound or pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum MediaType {
    Audio,
    Video,
}

impl MediaType {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }

    /// Reads it; letters may be of any case.
    pub fn parse(s: &str) -> Option<Self> {
        match s {
            s if s.eq_ignore_ascii_case("audio") => Some(Self::Audio),
            s if s.eq_ignore_ascii_case("video") => Some(Self::Video),
            _ => None,
        }
    }
}

impl std::fmt::Display for MediaType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A format parameter. RED has one without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Parameter {
    /// Its name.
    pub name: Option<String>,
    /// Its value.
    pub value: String,
}

/// RTCP feedback that a payload type can do with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Feedback {
    /// As `nack`.
    pub ty: String,
    /// As `pli`.
    pub subtype: Option<String>,
}

impl Feedback {
    /// A kind of feedback.
    pub fn new(ty: &str, subtype: Option<&str>) -> Self {
        Self { ty: ty.to_owned(), subtype: subtype.map(str::to_owned) }
    }
}

/// A payload type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PayloadType {
    /// Its number, 0 to 127.
    pub id: u8,
    /// Name of the encoding.
    pub name: String,
    /// Ticks per second; 0 when not said.
    pub clockrate: u32,
    /// Channels; 1 when not said.
    pub channels: u8,
    /// Format parameters.
    pub parameters: Vec<Parameter>,
    /// Feedback kinds.
    pub feedback: Vec<Feedback>,
}

impl PayloadType {
    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|p| p.name.as_deref() == Some(name)).map(|p| p.value.as_str())
    }

    /// Whether this kind of feedback is listed.
    pub fn has_feedback(&self, ty: &str, subtype: Option<&str>) -> bool {
        self.feedback.iter().any(|f| f.ty == ty && f.subtype.as_deref() == subtype)
    }

    /// Reads `<payload-type/>`.
    ///
    /// # Errors
    /// If the number is none or a limit is exceeded.
    pub fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let id: u8 = number(e, "id")?.ok_or(ParseError::Missing("payload-type id"))?;
        if id > 127 {
            return Err(ParseError::Invalid("payload-type id"));
        }
        let mut p = Self {
            id,
            name: text(e, "name", l)?.unwrap_or_default(),
            clockrate: number(e, "clockrate")?.unwrap_or(0),
            channels: number(e, "channels")?.unwrap_or(1),
            ..Self::default()
        };
        for c in e.children() {
            match c.name() {
                "parameter" => {
                    let name = text(c, "name", l)?.filter(|n| !n.is_empty());
                    let value = text(c, "value", l)?.unwrap_or_default();
                    push(&mut p.parameters, Parameter { name, value }, l.parameters, "parameters")?;
                }
                "rtcp-fb" => {
                    let subtype = text(c, "subtype", l)?.filter(|n| !n.is_empty());
                    push(&mut p.feedback, Feedback { ty: need(c, "type", l)?, subtype }, l.parameters, "rtcp-fb")?;
                }
                _ => {}
            }
        }
        Ok(p)
    }

    /// Writes it; with its own `xmlns` where it does not inherit it.
    pub fn write(&self, w: &mut XmlWriter, with_ns: bool) {
        if with_ns {
            w.open_ns("payload-type", ns::RTP);
        } else {
            w.open("payload-type");
        }
        w.attr("id", self.id).attr("name", &self.name);
        if self.clockrate > 0 {
            w.attr("clockrate", self.clockrate);
        }
        if self.channels != 1 {
            w.attr("channels", self.channels);
        }
        for p in &self.parameters {
            w.open("parameter").attr_opt("name", p.name.as_ref()).attr("value", &p.value).close();
        }
        for f in &self.feedback {
            w.open_ns("rtcp-fb", ns::RTCP_FB).attr("type", &f.ty).attr_opt("subtype", f.subtype.as_ref()).close();
        }
        w.close();
    }
}

/// A header extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HeaderExtension {
    /// Its number: 1 to 14 in the short form, up to 255 in the long one.
    pub id: u8,
    /// What it is.
    pub uri: String,
}

impl HeaderExtension {
    /// Reads `<rtp-hdrext/>`.
    ///
    /// # Errors
    /// If the number is none or there is no URI.
    pub fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let id: u8 = number(e, "id")?.ok_or(ParseError::Missing("rtp-hdrext id"))?;
        if id == 0 {
            return Err(ParseError::Invalid("rtp-hdrext id"));
        }
        Ok(Self { id, uri: need(e, "uri", l)? })
    }

    /// Writes `<rtp-hdrext/>`.
    pub fn write(&self, w: &mut XmlWriter) {
        w.open_ns("rtp-hdrext", ns::HDREXT).attr("id", self.id).attr("uri", &self.uri).close();
    }
}

/// What can be spoken for one media: the common part of a Jingle description and of a colibri2 media.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Formats {
    /// Payload types, in order of preference.
    pub payload_types: Vec<PayloadType>,
    /// Header extensions.
    pub extensions: Vec<HeaderExtension>,
    /// Whether short and long header extensions may be mixed.
    pub extmap_allow_mixed: bool,
}

impl Formats {
    /// Takes a child of a description or media that belongs here. False if it does not.
    pub(crate) fn take(&mut self, c: Element<'_>, l: &Limits) -> Result<bool> {
        match c.name() {
            "payload-type" => {
                push(&mut self.payload_types, PayloadType::parse(c, l)?, l.payload_types, "payload types")?;
            }
            "rtp-hdrext" => {
                push(&mut self.extensions, HeaderExtension::parse(c, l)?, l.extensions, "header extensions")?;
            }
            "extmap-allow-mixed" => self.extmap_allow_mixed = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn write(&self, w: &mut XmlWriter, with_ns: bool) {
        for p in &self.payload_types {
            p.write(w, with_ns);
        }
        for x in &self.extensions {
            x.write(w);
        }
        if self.extmap_allow_mixed {
            w.empty("extmap-allow-mixed", ns::HDREXT);
        }
    }
}
