//! What was said before somebody came: the last messages with a body, and the subject after them.

use std::collections::VecDeque;
use std::sync::Arc;

use amphi_stanza::{Frame, Stanza, XmlWriter, ns};

use crate::Output;
use crate::context::Cx;
use crate::occupant::Occupant;
use crate::room::Room;

/// A message that joiners get.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// For local receivers.
    pub(crate) frame: Arc<Frame>,
    /// Real form, with its delay, for links.
    pub(crate) stanza: Stanza,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    kept: VecDeque<Kept>,
}

impl History {
    pub(crate) fn push(&mut self, limit: usize, kept: Kept) {
        if limit == 0 {
            return;
        }
        while self.kept.len() >= limit {
            self.kept.pop_front();
        }
        self.kept.push_back(kept);
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.kept.iter()
    }
}

/// How much of the history a joiner asks for (XEP-0045 §7.2.14); more than `maxstanzas` and `maxchars='0'` nobody sends.
pub(crate) fn wanted(join: &Stanza) -> usize {
    let number =
        |name: &str| -> Option<usize> { join.child("x", ns::MUC)?.child("history", ns::MUC)?.attr(name)?.parse().ok() };
    if number("maxchars") == Some(0) { 0 } else { number("maxstanzas").unwrap_or(usize::MAX) }
}

impl Room {
    /// Keeps a message for those who join later. `message`: real form, `from` the occupant; `name`: the sender's.
    /// Returns it as kept.
    pub(crate) fn keep(&mut self, cx: &Cx<'_>, message: &Stanza, name: Option<(&str, &str)>) -> Option<Stanza> {
        let limits = &cx.cfg.limits;
        let has_body = message.child("body", ns::CLIENT).is_some();
        if !has_body || message.raw().len() > limits.history_message {
            return None;
        }
        let stamp = cx.stamp();
        let from = self.real.clone();
        let named = message.child("display-name", ns::DISPLAY_NAME).is_some();
        let stanza = message
            .rewrite()
            .unset("to")
            .append(|w| {
                w.open_ns("delay", ns::DELAY).attr("from", from).attr("stamp", stamp).close();
                if let (Some((source, name)), false) = (name, named) {
                    w.open_ns("display-name", ns::DISPLAY_NAME).attr("source", source).text(name).close();
                }
            })
            .stanza();
        self.keep_as_is(cx, stanza.clone());
        Some(stanza)
    }

    /// Keeps a message that has its delay already, in real form.
    pub(crate) fn keep_as_is(&mut self, cx: &Cx<'_>, stanza: Stanza) {
        let from = stanza.from().ok().flatten();
        let frame = match from.map(|f| crate::address::to_virtual(cx.cfg, &f)) {
            Some(v) => stanza.rewrite().set("from", v).frame(),
            None => Frame::of(&stanza),
        };
        self.history.push(cx.cfg.limits.history, Kept { frame: Arc::new(frame), stanza });
    }

    /// History, then the subject, which ends the join (XEP-0045 §7.2.15).
    pub(crate) fn send_history(&mut self, cx: &mut Cx<'_>, o: &Occupant, join: &Stanza) {
        if self.kind == crate::room::RoomKind::Shadow && !o.peer.is_local() {
            return;
        }
        let subject = self.subject_message(cx, o);
        let skip = self.history.len().saturating_sub(wanted(join));
        match &o.peer.session {
            Some(s) => {
                let frames: Vec<_> = self.history.iter().skip(skip).map(|k| k.frame.clone()).collect();
                if !frames.is_empty() {
                    cx.push(Output::SendFrames { conn: s.conn, frames });
                }
            }
            None => {
                let all: Vec<_> = self.history.iter().skip(skip).map(|k| k.stanza.clone()).collect();
                for k in all {
                    cx.route(k.rewrite().set("to", &o.peer.jid).stanza());
                }
            }
        }
        cx.send(&o.peer, subject);
    }

    fn subject_message(&self, cx: &Cx<'_>, o: &Occupant) -> bytes::Bytes {
        match &self.subject {
            Some(s) => {
                let from = s.from().ok().flatten().map(|f| cx.seen_by(&o.peer, &f));
                let r = s.rewrite().set("to", &o.peer.jid);
                match from {
                    Some(f) => r.set("from", f).finish(),
                    None => r.finish(),
                }
            }
            None => {
                let mut w = XmlWriter::new();
                w.open_ns("message", ns::CLIENT).attr("type", "groupchat");
                w.attr("from", self.base_for(&o.peer)).attr("to", &o.peer.jid).open("subject").close();
                w.finish()
            }
        }
    }
}
