//! Exporters: connections that a bridge opens to services that record, transcribe or translate (`spec/focus.md` 5.6).

use amphi_stanza::{Element, XmlWriter};

use crate::error::{ParseError, Result};
use crate::read::{flag, need, number, push, text};
use crate::{Limits, ns};

/// What the service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ConnectType {
    Recorder,
    Transcriber,
    Translator,
}

impl ConnectType {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recorder => "recorder",
            Self::Transcriber => "transcriber",
            Self::Translator => "translator",
        }
    }
}

/// How the connection is kept alive, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Ping {
    pub interval: u64,
    pub timeout: u64,
}

/// One connection to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Its id; older peers have none.
    pub id: Option<String>,
    /// It is new.
    pub create: bool,
    /// It goes.
    pub expire: bool,
    /// `ws` or `wss`.
    pub url: String,
    /// As `mediajson`.
    pub protocol: String,
    /// What the service does.
    pub ty: ConnectType,
    /// Export sound.
    pub audio: bool,
    /// Export pictures.
    pub video: bool,
    /// Headers of the request that opens it. Names are checked, and values have no line ends.
    pub headers: Vec<(String, String)>,
    /// How it is kept alive.
    pub ping: Option<Ping>,
    /// Names of the sources that are exported.
    pub exports: Vec<String>,
    /// Names of the sources that are wanted from it.
    pub requests: Vec<String>,
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl Connect {
    pub(crate) fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let ty = match e.attr("type").as_deref() {
            Some("recorder") => ConnectType::Recorder,
            Some("transcriber") => ConnectType::Transcriber,
            Some("translator") => ConnectType::Translator,
            Some(_) => return Err(ParseError::Unknown("connect type")),
            None => return Err(ParseError::Missing("connect type")),
        };
        let url = need(e, "url", l)?;
        if !url.starts_with("ws://") && !url.starts_with("wss://") {
            return Err(ParseError::Invalid("connect url"));
        }
        let mut c = Self {
            id: text(e, "id", l)?,
            create: flag(e, "create"),
            expire: flag(e, "expire"),
            url,
            protocol: need(e, "protocol", l)?,
            ty,
            audio: flag(e, "audio"),
            video: flag(e, "video"),
            headers: Vec::new(),
            ping: None,
            exports: Vec::new(),
            requests: Vec::new(),
        };
        for x in e.children().filter(|x| x.ns() == ns::COLIBRI2) {
            match x.name() {
                "http-header" => {
                    let name = need(x, "name", l)?;
                    if !is_header_name(&name) {
                        return Err(ParseError::Invalid("http-header name"));
                    }
                    let value = text(x, "value", l)?.unwrap_or_default().replace(['\r', '\n'], "");
                    push(&mut c.headers, (name, value), l.connects, "http-headers")?;
                }
                "ping" => {
                    c.ping = Some(Ping {
                        interval: number(x, "interval")?.ok_or(ParseError::Missing("ping interval"))?,
                        timeout: number(x, "timeout")?.ok_or(ParseError::Missing("ping timeout"))?,
                    });
                }
                list @ ("exports" | "requests") => {
                    let to = if list == "exports" { &mut c.exports } else { &mut c.requests };
                    for n in x.children() {
                        push(to, need(n, "name", l)?, l.connects, "names")?;
                    }
                }
                _ => {}
            }
        }
        Ok(c)
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open("connect").attr_opt("id", self.id.as_ref()).attr("url", &self.url).attr("protocol", &self.protocol);
        w.attr("type", self.ty.as_str());
        for (name, set) in
            [("audio", self.audio), ("video", self.video), ("create", self.create), ("expire", self.expire)]
        {
            if set {
                w.attr(name, "true");
            }
        }
        for (name, value) in self.headers.iter().filter(|(n, _)| is_header_name(n)) {
            w.open("http-header").attr("name", name).attr("value", value.replace(['\r', '\n'], "")).close();
        }
        if let Some(p) = self.ping {
            w.open("ping").attr("interval", p.interval).attr("timeout", p.timeout).close();
        }
        for (list, one, names) in [("exports", "export", &self.exports), ("requests", "request", &self.requests)] {
            if !names.is_empty() {
                w.open(list);
                for n in names {
                    w.open(one).attr("name", n).close();
                }
                w.close();
            }
        }
        w.close();
    }
}
