//! The configuration form of a room, and its destruction by an owner (XEP-0045 §10).

use amphi_stanza::{Element, Jid, XmlWriter, ns};

use crate::context::{Cx, Request};
use crate::destroy::Destroy;
use crate::error::RoomError;
use crate::form;
use crate::room::{Room, RoomKind};

impl Room {
    pub(crate) fn owner_get(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) -> Result<(), RoomError> {
        if !self.is_owner(cx, rq) {
            return Err(RoomError::Forbidden);
        }
        let admin = rq.peer.is_admin(cx.cfg);
        cx.result(rq, |w| {
            w.open_ns("query", ns::MUC_OWNER);
            form::open(w, "form", ns::MUC_ROOMCONFIG);
            w.text_element("title", "Room configuration");
            let s = &self.settings;
            let flag = |b: bool| if b { "1" } else { "0" };
            let f = form::field;
            f(w, "muc#roomconfig_roomname", Some("text-single"), "Name", &s.name);
            f(w, "muc#roomconfig_roomdesc", Some("text-single"), "Description", &s.description);
            w.open("field").attr("var", "muc#roomconfig_whois").attr("type", "list-single");
            w.attr("label", "Who sees real addresses")
                .text_element("value", if s.whois_anyone { "anyone" } else { "moderators" });
            for o in ["moderators", "anyone"] {
                w.open("option").text_element("value", o).close();
            }
            w.close();
            f(w, "muc#roomconfig_membersonly", Some("boolean"), "Only members may enter", flag(s.members_only));
            f(
                w,
                "muc#roomconfig_passwordprotectedroom",
                Some("boolean"),
                "A password is needed",
                flag(s.password.is_some()),
            );
            f(
                w,
                "muc#roomconfig_roomsecret",
                Some("text-private"),
                "Password",
                s.password.as_deref().unwrap_or_default(),
            );
            if admin {
                let limit = s.max_occupants.map(|n| n.to_string()).unwrap_or_default();
                f(w, "muc#roomconfig_maxusers", Some("text-single"), "Most occupants", &limit);
            }
            self.shared_fields(cx.cfg, w);
            w.close().close();
        });
        Ok(())
    }

    pub(crate) fn owner_set(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, query: Element<'_>) -> Result<(), RoomError> {
        if !self.is_owner(cx, rq) {
            return Err(RoomError::Forbidden);
        }
        let guest = rq.peer.session.as_ref().is_some_and(|s| s.claims.is_none());
        let tokens_only = self.service(cx.cfg).tokens.as_ref().is_some_and(|t| t.require_for_moderation);
        if tokens_only && guest && !rq.peer.is_admin(cx.cfg) {
            return Err(RoomError::GuestsMayNotConfigure);
        }
        if let Some(d) = query.child("destroy", ns::MUC_OWNER) {
            let venue = d.attr("jid").and_then(|j| Jid::parse(&j).ok());
            let reason = d.child("reason", ns::MUC_OWNER).map(|r| r.text().into_owned());
            if reason.as_ref().is_some_and(|r| r.len() > cx.cfg.limits.text) {
                return Err(RoomError::TooMuch("The reason is too long"));
            }
            cx.result(rq, |_| ());
            self.destroy(cx, &Destroy { venue, reason });
            return Ok(());
        }
        let Some(form) = query.child("x", ns::DATA_FORMS) else {
            return Err(RoomError::BadRequest("A configuration is a form"));
        };
        if form.attr("type").as_deref() == Some("cancel") {
            cx.result(rq, |_| ());
            return Ok(());
        }
        let changes = self.configure(cx, &form::values(form), rq.peer.is_admin(cx.cfg))?;
        cx.result(rq, |_| ());
        self.lobby_follows(cx, rq);
        self.announce_changes(cx, &changes);
        self.after_settings(cx);
        Ok(())
    }

    fn configure(&mut self, cx: &Cx<'_>, values: &[(String, String)], admin: bool) -> Result<Changes, RoomError> {
        if values.iter().any(|(_, v)| v.len() > cx.cfg.limits.text) {
            return Err(RoomError::TooMuch("A value is too long"));
        }
        let mut s = self.settings.clone();
        let mut meeting_id = None;
        let get = |name: &str| values.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
        let flag = |name: &str| -> Result<Option<bool>, RoomError> {
            get(name).map(|v| form::boolean(v).ok_or(RoomError::BadValue("A flag is 0 or 1"))).transpose()
        };
        if let Some(v) = get("muc#roomconfig_roomname") {
            v.clone_into(&mut s.name);
        }
        if let Some(v) = get("muc#roomconfig_roomdesc") {
            v.clone_into(&mut s.description);
        }
        match get("muc#roomconfig_whois") {
            Some("anyone") => s.whois_anyone = true,
            Some("moderators") => s.whois_anyone = false,
            Some(_) => return Err(RoomError::BadValue("whois is anyone or moderators")),
            None => {}
        }
        if let Some(v) = flag("muc#roomconfig_membersonly")? {
            s.members_only = v;
        }
        match (flag("muc#roomconfig_passwordprotectedroom")?, get("muc#roomconfig_roomsecret")) {
            (Some(false), None | Some("")) => s.password = None,
            (_, Some("")) => s.password = None,
            (_, Some(v)) => s.password = Some(v.to_owned()),
            (_, None) => {}
        }
        if admin {
            match get("muc#roomconfig_maxusers") {
                Some("" | "none") => s.max_occupants = None,
                Some(v) => {
                    s.max_occupants = Some(v.parse().map_err(|_| RoomError::BadValue("maxusers is a number"))?);
                }
                None => {}
            }
            meeting_id = get("muc#roominfo_meetingId").filter(|v| !v.is_empty()).map(str::to_owned);
        }
        let old = std::mem::replace(&mut self.settings, s);
        let new = &self.settings;
        let mut changes = Changes {
            any: old.name != new.name
                || old.description != new.description
                || old.members_only != new.members_only
                || old.max_occupants != new.max_occupants,
            password: old.password != new.password,
            whois: (old.whois_anyone != new.whois_anyone).then_some(new.whois_anyone),
        };
        if let Some(id) = meeting_id
            && self.kind == RoomKind::Main
            && id != self.meeting_id
        {
            self.meeting_id = id;
            changes.any = true;
        }
        Ok(changes)
    }

    /// Status 104: clients and the focus read the room's information again.
    pub(crate) fn announce_changes(&mut self, cx: &mut Cx<'_>, changes: &Changes) {
        if !changes.any && !changes.password && changes.whois.is_none() {
            return;
        }
        let mut w = XmlWriter::new();
        w.open_ns("message", ns::CLIENT).attr("type", "groupchat").open_ns("x", ns::MUC_USER);
        w.open("status").attr("code", 104).close();
        if let Some(anyone) = changes.whois {
            w.open("status").attr("code", if anyone { 172 } else { 173 }).close();
        }
        let stanza = w.stanza();
        self.say_as_room(cx, stanza.rewrite());
    }
}

/// What a configuration changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) any: bool,
    pub(crate) password: bool,
    pub(crate) whois: Option<bool>,
}

impl Changes {
    pub(crate) const SOMETHING: Self = Self { any: true, password: false, whois: None };
}
