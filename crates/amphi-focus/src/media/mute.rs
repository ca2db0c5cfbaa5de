//! Who may unmute, and mute requests (`spec/focus.md` 4.12, 4.13).

use std::collections::HashSet;
use std::time::Instant;

use amphi_jingle::colibri2::ForceMute;
use amphi_stanza::{BareJid, Condition, Element, ErrorType, Jid, Stanza, StanzaError, ns};
use serde_json::Value;

use crate::NodeId;
use crate::conference::Conference;
use crate::core::Core;
use crate::member::Role;

/// Moderation of one medium.
#[derive(Debug, Default)]
pub(crate) struct Moderated {
    pub(crate) enabled: bool,
    /// Nicks that may unmute all the same.
    whitelist: HashSet<Box<str>>,
}

impl Moderated {
    pub(crate) fn allows(&self, nick: &str) -> bool {
        !self.enabled || self.whitelist.contains(nick)
    }
}

/// Moderation of all media of a conference.
#[derive(Debug, Default)]
pub(crate) struct Moderation {
    pub(crate) audio: Moderated,
    pub(crate) video: Moderated,
    pub(crate) desktop: Moderated,
}

/// What can be muted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Muted {
    Audio,
    Video,
    Desktop,
}

const ALL: [Muted; 3] = [Muted::Audio, Muted::Video, Muted::Desktop];

impl Muted {
    fn parse(s: &str) -> Option<Self> {
        ALL.into_iter().find(|m| s.eq_ignore_ascii_case(m.name()))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Desktop => "desktop",
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Audio => "http://jitsi.org/jitmeet/audio",
            Self::Video => "http://jitsi.org/jitmeet/video",
            Self::Desktop => "http://jitsi.org/jitmeet/desktop",
        }
    }

    /// The mute element of a request.
    pub(crate) fn of(stanza: &Stanza) -> Option<(Self, Element<'_>)> {
        ALL.into_iter().find_map(|m| Some((m, stanza.child("mute", m.namespace())?)))
    }
}

impl Moderation {
    fn of(&self, m: Muted) -> &Moderated {
        match m {
            Muted::Audio => &self.audio,
            Muted::Video => &self.video,
            Muted::Desktop => &self.desktop,
        }
    }

    fn of_mut(&mut self, m: Muted) -> &mut Moderated {
        match m {
            Muted::Audio => &mut self.audio,
            Muted::Video => &mut self.video,
            Muted::Desktop => &mut self.desktop,
        }
    }

    /// What the bridge must drop: video only if neither camera nor screen are allowed.
    pub(crate) fn force(&self, nick: &str) -> ForceMute {
        ForceMute { audio: !self.audio.allows(nick), video: !self.video.allows(nick) && !self.desktop.allows(nick) }
    }
}

/// A message of the moderation component.
#[derive(Debug, Default)]
pub(crate) struct ModerationChange {
    pub(crate) room: Option<BareJid>,
    enabled: Option<(Muted, bool)>,
    whitelists: Vec<(Muted, HashSet<Box<str>>)>,
    actor: Option<Box<str>>,
}

impl ModerationChange {
    /// Reads the text of a `json-message`; `None` if it is something else.
    pub(crate) fn parse(json: &str, max: usize) -> Option<Self> {
        let Ok(Value::Object(o)) = serde_json::from_str(json) else { return None };
        if o.get("type").and_then(Value::as_str) != Some("av_moderation") {
            return None;
        }
        let text = |k: &str| o.get(k).and_then(Value::as_str);
        let nick = |j: &str| Jid::parse(j).ok().and_then(|j| j.resource().map(Box::<str>::from));
        let mut c = Self {
            room: text("room").and_then(|r| BareJid::parse(r).ok()),
            actor: text("actor").and_then(nick),
            ..Self::default()
        };
        if let (Some(on), Some(m)) =
            (o.get("enabled").and_then(Value::as_bool), text("mediaType").and_then(Muted::parse))
        {
            c.enabled = Some((m, on));
        }
        if let Some(Value::Object(lists)) = o.get("whitelists") {
            for (media, list) in lists {
                let (Some(m), Some(list)) = (Muted::parse(media), list.as_array()) else { continue };
                let nicks = list.iter().take(max).filter_map(|v| v.as_str().and_then(nick));
                c.whitelists.push((m, nicks.collect()));
            }
        }
        Some(c)
    }
}

fn refusal(condition: Condition, text: &str) -> StanzaError {
    StanzaError::new(ErrorType::Cancel, condition).text(text)
}

impl Conference {
    /// Moderation was switched, or somebody was allowed to unmute.
    pub(crate) fn on_moderation(&mut self, core: &mut Core, now: Instant, change: ModerationChange) {
        if !self.has_media(core) {
            return;
        }
        for (m, nicks) in change.whitelists {
            self.media.moderation.of_mut(m).whitelist = nicks;
        }
        let Some((m, on)) = change.enabled else { return };
        let was = std::mem::replace(&mut self.media.moderation.of_mut(m).enabled, on);
        if was || !on {
            // Who was muted stays so until it unmutes itself.
            return;
        }
        let mut nicks: Vec<Box<str>> = self
            .media
            .participants
            .iter()
            .filter(|(n, p)| p.node == NodeId::Main && Some(*n) != change.actor.as_ref())
            .map(|(n, _)| n.clone())
            .collect();
        nicks.retain(|n| !self.is_exempt(n) && !self.media.moderation.of(m).allows(n));
        nicks.sort_unstable();
        let wanted: Vec<_> = nicks.iter().map(|n| (n.clone(), self.media.moderation.force(n))).collect();
        self.force_mute(core, now, &wanted);
        let actor = change.actor.and_then(|a| self.room.occupant(&a).ok()).map(|a| a.to_string());
        for nick in nicks {
            self.tell_muted(core, m, &nick, actor.as_deref());
        }
    }

    fn tell_muted(&self, core: &mut Core, m: Muted, nick: &str, actor: Option<&str>) {
        let Ok(to) = self.room.occupant(nick) else { return };
        core.tell(&NodeId::Main, &to, |w| {
            w.open_ns("mute", m.namespace()).attr_opt("actor", actor).text("true").close();
        });
    }

    /// A member mutes somebody, or itself, or unmutes itself.
    pub(crate) fn on_mute(&mut self, core: &mut Core, now: Instant, nick: &str, stanza: &Stanza) {
        let outcome = self.mute(core, now, nick, stanza);
        core.answer(&NodeId::Main, stanza, outcome);
    }

    fn mute(&mut self, core: &mut Core, now: Instant, muter: &str, stanza: &Stanza) -> Result<(), StanzaError> {
        let bad = |text: &str| StanzaError::new(ErrorType::Modify, Condition::BadRequest).text(text);
        let Some((m, e)) = Muted::of(stanza) else { return Err(bad("no mute")) };
        let text = e.text();
        let mute = match text.trim() {
            "" => return Err(bad("neither muted nor unmuted")),
            t => t.eq_ignore_ascii_case("true"),
        };
        let target = e.attr("jid").and_then(|j| Jid::parse(&j).ok());
        let target =
            target.filter(|t| t.bare_str() == self.room.as_str()).and_then(|t| t.resource().map(str::to_owned));
        let Some(target) = target else { return Err(bad("no such occupant")) };
        let unknown = || refusal(Condition::InternalServerError, "unknown occupant");
        let from = self.main.members.get(muter).ok_or_else(unknown)?;
        if !self.main.members.contains_key(&*target) {
            return Err(unknown());
        }
        let moderator = matches!(from.role, Role::Owner | Role::Moderator);
        let no = |text: &str| refusal(Condition::NotAllowed, text);
        if *muter != *target {
            if !mute {
                return Err(no("nobody is unmuted by others"));
            }
            if !moderator {
                return Err(no("only moderators mute others"));
            }
        } else if !mute && !moderator && !self.media.moderation.of(m).allows(muter) {
            return Err(no("a moderator must allow it"));
        }
        if *muter != *target && self.is_exempt(&target) {
            return Err(no("this occupant cannot be muted"));
        }
        let moderator_target =
            self.main.members.get(&*target).is_some_and(|t| matches!(t.role, Role::Owner | Role::Moderator));
        // A moderator that unmutes itself may, whatever the lists say.
        let force = if moderator_target { ForceMute::default() } else { self.media.moderation.force(&target) };
        self.force_mute(core, now, &[(target.clone().into(), force)]);
        if *muter != *target {
            let actor = stanza.attr("from").map(|f| f.into_owned());
            self.tell_muted(core, m, &target, actor.as_deref());
        }
        Ok(())
    }
}

/// The namespace of messages that carry JSON.
pub(crate) fn json_message(stanza: &Stanza) -> Option<Element<'_>> {
    stanza.child("json-message", ns::JITMEET)
}
