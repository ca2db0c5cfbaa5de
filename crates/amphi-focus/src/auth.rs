//! Authenticated sessions: who proved to be a user of the trusted domain, on which machine (`spec/focus.md` 2.6).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use amphi_stanza::{BareJid, Jid};

use crate::{AuthConfig, ConferenceRequest, FocusConfig, RequestError};

/// How often expired sessions are looked for.
const SWEEP: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Session {
    machine_uid: String,
    /// Bare address.
    identity: String,
    room: BareJid,
    user: Option<Jid>,
    used: Instant,
}

/// The sessions, by id.
#[derive(Debug)]
pub(crate) struct Auth {
    domain: Option<String>,
    external: bool,
    lifetime: Duration,
    auto_login: bool,
    max: usize,
    sessions: HashMap<String, Session>,
    sweep: Option<Instant>,
    /// By the full address that used the session last.
    users: HashMap<Jid, String>,
}

impl Auth {
    pub(crate) fn new(config: &FocusConfig) -> Self {
        let (domain, external, lifetime, auto_login) = match &config.auth {
            AuthConfig::None => (None, false, Duration::ZERO, false),
            AuthConfig::Xmpp { domain, lifetime, auto_login } => (Some(domain.clone()), false, *lifetime, *auto_login),
            // Spec: one minute, the token is shown again with every request.
            AuthConfig::Jwt { domain } => (Some(domain.clone()), true, Duration::from_secs(60), false),
        };
        let max = config.limits.auth_sessions.max(1);
        Self {
            domain,
            external,
            lifetime,
            auto_login,
            max,
            sessions: HashMap::new(),
            users: HashMap::new(),
            sweep: None,
        }
    }

    pub(crate) fn enabled(&self) -> bool {
        self.domain.is_some()
    }

    /// Users log in outside of XMPP.
    pub(crate) fn external(&self) -> bool {
        self.external
    }

    /// Whether this connection has a session.
    pub(crate) fn is_authenticated(&self, user: &Jid) -> bool {
        self.users.contains_key(user)
    }

    /// Checks a request. `open` says that the room may be entered without a session; `fresh_id` is used for a new one.
    /// Returns session id and identity.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        request: &ConferenceRequest,
        open: bool,
        fresh_id: String,
    ) -> Result<Option<(String, String)>, RequestError> {
        let Some(domain) = self.domain.clone() else { return Ok(None) };
        if self.sweep.is_none_or(|at| at <= now) {
            self.sweep = Some(now + SWEEP);
            self.sessions.retain(|_, s| s.used + self.lifetime > now);
            let sessions = &self.sessions;
            self.users.retain(|user, id| sessions.get(id).is_some_and(|s| s.user.as_ref() == Some(user)));
        }
        let id = if let Some(id) = &request.session_id {
            let s = self.sessions.get(id).filter(|s| s.used + self.lifetime > now);
            let s = s.ok_or(RequestError::InvalidSession)?;
            if request.machine_uid.as_deref() != Some(&s.machine_uid) {
                return Err(RequestError::NotAcceptable("the session belongs to another machine"));
            }
            Some(id.clone())
        } else if let Some(from) = request.from.as_ref().filter(|f| f.domain() == domain.as_str()) {
            let machine_uid =
                request.machine_uid.clone().ok_or(RequestError::NotAcceptable("machine-uid is missing"))?;
            self.make_room();
            let session = Session {
                machine_uid,
                identity: from.bare_str().to_owned(),
                room: request.room.clone(),
                user: None,
                used: now,
            };
            self.sessions.insert(fresh_id.clone(), session);
            Some(fresh_id)
        } else {
            None
        };
        let Some(id) = id else {
            return if open { Ok(None) } else { Err(RequestError::NotAuthorized) };
        };
        let s = self.sessions.get_mut(&id).ok_or(RequestError::InvalidSession)?;
        s.used = now;
        if let Some(from) = &request.from {
            if let Some(old) = s.user.replace(from.clone()) {
                self.users.remove(&old);
            }
            self.users.insert(from.clone(), id.clone());
        }
        Ok(Some((id, s.identity.clone())))
    }

    fn make_room(&mut self) {
        if self.sessions.len() >= self.max
            && let Some(oldest) = self.sessions.iter().min_by_key(|(_, s)| s.used).map(|(id, _)| id.clone())
        {
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, id: &str) -> bool {
        let Some(s) = self.sessions.remove(id) else { return false };
        if let Some(user) = s.user {
            self.users.remove(&user);
        }
        true
    }

    /// Ends a session.
    pub(crate) fn logout(&mut self, id: &str) -> Result<(), RequestError> {
        if self.remove(id) { Ok(()) } else { Err(RequestError::InvalidSession) }
    }

    /// A conference ended.
    pub(crate) fn room_ended(&mut self, room: &BareJid) {
        if self.enabled() && !self.auto_login {
            let ids: Vec<_> = self.sessions.iter().filter(|(_, s)| s.room == *room).map(|(id, _)| id.clone()).collect();
            for id in ids {
                self.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn auth() -> Auth {
        let mut c = FocusConfig::new("meet.example");
        c.auth = AuthConfig::Xmpp { domain: "meet.example".into(), lifetime: HOUR, auto_login: true };
        c.limits.auth_sessions = 2;
        Auth::new(&c)
    }

    fn request(from: Option<&str>, machine: Option<&str>, session: Option<&str>) -> ConferenceRequest {
        let mut r = ConferenceRequest::from_json(br#"{"room":"r@conference.meet.example"}"#, None).unwrap();
        r.from = from.map(|f| Jid::parse(f).unwrap());
        r.machine_uid = machine.map(str::to_owned);
        r.session_id = session.map(str::to_owned);
        r
    }

    #[test]
    fn sessions_are_created_found_and_expire() {
        let t = Instant::now();
        let mut a = auth();
        let ana = request(Some("ana@meet.example/x"), Some("m1"), None);
        assert_eq!(a.check(t, &ana, false, "s1".into()).unwrap(), Some(("s1".into(), "ana@meet.example".into())));
        let again = request(Some("guest@guest.meet.example/y"), Some("m1"), Some("s1"));
        assert!(a.check(t, &again, false, "s2".into()).unwrap().is_some());
        assert!(a.is_authenticated(&Jid::parse("guest@guest.meet.example/y").unwrap()));
        assert!(!a.is_authenticated(&Jid::parse("ana@meet.example/x").unwrap()));
        assert_eq!(a.check(t + HOUR, &again, true, "s3".into()), Err(RequestError::InvalidSession));
    }

    #[test]
    fn wrong_machines_and_strangers_are_refused() {
        let t = Instant::now();
        let mut a = auth();
        let ana = |m, s| request(Some("ana@meet.example/x"), m, s);
        a.check(t, &ana(Some("m1"), None), false, "s1".into()).unwrap();
        assert!(matches!(
            a.check(t, &ana(Some("m2"), Some("s1")), true, String::new()),
            Err(RequestError::NotAcceptable(_))
        ));
        assert!(matches!(a.check(t, &ana(None, None), true, String::new()), Err(RequestError::NotAcceptable(_))));
        let http = request(None, Some("m3"), None);
        assert_eq!(a.check(t, &http, false, String::new()), Err(RequestError::NotAuthorized));
        assert_eq!(a.check(t, &http, true, String::new()), Ok(None));
        assert!(a.logout("s1").is_ok());
        assert_eq!(a.logout("s1"), Err(RequestError::InvalidSession));
    }
}
