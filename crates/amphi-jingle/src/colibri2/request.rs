//! Requests and answers.

use amphi_stanza::{Element, XmlWriter};

use super::{Connect, Endpoint, KnownMedia, MediaSource, Relay};
use crate::error::{ParseError, Result};
use crate::jingle::Trace;
use crate::read::{flag, flag_or_true, need, push, text};
use crate::{Limits, ns};

/// What a bridge is asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConferenceModify {
    /// The conference on the bridge.
    pub meeting_id: String,
    /// Address of the room; said on creation.
    pub name: Option<String>,
    /// Statistics are collected; said on creation.
    pub rtcstats_disabled: bool,
    /// The conference is new there.
    pub create: bool,
    /// The conference goes.
    pub expire: bool,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Links to other bridges.
    pub relays: Vec<Relay>,
    /// Exporters; `None`: as before.
    pub connects: Option<Vec<Connect>>,
    /// Trace.
    pub trace: Option<Trace>,
}

impl ConferenceModify {
    /// A request that changes nothing.
    pub fn new(meeting_id: impl Into<String>) -> Self {
        Self { meeting_id: meeting_id.into(), ..Self::default() }
    }

    /// Reads `<conference-modify/>`.
    ///
    /// # Errors
    /// If something that must be said is not, a part is not valid, or a limit is exceeded. The answer is `bad-request`.
    pub fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        Self::parse_knowing(e, l, &mut KnownMedia::default())
    }

    /// The same for somebody who reads many: equal media of endpoints are read once.
    ///
    /// # Errors
    /// As [`ConferenceModify::parse`].
    pub fn parse_knowing(e: Element<'_>, l: &Limits, known: &mut KnownMedia) -> Result<Self> {
        if !e.is("conference-modify", ns::COLIBRI2) {
            return Err(ParseError::Missing("conference-modify"));
        }
        let mut m = Self {
            meeting_id: need(e, "meeting-id", l)?,
            name: text(e, "name", l)?,
            rtcstats_disabled: !flag_or_true(e, "rtcstats-enabled"),
            create: flag(e, "create"),
            expire: flag(e, "expire"),
            ..Self::default()
        };
        for c in e.children() {
            match (c.name(), c.ns()) {
                ("endpoint", ns::COLIBRI2) => {
                    push(&mut m.endpoints, Endpoint::parse_knowing(c, l, known)?, l.endpoints, "endpoints")?;
                }
                ("relay", ns::COLIBRI2) => push(&mut m.relays, Relay::parse(c, l)?, l.relays, "relays")?,
                ("connects", ns::COLIBRI2) => {
                    let mut all = Vec::new();
                    for x in c.children().filter(|x| x.is("connect", ns::COLIBRI2)) {
                        push(&mut all, Connect::parse(x, l)?, l.connects, "connects")?;
                    }
                    m.connects = Some(all);
                }
                ("traceparent", _) => m.trace = Some(Trace::parse(c, l)?),
                _ => {}
            }
        }
        Ok(m)
    }

    /// Writes `<conference-modify/>`.
    pub fn write(&self, w: &mut XmlWriter) {
        w.open_ns("conference-modify", ns::COLIBRI2).attr("meeting-id", &self.meeting_id);
        w.attr_opt("name", self.name.as_ref());
        if self.rtcstats_disabled {
            w.attr("rtcstats-enabled", "false");
        }
        for (name, set) in [("create", self.create), ("expire", self.expire)] {
            if set {
                w.attr(name, "true");
            }
        }
        self.endpoints.iter().for_each(|e| e.write(w));
        self.relays.iter().for_each(|r| r.write(w));
        if let Some(connects) = &self.connects {
            w.open("connects");
            connects.iter().for_each(|c| c.write(w));
            w.close();
        }
        if let Some(t) = &self.trace {
            t.write(w);
        }
        w.close();
    }
}

/// What a bridge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConferenceModified {
    /// The bridge's own sources, whose SSRCs it sends RTCP with.
    pub sources: Option<Vec<MediaSource>>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Links to other bridges.
    pub relays: Vec<Relay>,
}

impl ConferenceModified {
    /// Reads `<conference-modified/>`.
    ///
    /// # Errors
    /// If a part is not valid or a limit is exceeded.
    pub fn parse(e: Element<'_>, l: &Limits) -> Result<Self> {
        if !e.is("conference-modified", ns::COLIBRI2) {
            return Err(ParseError::Missing("conference-modified"));
        }
        let mut m = Self::default();
        for c in e.children().filter(|c| c.ns() == ns::COLIBRI2) {
            match c.name() {
                "endpoint" => push(&mut m.endpoints, Endpoint::parse(c, l)?, l.endpoints, "endpoints")?,
                "relay" => push(&mut m.relays, Relay::parse(c, l)?, l.relays, "relays")?,
                "sources" => m.sources = Some(MediaSource::parse_all(c, l)?),
                _ => {}
            }
        }
        Ok(m)
    }

    /// Writes `<conference-modified/>`.
    pub fn write(&self, w: &mut XmlWriter) {
        w.open_ns("conference-modified", ns::COLIBRI2);
        self.endpoints.iter().for_each(|e| e.write(w));
        self.relays.iter().for_each(|r| r.write(w));
        if let Some(s) = &self.sources {
            MediaSource::write_all(s, w);
        }
        w.close();
    }
}
