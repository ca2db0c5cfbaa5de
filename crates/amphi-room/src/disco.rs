//! What a room and a MUC service say of themselves (XEP-0030, `spec/signaling.md` 3.1).

use amphi_stanza::{Condition, ErrorType, Jid, Stanza, StanzaError, XmlWriter, ns};

use crate::address::{to_real, to_virtual};
use crate::config::{NodeConfig, Role};
use crate::context::{Cx, Request};
use crate::error::RoomError;
use crate::form;
use crate::room::{Room, RoomKind};

fn feature(w: &mut XmlWriter, var: &str) {
    w.open("feature").attr("var", var).close();
}

impl Room {
    fn may_look(&self, cx: &Cx<'_>, rq: &Request<'_>) -> Result<(), RoomError> {
        if !self.service(cx.cfg).hidden || self.sender(rq).is_some() || rq.peer.is_admin(cx.cfg) {
            return Ok(());
        }
        Err(RoomError::Forbidden)
    }

    pub(crate) fn disco_info(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) -> Result<(), RoomError> {
        self.may_look(cx, rq)?;
        let hidden = self.service(cx.cfg).hidden;
        cx.result(rq, |w| {
            w.open_ns("query", ns::DISCO_INFO);
            w.open("identity").attr("category", "conference").attr("type", "text").attr("name", &self.settings.name);
            w.close();
            for var in [ns::MUC, ns::DISCO_INFO, ns::DISCO_ITEMS, ns::OCCUPANT_ID, "muc_temporary", "muc_unmoderated"] {
                feature(w, var);
            }
            let s = &self.settings;
            feature(w, if s.password.is_some() { "muc_passwordprotected" } else { "muc_unsecured" });
            feature(w, if s.members_only { "muc_membersonly" } else { "muc_open" });
            feature(w, if s.whois_anyone { "muc_nonanonymous" } else { "muc_semianonymous" });
            feature(w, if hidden { "muc_hidden" } else { "muc_public" });
            form::open(w, "result", ns::MUC_ROOMINFO);
            form::field(w, "muc#roominfo_description", Some("text-single"), "Description", &s.description);
            form::field(
                w,
                "muc#roominfo_occupants",
                Some("text-single"),
                "Number of occupants",
                &self.roster.len().to_string(),
            );
            self.shared_fields(cx.cfg, w);
            if let Some(l) = &self.lobby {
                form::field(w, "muc#roominfo_lobbyroom", Some("text-single"), "Lobby room jid", l.jid.as_str());
            }
            if let Some(t) = self.created_timestamp {
                form::field(w, "muc#roominfo_created_timestamp", None, "", &t.to_string());
            }
            w.close().close();
        });
        Ok(())
    }

    /// Fields of both the information and the configuration form.
    pub(crate) fn shared_fields(&self, cfg: &NodeConfig, w: &mut XmlWriter) {
        if self.kind == RoomKind::Internal || self.health {
            return;
        }
        form::field(w, "muc#roominfo_meetingId", Some("text-single"), "The meeting unique id.", &self.meeting_id);
        if self.kind == RoomKind::Main && cfg.main().is_some_and(|m| m.visitors.is_some() && m.always_visitors_enabled)
        {
            form::field(w, "muc#roominfo_visitorsEnabled", Some("boolean"), "Whether visitors are enabled.", "1");
        }
    }

    pub(crate) fn disco_items(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) -> Result<(), RoomError> {
        self.may_look(cx, rq)?;
        // Occupants are known from presence; a list of an audience would be long.
        cx.result(rq, |w| {
            w.empty("query", ns::DISCO_ITEMS);
        });
        Ok(())
    }
}

/// Answers an IQ to the bare address of a MUC service, with the address (a tenant's perhaps) that was asked. `None`: the
/// stanza is not for one, or must not be answered.
pub(crate) fn answer_service(cfg: &NodeConfig, asked: &Jid, from: &Jid, stanza: &Stanza) -> Option<Stanza> {
    let real = to_real(cfg, asked);
    if !cfg.has_rooms(real.domain()) || real.local().is_some() {
        return None;
    }
    let ty = stanza.ty()?;
    if stanza.root().name() != "iq" || !matches!(&*ty, "get" | "set") {
        return None;
    }
    let asked = if matches!(cfg.role, Role::Main(_)) { to_virtual(cfg, asked) } else { asked.clone() };
    let mut w = XmlWriter::new();
    w.open_ns("iq", ns::CLIENT).attr_opt("id", stanza.id()).attr("from", asked).attr("to", from);
    let payload = stanza.children().next();
    match payload.map(|p| (p.name(), p.ns())) {
        Some(("query", ns::DISCO_INFO)) if ty == "get" => {
            w.attr("type", "result").open_ns("query", ns::DISCO_INFO);
            w.open("identity").attr("category", "conference").attr("type", "text").attr("name", "Rooms").close();
            for var in [ns::MUC, ns::DISCO_INFO, ns::DISCO_ITEMS, ns::OCCUPANT_ID, ns::PING] {
                feature(&mut w, var);
            }
            w.close();
        }
        // Rooms are hidden: the list is empty.
        Some(("query", ns::DISCO_ITEMS)) if ty == "get" => {
            w.attr("type", "result").empty("query", ns::DISCO_ITEMS);
        }
        Some(("ping", ns::PING)) if ty == "get" => {
            w.attr("type", "result");
        }
        _ => {
            w.attr("type", "error");
            StanzaError::new(ErrorType::Cancel, Condition::ServiceUnavailable).write(&mut w, None);
        }
    }
    Some(w.stanza())
}
