//! The focus as an occupant of one room: entering it, becoming its owner, and seeing who is there
//! (`spec/focus.md` 1.3). It does not know what the room is for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use amphi_stanza::{BareJid, FullJid, Stanza, XmlWriter, ns};

use crate::NodeId;
use crate::core::Core;
use crate::disco;
use crate::iq::{Answered, Purpose, What};
use crate::member::{self, Member};

/// How far the entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The join presence is sent.
    Entering,
    /// The owner's form is asked for, then submitted.
    Configuring,
    In,
    Out,
}

/// What a presence changed.
#[derive(Debug)]
pub(crate) enum Change {
    Nothing,
    /// The room does not let us in.
    Refused(String),
    Joined(Box<str>),
    /// Role or address may have changed.
    Updated,
    /// A visitor has another name.
    Renamed,
    Left {
        nick: Box<str>,
        member: Member,
        switch_room: bool,
        kicked: bool,
    },
    /// The room was destroyed, or we were removed from it.
    Gone,
    NotOwner,
}

/// What an answer led to.
#[derive(Debug)]
pub(crate) enum Step {
    Waiting,
    Ready(Box<Form>),
    Failed(String),
}

/// What the owner's form says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) meeting_id: Option<String>,
    pub(crate) breakout_main: Option<BareJid>,
    pub(crate) presets: bool,
    pub(crate) visitors_enabled: Option<bool>,
    pub(crate) participants_soft_limit: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Muc {
    pub(crate) node: NodeId,
    pub(crate) jid: BareJid,
    /// Our occupant address.
    pub(crate) me: FullJid,
    pub(crate) phase: Phase,
    pub(crate) serial: u64,
    /// When entering is given up.
    pub(crate) deadline: Option<Instant>,
    pub(crate) members: HashMap<Box<str>, Member>,
    conference: BareJid,
    vnode: Option<Arc<str>>,
    form: Form,
    seq: u64,
}

impl Muc {
    /// Goes into a room. `conference` is the main room that answers are filed under.
    pub(crate) fn enter(
        core: &mut Core,
        now: Instant,
        conference: &BareJid,
        vnode: Option<Arc<str>>,
        jid: BareJid,
        me: FullJid,
    ) -> Self {
        let node = vnode.clone().map_or(NodeId::Main, NodeId::Vnode);
        let mut w = XmlWriter::new();
        w.open_ns("presence", ns::CLIENT).attr("to", &me).empty("x", ns::MUC);
        disco::caps(&mut w, &core.caps);
        core.send(&node, w);
        Self {
            node,
            jid,
            me,
            phase: Phase::Entering,
            serial: core.serial(),
            deadline: Some(now + core.config.reply_timeout),
            members: HashMap::new(),
            conference: conference.clone(),
            vnode,
            form: Form::default(),
            seq: 0,
        }
    }

    /// Leaves, or takes a join back that was never confirmed.
    pub(crate) fn leave(&mut self, core: &mut Core) {
        if self.phase != Phase::Out {
            self.phase = Phase::Out;
            core.leave(&self.node, &self.me);
        }
        self.deadline = None;
    }

    pub(crate) fn purpose(&self, what: What) -> Purpose {
        Purpose { room: Some(self.conference.clone()), vnode: self.vnode.clone(), serial: self.serial, what }
    }

    pub(crate) fn occupant(&self, nick: &str) -> FullJid {
        self.jid.occupant(nick).unwrap_or_else(|_| self.me.clone())
    }

    /// Members in the order of their arrival.
    pub(crate) fn by_arrival(&self) -> Vec<Box<str>> {
        let mut nicks: Vec<_> = self.members.iter().map(|(n, m)| (m.seq, n.clone())).collect();
        nicks.sort_unstable();
        nicks.into_iter().map(|(_, n)| n).collect()
    }

    /// Takes a presence from this room.
    pub(crate) fn presence(&mut self, core: &mut Core, now: Instant, nick: &str, stanza: &Stanza) -> Change {
        if self.phase == Phase::Out {
            return Change::Nothing;
        }
        let ty = stanza.ty();
        if nick == self.me.nick() {
            return self.own_presence(core, now, ty.as_deref(), stanza);
        }
        match ty.as_deref() {
            Some("unavailable") => {
                let Some(member) = self.members.remove(nick) else { return Change::Nothing };
                let status = stanza.children().find(|e| e.name() == "status").map(|e| e.text());
                Change::Left {
                    nick: nick.into(),
                    member,
                    switch_room: status.as_deref() == Some("switch_room"),
                    kicked: member::has_status(stanza, "307") || member::has_status(stanza, "301"),
                }
            }
            None => {
                if let Some(old) = self.members.get_mut(nick) {
                    let new = Member::read(stanza, &core.config, old.seq);
                    // Nobody becomes a visitor, or stops being one, within a room.
                    if new.is_visitor() == old.is_visitor() {
                        old.role = new.role;
                    }
                    old.kind = new.kind;
                    old.facts = core.facts(stanza);
                    let renamed = old.name != new.name;
                    old.name = new.name;
                    old.jid = new.jid.or_else(|| old.jid.take());
                    return if renamed && old.is_visitor() { Change::Renamed } else { Change::Updated };
                }
                if self.members.len() >= core.config.limits.members {
                    return Change::Nothing;
                }
                self.seq += 1;
                let mut member = Member::read(stanza, &core.config, self.seq);
                member.facts = core.facts(stanza);
                self.members.insert(nick.into(), member);
                Change::Joined(nick.into())
            }
            _ => Change::Nothing,
        }
    }

    fn own_presence(&mut self, core: &mut Core, now: Instant, ty: Option<&str>, stanza: &Stanza) -> Change {
        match ty {
            Some("error") if self.phase == Phase::Entering => {
                let error = stanza.children().find(|e| e.name() == "error");
                let condition = error.and_then(|e| e.children().next()).map_or("error", |c| c.name());
                self.phase = Phase::Out;
                Change::Refused(condition.to_owned())
            }
            Some("unavailable") => {
                self.phase = Phase::Out;
                Change::Gone
            }
            None => {
                let owner = member::item(stanza).and_then(|i| i.attr("affiliation")).as_deref() == Some("owner");
                if self.phase == Phase::Entering {
                    if !owner {
                        return Change::Refused("not an owner".to_owned());
                    }
                    self.phase = Phase::Configuring;
                    self.deadline = None;
                    let purpose = self.purpose(What::OwnerForm);
                    core.ask(now, &self.node, &self.jid, "get", purpose, |w| {
                        w.empty("query", ns::MUC_OWNER);
                    });
                    Change::Nothing
                } else if owner {
                    Change::Nothing
                } else {
                    Change::NotOwner
                }
            }
            _ => Change::Nothing,
        }
    }

    /// Takes an answer to one of the questions of the entry.
    pub(crate) fn answer(&mut self, core: &mut Core, now: Instant, what: &What, answered: Answered) -> Step {
        if self.phase != Phase::Configuring {
            return Step::Waiting;
        }
        match (what, answered) {
            (What::OwnerForm, Ok(stanza)) => {
                self.form = Form::read(&stanza);
                let purpose = self.purpose(What::OwnerSubmit);
                core.ask(now, &self.node, &self.jid, "set", purpose, |w| {
                    w.open_ns("query", ns::MUC_OWNER).open_ns("x", ns::DATA_FORMS).attr("type", "submit");
                    w.open("field").attr("var", "FORM_TYPE").attr("type", "hidden");
                    w.text_element("value", ns::MUC_ROOMCONFIG).close();
                    // Clients must see our real address.
                    w.open("field").attr("var", "muc#roomconfig_whois").text_element("value", "anyone").close();
                    w.close().close();
                });
                Step::Waiting
            }
            (What::OwnerSubmit, Ok(_)) => {
                self.phase = Phase::In;
                Step::Ready(Box::new(std::mem::take(&mut self.form)))
            }
            (What::OwnerForm | What::OwnerSubmit, Err(why)) => Step::Failed(format!("{}: {why}", what.name())),
            _ => Step::Waiting,
        }
    }
}

impl Form {
    fn read(stanza: &Stanza) -> Self {
        let mut form = Self::default();
        let x = stanza.child("query", ns::MUC_OWNER).and_then(|q| q.child("x", ns::DATA_FORMS));
        let mut breakout = (false, None);
        for field in x.iter().flat_map(|x| x.children()).filter(|f| f.name() == "field") {
            let (Some(var), Some(value)) = (field.attr("var"), field.child_named("value").map(|v| v.text())) else {
                continue;
            };
            let truth = matches!(&*value, "1" | "true");
            match &*var {
                "muc#roominfo_meetingId" if !value.trim().is_empty() => form.meeting_id = Some(value.into_owned()),
                "muc#roominfo_isbreakout" => breakout.0 = truth,
                "muc#roominfo_breakout_main_room" => breakout.1 = BareJid::parse(&value).ok(),
                "muc#roominfo_conference_presets_service_enabled" => form.presets = truth,
                // Older servers say these here instead of in the metadata.
                "muc#roominfo_visitorsEnabled" => form.visitors_enabled = Some(truth),
                "muc#roominfo_participantsSoftLimit" => {
                    form.participants_soft_limit = value.parse().ok().filter(|v| *v > 0);
                }
                _ => {}
            }
        }
        form.breakout_main = breakout.1.filter(|_| breakout.0);
        form
    }
}
