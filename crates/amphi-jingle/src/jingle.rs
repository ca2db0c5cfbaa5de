//! The `jingle` element (XEP-0166) with what Jitsi clients and their focus put into it (`spec/focus.md` 4.5 to 4.9,
//! `spec/client.md` 16).

use amphi_stanza::{Element, XmlWriter, ns as base};

use crate::error::{ParseError, Result};
use crate::read::{flag, need, number, push, text};
use crate::rtp::Formats;
use crate::{IceTransport, Limits, MediaSources, MediaType, SourceMap, SourceSet, json, ns};

macro_rules! actions {
    ($($variant:ident = $text:literal $(| $alias:literal)*, $doc:literal;)*) => {
        /// What a Jingle element does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $(#[doc = $doc] $variant,)* }
        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
            /// Reads it.
            pub fn parse(s: &str) -> Option<Self> {
                match s { $($text $(| $alias)* => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
actions! {
    SessionInitiate = "session-initiate", "An offer.";
    SessionAccept = "session-accept", "An answer.";
    SessionTerminate = "session-terminate", "The end.";
    SessionInfo = "session-info", "Something about the session.";
    TransportInfo = "transport-info", "Candidates or credentials.";
    TransportAccept = "transport-accept", "A new transport is taken.";
    TransportReject = "transport-reject", "A new transport is not taken.";
    TransportReplace = "transport-replace", "A new transport is offered.";
    SourceAdd = "source-add" | "addsource", "More sources.";
    SourceRemove = "source-remove" | "removesource", "Fewer sources.";
    ContentAccept = "content-accept", "A content is taken.";
    ContentAdd = "content-add", "One more content.";
    ContentModify = "content-modify", "A content changes.";
    ContentReject = "content-reject", "A content is not taken.";
    ContentRemove = "content-remove", "A content goes.";
    DescriptionInfo = "description-info", "More about a description.";
    SecurityInfo = "security-info", "More about security.";
}

/// Why a session ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// Element name, as `success`.
    pub condition: String,
    /// Text for people.
    pub text: Option<String>,
}

const REASONS: &[&str] = &[
    "alternative-session",
    "busy",
    "cancel",
    "connectivity-error",
    "decline",
    "expired",
    "failed-application",
    "failed-transport",
    "general-error",
    "gone",
    "incompatible-parameters",
    "media-error",
    "security-error",
    "success",
    "timeout",
    "unsupported-applications",
    "unsupported-transports",
];

impl Reason {
    /// A reason with a text.
    pub fn new(condition: &'static str, text: &str) -> Self {
        Self { condition: condition.to_owned(), text: Some(text.to_owned()) }
    }
}

/// The bridge's session that a client belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeSession {
    /// Its id.
    pub id: Option<String>,
    /// Where the bridge is.
    pub region: Option<String>,
    /// The client wants another session.
    pub restart: bool,
    /// The client wants its transport restarted in place.
    pub ice_restart: bool,
}

/// Whether the client begins muted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StartMuted {
    pub audio: bool,
    pub video: bool,
}

/// A trace that goes from offer to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Trace {
    pub trace_id: String,
    pub parent_id: String,
    pub trace_flags: Option<String>,
}

impl Trace {
    pub(crate) fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        Ok(Self {
            trace_id: text(e, "trace_id", l)?.unwrap_or_default(),
            parent_id: text(e, "parent_id", l)?.unwrap_or_default(),
            trace_flags: text(e, "trace_flags", l)?,
        })
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open_ns("traceparent", ns::TRACE).attr("trace_id", &self.trace_id).attr("parent_id", &self.parent_id);
        w.attr_opt("trace_flags", self.trace_flags.as_ref()).close();
    }
}

/// What is sent in a content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// `audio`, `video` or `application`.
    pub media: Option<String>,
    /// Longest packet in ms.
    pub maxptime: Option<u32>,
    /// Payload types and header extensions.
    pub formats: Formats,
    /// RTP and RTCP share a port.
    pub rtcp_mux: bool,
}

/// A content: one medium with its transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Its name, as `audio`.
    pub name: String,
    /// `initiator` or `responder`.
    pub creator: Option<String>,
    /// `both`, `initiator`, `responder`, `none`.
    pub senders: Option<String>,
    /// What is sent.
    pub description: Option<Description>,
    /// Sources, wherever in the content they were.
    pub sources: MediaSources,
    /// How it is sent.
    pub transport: Option<IceTransport>,
    /// How many videos the client wants at first.
    pub initial_last_n: Option<i32>,
}

impl Content {
    /// What kind of medium this is: the description says it, else the name.
    pub fn media(&self) -> Option<MediaType> {
        let said = self.description.as_ref().and_then(|d| d.media.as_deref());
        MediaType::parse(said.unwrap_or(&self.name))
    }

    fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let mut c = Self {
            name: need(e, "name", l)?,
            creator: text(e, "creator", l)?,
            senders: text(e, "senders", l)?,
            ..Self::default()
        };
        for child in e.children() {
            match (child.name(), child.ns()) {
                ("description", ns::RTP) => {
                    let mut d = Description {
                        media: text(child, "media", l)?,
                        maxptime: number(child, "maxptime").unwrap_or(None),
                        ..Description::default()
                    };
                    for x in child.children() {
                        if x.name() == "rtcp-mux" {
                            d.rtcp_mux = true;
                        } else if !c.sources.take(x, l)? {
                            d.formats.take(x, l)?;
                        }
                    }
                    c.description = Some(d);
                }
                ("transport", ns::ICE_UDP) => c.transport = Some(IceTransport::parse(child, l)?),
                ("initial-last-n", _) => c.initial_last_n = number(child, "value")?,
                _ => {
                    c.sources.take(child, l)?;
                }
            }
        }
        Ok(c)
    }

    fn write(&self, w: &mut XmlWriter) {
        w.open("content").attr_opt("creator", self.creator.as_ref()).attr("name", &self.name);
        w.attr_opt("senders", self.senders.as_ref());
        if let Some(n) = self.initial_last_n {
            w.open_ns("initial-last-n", ns::COLIBRI2).attr("value", n).close();
        }
        match &self.description {
            Some(d) => {
                w.open_ns("description", ns::RTP).attr_opt("media", d.media.as_ref()).attr_opt("maxptime", d.maxptime);
                d.formats.write(w, false);
                if d.rtcp_mux {
                    w.open("rtcp-mux").close();
                }
                self.sources.write(w);
                w.close();
            }
            None => self.sources.write(w),
        }
        if let Some(t) = &self.transport {
            t.write(w);
        }
        w.close();
    }
}

/// A Jingle element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jingle {
    /// What it does.
    pub action: Action,
    /// The session.
    pub sid: String,
    /// Who began the session.
    pub initiator: Option<String>,
    /// Who answered.
    pub responder: Option<String>,
    /// Contents.
    pub contents: Vec<Content>,
    /// Names of the contents that share a transport.
    pub bundle: Option<Vec<String>>,
    /// The bridge's session.
    pub bridge_session: Option<BridgeSession>,
    /// Whether to begin muted.
    pub start_muted: Option<StartMuted>,
    /// Sources in compact JSON.
    pub json_sources: Option<SourceMap>,
    /// Why it ends.
    pub reason: Option<Reason>,
    /// How the client's transport is, as old clients report it.
    pub ice_state: Option<String>,
    /// Trace.
    pub trace: Option<Trace>,
}

impl Jingle {
    /// An element with nothing in it.
    pub fn new(action: Action, sid: impl Into<String>) -> Self {
        Self {
            action,
            sid: sid.into(),
            initiator: None,
            responder: None,
            contents: Vec::new(),
            bundle: None,
            bridge_session: None,
            start_muted: None,
            json_sources: None,
            reason: None,
            ice_state: None,
            trace: None,
        }
    }

    /// Reads `<jingle/>`.
    ///
    /// # Errors
    /// If action or session are missing or not known, a part is not valid, or a limit is exceeded.
    pub fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        let action = e.attr("action").ok_or(ParseError::Missing("action"))?;
        let action = Action::parse(&action).ok_or(ParseError::Unknown("action"))?;
        let mut j = Self::new(action, need(e, "sid", l)?);
        j.initiator = text(e, "initiator", l)?;
        j.responder = text(e, "responder", l)?;
        for c in e.children() {
            match (c.name(), c.ns()) {
                ("content", base::JINGLE) => push(&mut j.contents, Content::parse(c, l)?, l.contents, "contents")?,
                ("group", ns::GROUPING) => {
                    let names = c.children().filter(|c| c.name() == "content").filter_map(|c| c.attr("name"));
                    j.bundle = Some(names.take(l.contents).map(|n| n.into_owned()).collect());
                }
                ("bridge-session", base::FOCUS) => {
                    j.bridge_session = Some(BridgeSession {
                        id: text(c, "id", l)?,
                        region: text(c, "region", l)?,
                        restart: flag(c, "restart"),
                        ice_restart: flag(c, "ice-restart"),
                    });
                }
                ("startmuted", base::START_MUTED) => {
                    j.start_muted = Some(StartMuted { audio: flag(c, "audio"), video: flag(c, "video") });
                }
                ("json-message", base::JITMEET) => j.json_sources = json::from_json(&c.text(), l)?,
                ("ice-state", base::FOCUS) => j.ice_state = Some(c.text().trim().chars().take(32).collect()),
                ("traceparent", _) => j.trace = Some(Trace::parse(c, l)?),
                ("reason", base::JINGLE) => {
                    let mut r = Reason::default();
                    for x in c.children() {
                        match x.name() {
                            "text" => r.text = Some(x.text().chars().take(l.value_bytes).collect()),
                            name if r.condition.is_empty() => {
                                r.condition = name.chars().take(64).collect();
                            }
                            _ => {}
                        }
                    }
                    j.reason = Some(r);
                }
                _ => {}
            }
        }
        Ok(j)
    }

    /// The sources in all contents.
    ///
    /// # Errors
    /// If sources are in a content that is neither audio nor video.
    pub fn sources(&self) -> Result<SourceSet> {
        let mut set = SourceSet::default();
        for c in self.contents.iter().filter(|c| !c.sources.is_empty()) {
            let media = c.media().ok_or(ParseError::Unknown("media"))?;
            let to = set.media_mut(media);
            to.sources.extend(c.sources.sources.iter().cloned());
            to.groups.extend(c.sources.groups.iter().cloned());
        }
        Ok(set)
    }

    /// The first transport of any content.
    pub fn transport(&self) -> Option<&IceTransport> {
        self.contents.iter().find_map(|c| c.transport.as_ref())
    }

    /// Writes `<jingle/>`.
    pub fn write(&self, w: &mut XmlWriter) {
        w.open_ns("jingle", base::JINGLE).attr("action", self.action.as_str());
        w.attr_opt("initiator", self.initiator.as_ref()).attr_opt("responder", self.responder.as_ref());
        w.attr("sid", &self.sid);
        for c in &self.contents {
            c.write(w);
        }
        if let Some(r) = &self.reason {
            w.open("reason");
            if let Some(name) = REASONS.iter().find(|n| **n == r.condition) {
                w.open(name).close();
            }
            if let Some(t) = &r.text {
                w.text_element("text", t);
            }
            w.close();
        }
        if let Some(names) = &self.bundle {
            w.open_ns("group", ns::GROUPING).attr("semantics", "BUNDLE");
            for n in names {
                w.open("content").attr("name", n).close();
            }
            w.close();
        }
        if let Some(m) = self.start_muted {
            w.open_ns("startmuted", base::START_MUTED).attr("audio", m.audio).attr("video", m.video).close();
        }
        if let Some(b) = &self.bridge_session {
            w.open_ns("bridge-session", base::FOCUS).attr_opt("id", b.id.as_ref());
            w.attr_opt("region", b.region.as_ref());
            if b.restart {
                w.attr("restart", "true");
            }
            if b.ice_restart {
                w.attr("ice-restart", "true");
            }
            w.close();
        }
        if let Some(s) = &self.ice_state {
            w.open_ns("ice-state", base::FOCUS).text(s).close();
        }
        if let Some(s) = &self.json_sources {
            let text = json::to_json(s.iter().map(|(o, s)| (o.as_str(), s)));
            w.open_ns("json-message", base::JITMEET).text(text).close();
        }
        if let Some(t) = &self.trace {
            t.write(w);
        }
        w.close();
    }
}
