//! Virtual hosts: who may log in, and how.

use std::collections::HashMap;
use std::sync::Arc;

use amphi_stanza::BareJid;
use amphi_xmpp::c2s::HostProfile;
use amphi_xmpp::sasl::{Hash, ScramCredentials};
use amphi_xmpp::services::HostServices;

use crate::token::TokenSettings;

/// PBKDF2 rounds of stored keys: accounts are made at each start from configured passwords, which are random.
const ITERATIONS: std::num::NonZero<u32> = std::num::NonZero::new(4096).unwrap();

/// How users of a host log in.
#[derive(Clone, Debug)]
pub enum HostAuth {
    /// Anybody; the server gives out local parts. A token is ignored and counted.
    Anonymous,
    /// A verified token.
    Token(TokenSettings),
    /// Accounts with passwords.
    Accounts(Vec<Account>),
    /// Any user who knows the secret.
    SharedSecret(String),
}

/// An account. The password is kept as SCRAM keys alone.
#[derive(Clone, Debug)]
pub struct Account {
    /// Local part.
    pub user: String,
    keys: HashMap<Hash, ScramCredentials>,
}

impl Account {
    /// Derives the keys of a password.
    pub fn new(user: impl Into<String>, password: &str) -> Self {
        let mut salt = [0u8; 16];
        rand::fill(&mut salt);
        let keys = [Hash::Sha1, Hash::Sha256]
            .into_iter()
            .map(|h| (h, ScramCredentials::derive(h, password, &salt, ITERATIONS)))
            .collect();
        Self { user: user.into(), keys }
    }

    /// Keys for SCRAM with a hash.
    pub(crate) fn scram(&self, hash: Hash) -> Option<ScramCredentials> {
        self.keys.get(&hash).cloned()
    }
}

/// A virtual host of a node.
pub(crate) struct Host {
    pub(crate) profile: Arc<HostProfile>,
    pub(crate) auth: HostAuth,
    pub(crate) services: HostServices,
    /// Push the services before the bind result.
    pub(crate) announce: bool,
    /// What is announced: the services of the main virtual host.
    pub(crate) announced: Arc<HostServices>,
    pub(crate) admins: Vec<BareJid>,
    /// Accounts of services, by local part.
    pub(crate) unlimited: Vec<String>,
    /// How long a broken stream may be resumed.
    pub(crate) resume: std::time::Duration,
    /// Accounts for which that is another time, by local part.
    pub(crate) resume_of: Vec<(String, std::time::Duration)>,
}
