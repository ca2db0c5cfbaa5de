//! Jingle requests of members (`spec/focus.md` 4.6 to 4.8). Each is answered after its effect.

use std::time::{Duration, Instant};

use amphi_jingle::{Action, IceTransport, Jingle, ParseError, SourceSet};
use amphi_stanza::{Condition, ErrorType, Stanza, StanzaError, ns};

use super::sources::{SourceError, SourceLimits};
use super::state::State;
use super::window::Window;
use crate::NodeId;
use crate::conference::Conference;
use crate::core::Core;

type Outcome = Result<(), StanzaError>;

fn refusal(condition: Condition, text: impl Into<String>) -> StanzaError {
    let ty = match condition {
        Condition::BadRequest => ErrorType::Modify,
        Condition::ResourceConstraint => ErrorType::Wait,
        _ => ErrorType::Cancel,
    };
    StanzaError::new(ty, condition).text(text)
}

fn bad(text: impl Into<String>) -> StanzaError {
    refusal(Condition::BadRequest, text)
}

/// Bridges refuse half of what an ICE session is known by.
fn credentials(t: &IceTransport) -> Outcome {
    match t.ufrag.is_some() == t.pwd.is_some() {
        true => Ok(()),
        false => Err(bad("ufrag and pwd come together")),
    }
}

impl From<ParseError> for Refused {
    fn from(e: ParseError) -> Self {
        Self(bad(e.to_string()))
    }
}

impl From<SourceError> for Refused {
    fn from(e: SourceError) -> Self {
        Self(bad(e.to_string()))
    }
}

struct Refused(StanzaError);

impl From<Refused> for StanzaError {
    fn from(r: Refused) -> Self {
        r.0
    }
}

impl Conference {
    /// A Jingle request from an occupant of the main room or of a shadow room.
    pub(crate) fn on_jingle(&mut self, core: &mut Core, now: Instant, node: &NodeId, nick: &str, stanza: &Stanza) {
        core.metrics.jingle_received += 1;
        let outcome = self.jingle(core, now, node, nick, stanza);
        if let Err(e) = &outcome {
            core.metrics.jingle_refused += 1;
            core.event(crate::Event::BadStanza { node: node.clone(), why: format!("jingle: {e}") });
        }
        core.answer(node, stanza, outcome);
        self.media_changed(core, now);
    }

    fn jingle(&mut self, core: &mut Core, now: Instant, node: &NodeId, nick: &str, stanza: &Stanza) -> Outcome {
        let limits = core.config.media.limits.clone();
        let Some(e) = stanza.child("jingle", ns::JINGLE) else { return Err(bad("no jingle")) };
        let Some(p) = self.media.participants.get_mut(nick).filter(|p| p.node == *node) else {
            return Err(refusal(Condition::ItemNotFound, "no such member"));
        };
        if p.sid == 0 {
            return Err(bad("no session"));
        }
        let window = p.extra().requests.get_or_insert_with(|| Window::new(Duration::from_secs(10)));
        window.add(now, 1);
        if window.count(now) > limits.requests_per_ten_seconds {
            return Err(refusal(Condition::ResourceConstraint, "too many requests"));
        }
        let j = match Jingle::parse(e, &limits.wire) {
            Ok(j) => j,
            Err(why) => {
                if e.attr("action").as_deref() == Some("session-accept") {
                    self.end_for_good(core, now, nick);
                }
                return Err(bad(why.to_string()));
            }
        };
        let (sid, old) = (format!("{:x}", p.sid), format!("{:x}", p.old_sid));
        if j.sid != sid {
            let replaced = p.old_sid != 0 && j.sid == old;
            return Err(match (replaced, j.action) {
                (true, Action::SessionAccept) => refusal(Condition::Gone, "session has been replaced"),
                (true, _) => refusal(Condition::ItemNotFound, "jingle session no longer active"),
                (false, _) => bad("unknown session"),
            });
        }
        if !p.has_session() {
            return Err(match p.state {
                State::Ended | State::Waiting => refusal(Condition::Gone, "session ended"),
                _ => refusal(Condition::ItemNotFound, "jingle session no longer active"),
            });
        }
        match j.action {
            Action::SessionAccept | Action::TransportAccept => self.accepted(core, now, nick, &j),
            Action::TransportInfo => {
                let Some(t) = j.transport() else { return Err(bad("no transport")) };
                credentials(t)?;
                self.update_transport(core, now, nick, t.clone());
                Ok(())
            }
            Action::SourceAdd => self.source_add(core, now, nick, &j),
            Action::SourceRemove => self.source_remove(core, now, nick, &j),
            Action::SessionInfo => self.session_info(core, now, nick, &j),
            Action::SessionTerminate => self.terminated(core, now, nick, &j),
            Action::TransportReject => Ok(()),
            _ => Err(refusal(Condition::FeatureNotImplemented, "this action is not implemented")),
        }
    }

    fn source_limits(core: &Core) -> SourceLimits {
        SourceLimits { ssrcs: core.config.media.max_ssrcs, groups: core.config.media.max_groups }
    }

    /// Its session ends, and it gets no other until it comes again.
    fn end_for_good(&mut self, core: &mut Core, now: Instant, nick: &str) {
        self.end_session(core, now, nick, None);
        if let Some(p) = self.media.participants.get_mut(nick) {
            p.state = State::Ended;
        }
    }

    fn accepted(&mut self, core: &mut Core, now: Instant, nick: &str, j: &Jingle) -> Outcome {
        let Some(p) = self.media.participants.get(nick) else { return Err(bad("no such member")) };
        if p.state == State::Active {
            return Err(bad("accepted already"));
        }
        let visitor = p.visitor;
        let sources = match j.sources() {
            Ok(s) if visitor && !s.is_empty() => Err(bad("visitors send nothing")),
            Ok(s) => Ok(s),
            Err(e) => Err(Refused::from(e).0),
        };
        let done = sources.and_then(|s| {
            let mut t = j.transport().cloned().ok_or_else(|| bad("no transport"))?;
            credentials(&t)?;
            t.rtcp_mux = true;
            self.media.sources.try_add(nick, &s, Self::source_limits(core)).map_err(Refused::from)?;
            Ok((s, t))
        });
        let (added, transport) = match done {
            Ok(d) => d,
            Err(e) => {
                self.end_for_good(core, now, nick);
                return Err(e);
            }
        };
        let last_n = j.contents.iter().find_map(|c| c.initial_last_n);
        if let Some(p) = self.media.participants.get_mut(nick) {
            p.state = State::Active;
        }
        core.metrics.sessions_accepted += 1;
        self.update_endpoint(core, now, nick, Some(transport), last_n, false);
        self.sources_changed(core, now, nick, &added);
        if self.media.receivers.contains(nick) {
            self.media.dirty = true;
        }
        Ok(())
    }

    /// Tells the other bridges, and soon the receivers.
    fn sources_changed(&mut self, core: &mut Core, now: Instant, nick: &str, what: &SourceSet) {
        if what.is_empty() {
            return;
        }
        self.media.dirty = true;
        if let Some((key, _)) = self.media.session_of(nick) {
            self.announce(core, now, key, nick, false, false);
        }
    }

    fn source_add(&mut self, core: &mut Core, now: Instant, nick: &str, j: &Jingle) -> Outcome {
        let add = j.sources().map_err(Refused::from)?;
        if add.is_empty() {
            return Ok(());
        }
        if self.media.participants.get(nick).is_some_and(|p| p.visitor) {
            return Err(bad("visitors send nothing"));
        }
        let c = &core.config.media;
        let full = |n: u32, max: u32, what: &str| {
            if n >= max {
                Err(refusal(Condition::ResourceConstraint, format!("{what} sender limit exceeded")))
            } else {
                Ok(())
            }
        };
        if !add.audio.sources.is_empty() {
            full(self.media.audio_senders, c.max_audio_senders, "audio")?;
        }
        if !add.video.sources.is_empty() {
            full(self.media.video_senders, c.max_video_senders, "video")?;
        }
        self.media.sources.try_add(nick, &add, Self::source_limits(core)).map_err(Refused::from)?;
        self.update_endpoint(core, now, nick, None, None, false);
        self.sources_changed(core, now, nick, &add);
        Ok(())
    }

    fn source_remove(&mut self, core: &mut Core, now: Instant, nick: &str, j: &Jingle) -> Outcome {
        let remove = j.sources().map_err(Refused::from)?;
        if remove.is_empty() {
            return Ok(());
        }
        self.media.sources.try_remove(nick, &remove).map_err(Refused::from)?;
        self.update_endpoint(core, now, nick, None, None, false);
        self.sources_changed(core, now, nick, &remove);
        Ok(())
    }

    /// Whether a request is about the session that the member is in now.
    fn is_current(&self, nick: &str, id: Option<&str>) -> bool {
        self.media.session_of(nick).is_some_and(|(_, s)| Some(s.id.as_str()) == id)
    }

    fn session_info(&mut self, core: &mut Core, now: Instant, nick: &str, j: &Jingle) -> Outcome {
        let id = j.bridge_session.as_ref().and_then(|b| b.id.as_deref());
        if j.bridge_session.as_ref().is_some_and(|b| b.ice_restart) {
            core.metrics.ice_restarts_requested += 1;
            if !core.config.media.ice_restart {
                return Err(refusal(Condition::FeatureNotImplemented, "ICE restarts are off"));
            }
            if !self.is_current(nick, id) {
                return Err(refusal(Condition::ItemNotFound, "no such bridge session"));
            }
            let limits = core.config.media.restart_limits;
            let Some(p) = self.media.participants.get_mut(nick) else { return Err(bad("no such member")) };
            if !p.extra().ice_restarts.allow(now, limits) {
                return Err(refusal(Condition::ResourceConstraint, "rate-limited"));
            }
            let sid = p.sid;
            self.restart_ice(core, now, nick, sid);
            return Ok(());
        }
        if j.ice_state.as_deref() == Some("failed") && self.is_current(nick, id) {
            core.metrics.participants_ice_failed += 1;
            let limits = core.config.media.restart_limits;
            let Some(p) = self.media.participants.get_mut(nick) else { return Ok(()) };
            if p.extra().restarts.allow(now, limits) {
                self.count_ice_failure(core, now, nick);
                // The endpoint goes before it is asked for again.
                self.reinvite(core, now, nick);
            }
        }
        Ok(())
    }

    fn count_ice_failure(&self, core: &mut Core, now: Instant, nick: &str) {
        let Some((_, s)) = self.media.session_of(nick) else { return };
        let (bridge, config) = (s.bridge.clone(), &core.config.media);
        if let Some(b) = core.media.bridges.get_mut(&bridge) {
            b.restarts += 1;
            b.ice_failed(now, config);
        }
    }

    fn terminated(&mut self, core: &mut Core, now: Instant, nick: &str, j: &Jingle) -> Outcome {
        let restart = j.bridge_session.as_ref().filter(|b| b.restart);
        let Some(b) = restart else {
            self.end_for_good(core, now, nick);
            return Ok(());
        };
        core.metrics.participants_restart_requested += 1;
        if !self.is_current(nick, b.id.as_deref()) {
            return Err(refusal(Condition::ItemNotFound, "no such bridge session"));
        }
        let limits = core.config.media.restart_limits;
        let Some(p) = self.media.participants.get_mut(nick) else { return Err(bad("no such member")) };
        if !p.extra().restarts.allow(now, limits) {
            self.end_for_good(core, now, nick);
            return Err(refusal(Condition::ResourceConstraint, "rate-limited"));
        }
        self.count_ice_failure(core, now, nick);
        self.end_session(core, now, nick, None);
        self.invite(core, nick, false);
        Ok(())
    }
}

impl Core {
    /// Answers a request that carries nothing back.
    pub(crate) fn answer(&mut self, node: &NodeId, request: &Stanza, outcome: Outcome) {
        let mut w = amphi_stanza::XmlWriter::new();
        match outcome {
            Ok(()) => {
                w.open_ns("iq", ns::CLIENT).attr("type", "result").attr_opt("id", request.id());
                w.attr_opt("from", request.attr("to")).attr_opt("to", request.attr("from"));
            }
            Err(e) => {
                let Some(answer) = e.answer(request) else { return };
                w.element(answer.root());
            }
        }
        self.send(node, w);
    }
}
