//! Messages between visitors and the stage (`spec/signaling.md` 4.7, 4.8).

use std::time::Instant;

use amphi_stanza::{Condition, Element, ErrorType, FullJid, Jid, Stanza, StanzaError, ns};

use super::{Shadow, ShadowAction};
use crate::wire::{AMPHI, is_own_line, line_of};

impl Shadow {
    /// Group chat of a visitor: at once to everybody here, and to the main room.
    ///
    /// # Errors
    /// If the sender is no visitor, writes too fast, or the main node is out of reach for too long.
    pub fn visitor_groupchat(
        &mut self,
        now: Instant,
        visitor: &FullJid,
        message: &Stanza,
    ) -> Result<Vec<ShadowAction>, StanzaError> {
        let main = self.main_room.as_ref().map(|r| r.to_string());
        let to_main = self.named(visitor, message, main.unwrap_or_default())?;
        self.room_to_hold(&to_main)?;
        self.budget.take(now, visitor)?;
        let mut out = vec![ShadowAction::Deliver(to_main.rewrite().unset("to").stanza())];
        self.send_or_hold(to_main, &mut out);
        Ok(out)
    }

    /// A private message of a visitor to the occupant called `nick`.
    ///
    /// # Errors
    /// To other visitors it is forbidden; else as [`Shadow::visitor_groupchat`].
    pub fn visitor_private(
        &mut self,
        now: Instant,
        visitor: &FullJid,
        nick: &str,
        message: &Stanza,
    ) -> Result<Vec<ShadowAction>, StanzaError> {
        if self.visitor_nicks.contains_key(nick) {
            return Err(StanzaError::new(ErrorType::Auth, Condition::Forbidden)
                .text("Private messaging between visitors is disabled on visitor nodes"));
        }
        let to = self.main_room.as_ref().filter(|_| self.remotes.contains_key(nick));
        let Some(to) = to.and_then(|r| r.occupant(nick).ok()) else { return Err(Self::not_here()) };
        let to_main = self.named(visitor, message, to.to_string())?;
        self.room_to_hold(&to_main)?;
        self.budget.take(now, visitor)?;
        let mut out = Vec::new();
        self.send_or_hold(to_main, &mut out);
        Ok(out)
    }

    /// The message as others see it: the name is the one in the visitor's presence, whatever the message says.
    fn named(&self, visitor: &FullJid, message: &Stanza, to: String) -> Result<Stanza, StanzaError> {
        let Some(v) = self.visitors.get(visitor) else { return Err(Self::not_here()) };
        let Ok(from) = self.addr.room.occupant(&v.nick) else { return Err(Self::not_here()) };
        let name = v.name.as_deref().unwrap_or("anonymous");
        Ok(message
            .rewrite()
            .set("from", from)
            .set("to", to)
            .keep(|c| !matches!(c.name(), "nick" | "display-name" | "addresses") && c.ns() != AMPHI)
            .append(|w| {
                w.open_ns("nick", ns::NICK).text(name).close();
                w.open_ns("display-name", ns::DISPLAY_NAME).attr("source", "visitor").text(name).close();
            })
            .stanza())
    }

    fn room_to_hold(&self, message: &Stanza) -> Result<(), StanzaError> {
        let full =
            self.held.len() >= self.config.held || self.held_bytes + message.raw().len() > self.config.held_bytes;
        if self.main_down && full {
            return Err(StanzaError::new(ErrorType::Wait, Condition::RemoteServerTimeout)
                .text("The stage is out of reach at the moment"));
        }
        Ok(())
    }

    fn send_or_hold(&mut self, message: Stanza, out: &mut Vec<ShadowAction>) {
        if self.main_down {
            self.held_bytes += message.raw().len();
            self.held.push_back(message);
        } else {
            out.push(ShadowAction::Send(message));
        }
    }

    /// Group chat from the main node to this room: of a mirrored occupant, or relayed from another node. Never sent back.
    pub fn main_groupchat(&mut self, from: &Jid, message: &Stanza) -> Vec<ShadowAction> {
        if message.ty().as_deref() == Some("error") || !self.is_news(message) {
            return Vec::new();
        }
        let nick = from.as_full().and_then(|f| self.nick_of(&f).map(str::to_owned));
        vec![ShadowAction::Deliver(self.local(message, nick.as_deref()))]
    }

    /// A line of the main room's history, addressed to the host of this room's MUC. Once the room is open it has a history
    /// of its own: then only a line with a number can be told to be news, and visitors get it, delay and all. What a visitor
    /// here wrote is none.
    pub fn main_history(&mut self, from: &Jid, message: &Stanza) -> Vec<ShadowAction> {
        let mine = self.main_room.as_ref().is_some_and(|r| r.as_str() == from.bare_str());
        let late = self.connected && line_of(message).is_none();
        if !mine || late || !self.is_news(message) || (self.connected && is_own_line(message)) {
            return Vec::new();
        }
        let line = self.local(message, from.resource());
        vec![if self.connected { ShadowAction::Deliver(line) } else { ShadowAction::History(line) }]
    }

    /// Whether this line of the main room is newer than all before, which it is only once; lines of stock peers have no
    /// numbers. Asked by the room for what it delivers itself.
    pub fn is_news(&mut self, message: &Stanza) -> bool {
        let Some(line) = line_of(message) else { return true };
        if self.line.as_ref().is_some_and(|l| l.epoch == line.epoch && l.seq >= line.seq) {
            return false;
        }
        self.line = Some(line);
        true
    }

    fn local(&self, message: &Stanza, nick: Option<&str>) -> Stanza {
        let r = message.rewrite().unset("to").keep(|c: &Element<'_>| c.ns() != AMPHI);
        match nick.and_then(|n| self.addr.room.occupant(n).ok()) {
            Some(o) => r.set("from", o).stanza(),
            None => r.set("from", &self.addr.room).stanza(),
        }
    }

    /// A message from the main node to the visitor called `nick`: the answer of a mirrored occupant to a private message.
    ///
    /// # Errors
    /// If there is no such visitor, or the sender is not mirrored here.
    pub fn main_private(&self, from: &FullJid, nick: &str, message: &Stanza) -> Result<Vec<ShadowAction>, StanzaError> {
        let (Some(visitor), Some(sender)) = (self.visitor_nicks.get(nick), self.nick_of(from)) else {
            return Err(Self::not_here());
        };
        let Ok(sender) = self.addr.room.occupant(sender) else { return Err(Self::not_here()) };
        let stanza = message.rewrite().set("from", sender).set("to", visitor).stanza();
        Ok(vec![ShadowAction::DeliverTo { visitor: visitor.clone(), stanza }])
    }
}
