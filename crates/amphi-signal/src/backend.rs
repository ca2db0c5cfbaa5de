//! Logins: accounts, anonymous users and tokens of a node.

use std::net::IpAddr;
use std::sync::Arc;

use amphi_room::Claims;
use amphi_xmpp::c2s::{Backend, HostProfile, Login, UrlParams, Verdict};
use amphi_xmpp::sasl::{Failure, Hash, ScramCredentials};

use crate::hosts::{Host, HostAuth};
use crate::node::Node;

/// What a login found out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) claims: Option<Arc<Claims>>,
    pub(crate) admin: bool,
    pub(crate) anonymous: bool,
}

/// The accounts of a node, for one negotiation.
pub(crate) struct NodeBackend {
    node: Arc<Node>,
    peer: IpAddr,
}

impl NodeBackend {
    pub(crate) fn new(node: Arc<Node>, peer: IpAddr) -> Self {
        Self { node, peer }
    }

    fn host_of(&self, profile: &HostProfile) -> Option<&Host> {
        self.node.hosts.get(profile.name())
    }

    /// Local part of a user without an account (`spec/signaling.md` 2.4): promised, as before, or new.
    fn localpart(&self, host: &str, params: &UrlParams) -> String {
        if let Some(name) = &params.customusername
            && self.node.redeem(name, params)
        {
            return name.clone();
        }
        if let Some(previd) = &params.previd
            && let Some(local) = self.node.localpart_of(previd, host)
        {
            return local;
        }
        uuid::Uuid::new_v4().hyphenated().to_string()
    }

    fn refused(&self, reason: &'static str, failure: Failure) -> Verdict<Identity> {
        self.node.metrics.refuse(reason);
        tracing::debug!(peer = %self.peer, reason, "Login refused.");
        Verdict::Refused(failure)
    }
}

impl Backend for NodeBackend {
    type Identity = Identity;

    fn host(&self, name: &str) -> Option<Arc<HostProfile>> {
        self.node.profile(name)
    }

    fn anonymous(&mut self, host: &HostProfile, params: &UrlParams) -> Verdict<Identity> {
        let claims = match self.host_of(host).map(|h| &h.auth) {
            Some(HostAuth::Anonymous) => {
                if params.token.is_some() {
                    self.node.metrics.tokens_ignored.inc();
                }
                None
            }
            Some(HostAuth::Token(t)) => match &params.token {
                None if t.allow_empty => None,
                None => return self.refused("token-missing", Failure::not_allowed("token required")),
                Some(token) => match t.verify(token, std::time::SystemTime::now()) {
                    Ok(c) => Some(Arc::new(c)),
                    Err(e) => return self.refused("token", e.failure()),
                },
            },
            _ => return self.refused("mechanism", Failure::not_authorized()),
        };
        let localpart = self.localpart(host.name(), params);
        Verdict::Granted(Login { localpart, identity: Identity { claims, admin: false, anonymous: true } })
    }

    fn plain(&mut self, host: &HostProfile, user: &str, password: &str) -> Verdict<Identity> {
        use subtle::ConstantTimeEq as _;
        match self.host_of(host).map(|h| &h.auth) {
            Some(HostAuth::SharedSecret(secret)) => {
                if bool::from(secret.as_bytes().ct_eq(password.as_bytes())) && !secret.is_empty() {
                    self.account(host, user)
                } else {
                    self.refused("password", Failure::not_authorized())
                }
            }
            _ => {
                let Some(known) = self.scram(host, user, Hash::Sha256) else {
                    return self.refused("password", Failure::not_authorized());
                };
                let given = ScramCredentials::derive(known.hash, password, &known.salt, known.iterations);
                if bool::from(given.stored_key[..].ct_eq(&known.stored_key[..])) {
                    self.account(host, user)
                } else {
                    self.refused("password", Failure::not_authorized())
                }
            }
        }
    }

    fn scram(&self, host: &HostProfile, user: &str, hash: Hash) -> Option<ScramCredentials> {
        match &self.host_of(host)?.auth {
            HostAuth::Accounts(list) => list.iter().find(|a| a.user == user)?.scram(hash),
            _ => None,
        }
    }

    fn account(&mut self, host: &HostProfile, user: &str) -> Verdict<Identity> {
        let admin =
            self.host_of(host).is_some_and(|h| h.admins.iter().any(|a| a.node() == user && a.domain() == host.name()));
        Verdict::Granted(Login {
            localpart: user.to_owned(),
            identity: Identity { claims: None, admin, anonymous: false },
        })
    }

    fn decoy_key(&self) -> [u8; 32] {
        static KEY: std::sync::OnceLock<[u8; 32]> = std::sync::OnceLock::new();
        *KEY.get_or_init(|| {
            let mut k = [0; 32];
            rand::fill(&mut k);
            k
        })
    }
}
