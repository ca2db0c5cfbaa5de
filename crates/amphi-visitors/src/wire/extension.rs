//! Our own nodes among themselves (`urn:amphi:visitors:0`): synchronisation marks, a digest of the roster, and sequence
//! numbers of chat lines. Everything is a child with a namespace of its own, which a stock peer does not look at.

use std::borrow::Cow;

use amphi_stanza::{Element, Stanza, XmlWriter};

use super::WireError;

/// Namespace of the extension.
pub const AMPHI: &str = "urn:amphi:visitors:0";

fn number(e: Element<'_>, name: &'static str) -> Result<u64, WireError> {
    e.attr(name).and_then(|v| v.parse().ok()).ok_or(WireError::Value(name))
}

fn hex(e: Element<'_>, name: &'static str) -> Result<u64, WireError> {
    e.attr(name).and_then(|v| u64::from_str_radix(&v, 16).ok()).ok_or(WireError::Value(name))
}

fn epoch(e: Element<'_>) -> Result<String, WireError> {
    match e.attr("epoch") {
        Some(v) if (1..=64).contains(&v.len()) => Ok(v.into_owned()),
        _ => Err(WireError::Value("epoch")),
    }
}

/// Mark in `update` (opens) and `connect` (closes) of one synchronisation. Occupants that were not told again in between
/// are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Life of the main room's link state; sequence numbers of another epoch mean nothing.
    pub epoch: String,
    /// Number of this synchronisation.
    pub n: u64,
    /// Digest of the roster when the mark was written; see [`crate::occupant_hash`].
    pub digest: u64,
}

impl Sync {
    pub(crate) fn read(parent: Element<'_>) -> Result<Option<Self>, WireError> {
        let Some(e) = parent.child("sync", AMPHI) else { return Ok(None) };
        Ok(Some(Self { epoch: epoch(e)?, n: number(e, "n")?, digest: hex(e, "digest")? }))
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open_ns("sync", AMPHI).attr("epoch", &self.epoch).attr("n", self.n);
        w.attr("digest", format_args!("{:016x}", self.digest)).close();
    }
}

/// What a node should have, now and then, so that it finds out if it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// As in [`Sync`].
    pub epoch: String,
    /// Digest of the roster.
    pub digest: u64,
}

impl Checkpoint {
    pub(crate) fn read(e: Element<'_>) -> Result<Self, WireError> {
        Ok(Self { epoch: epoch(e)?, digest: hex(e, "digest")? })
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open_ns("checkpoint", AMPHI).attr("epoch", &self.epoch);
        w.attr("digest", format_args!("{:016x}", self.digest)).close();
    }
}

/// Where raised hands are in the line of those who wait for a moderator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Real full addresses of visitors, and their places, counted from 1.
    pub list: Vec<(String, u64)>,
}

impl Places {
    pub(crate) fn read(e: Element<'_>) -> Result<Self, WireError> {
        let place = |p: Element<'_>| Ok((p.attr("jid").ok_or(WireError::Value("jid"))?.into_owned(), number(p, "n")?));
        Ok(Self { list: e.children().filter(|c| c.name() == "place").map(place).collect::<Result<_, WireError>>()? })
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open_ns("places", AMPHI);
        for (jid, n) in &self.list {
            w.open("place").attr("jid", jid).attr("n", n).close();
        }
        w.close();
    }
}

/// Child of the results that a node of ours gives: it knows the extension, and this is the last chat line it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// Last line and the epoch it belongs to; `None` when it has none.
    pub line: Option<Line>,
}

impl Support {
    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open_ns("support", AMPHI);
        if let Some(l) = &self.line {
            w.attr("epoch", &l.epoch).attr("line", l.seq);
        }
        w.close();
    }
}

/// What an IQ result says of the extension; `None` from a stock peer.
pub fn support_of(result: &Stanza) -> Option<Support> {
    let e = result.child("support", AMPHI)?;
    let line = match (epoch(e), number(e, "line")) {
        (Ok(epoch), Ok(seq)) => Some(Line { epoch, seq }),
        _ => None,
    };
    Some(Support { line })
}

/// Place of a group chat line in the main room's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As in [`Sync`].
    pub epoch: String,
    /// Counts from 1.
    pub seq: u64,
}

impl Line {
    /// `own`: a visitor of the receiving node wrote it.
    pub(crate) fn write(&self, w: &mut XmlWriter, own: bool) {
        w.open_ns("line", AMPHI).attr("epoch", &self.epoch).attr("seq", self.seq);
        w.attr_opt("own", own.then_some(true)).close();
    }
}

/// Whether a numbered message was written by a visitor of the node that it is sent to, so that it has it already unless its
/// room is new.
pub fn is_own_line(message: &Stanza) -> bool {
    message.child("line", AMPHI).and_then(|e| e.attr("own")).is_some_and(|o| o == "true")
}

/// The sequence mark of a message from a main room of ours.
pub fn line_of(message: &Stanza) -> Option<Line> {
    let e = message.child("line", AMPHI)?;
    Some(Line { epoch: epoch(e).ok()?, seq: number(e, "seq").ok()? })
}

/// The message without the mark, as clients get it.
pub fn without_line(message: &Stanza) -> Cow<'_, Stanza> {
    if message.child("line", AMPHI).is_none() {
        return Cow::Borrowed(message);
    }
    Cow::Owned(message.rewrite().keep(|c| c.ns() != AMPHI).stanza())
}
