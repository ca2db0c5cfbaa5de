//! The hosts and conference services of each node: the usual ones, changed and joined by what the file says
//! (`spec/signaling.md` 1.2, 1.3). Called by [`super::Config`] while it checks.

use std::collections::BTreeMap;
use std::time::Duration;

use amphi_stanza::{BareJid, Jid};
use secrecy::SecretString;

use super::check::Check;
use super::checked::Peer;
use super::hosts::{AccountFile, Auth, HostFile, MucFile, MucKind, NickRule};
use super::secret::Password;

/// The main node or a visitor node, as far as it is run by this process.
#[derive(Clone, Debug)]
pub struct Node {
    /// `main`, or the name of a visitor node.
    pub name: String,
    /// The domain that people log in to.
    pub domain: String,
    /// The conference service where people meet.
    pub muc: String,
    /// All virtual hosts.
    pub hosts: Vec<Host>,
    /// All conference services.
    pub mucs: Vec<Muc>,
    /// Administrators, with the focus.
    pub admins: Vec<BareJid>,
    /// Domains that may open or receive server streams.
    pub whitelist: Vec<String>,
    /// Where the servers of known domains are.
    pub peers: BTreeMap<String, Peer>,
}

/// A virtual host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Domain.
    pub name: String,
    /// How people log in.
    pub login: Login,
    /// How long a broken client stream may be resumed.
    pub resume_time: Duration,
    /// Accounts for which that is another time, by local part.
    pub resume_of: Vec<(String, Duration)>,
}

/// A way to log in, with all it needs.
#[derive(Clone, Debug)]
pub enum Login {
    /// Anybody; the server makes up a name.
    Anonymous,
    /// A signed token.
    Token(TokenLogin),
    /// Accounts.
    Internal(Vec<Account>),
    /// Any name with this password.
    SharedSecret(SecretString),
}

/// What makes a token acceptable (`spec/signaling.md` 2.5).
#[derive(Clone, Debug)]
pub struct TokenLogin {
    /// Application identifier.
    pub app_id: String,
    /// What verifies the signature.
    pub key: TokenKey,
    /// Accepted `iss`; `*` is any.
    pub accepted_issuers: Vec<String>,
    /// Accepted `aud`; `*` is any.
    pub accepted_audiences: Vec<String>,
    /// Whether nobody's token is fine too.
    pub allow_empty: bool,
    /// Whether `room` must be there.
    pub require_room: bool,
    /// Whether `sub` must match.
    pub verify_domain: bool,
}

/// What verifies a token.
#[derive(Clone, Debug)]
pub enum TokenKey {
    /// HS256.
    Secret(SecretString),
    /// RS256: a PEM public key.
    PublicPem(String),
}

/// An account of a host.
#[derive(Clone, Debug)]
pub struct Account {
    /// Local part.
    pub user: String,
    /// Password.
    pub password: Password,
    /// Administrator of its node.
    pub admin: bool,
    /// Free of byte rates, with large stanzas.
    pub unlimited: bool,
}

/// A conference service.
#[derive(Clone, Debug)]
pub struct Muc {
    /// Domain.
    pub name: String,
    /// What it is for.
    pub kind: MucKind,
    /// Only administrators create rooms.
    pub restrict_room_creation: bool,
    /// Who else creates rooms.
    pub creators: Vec<Jid>,
    /// Rooms are not shown to people outside.
    pub hidden: bool,
    /// Bound on occupants.
    pub max_occupants: Option<u32>,
    /// Bound on joins a second and room.
    pub joins_per_second: Option<u32>,
    /// Bound on announced leaves a second and room.
    pub leaves_per_second: Option<u32>,
    /// Accepted nicknames.
    pub nick_rule: NickRule,
    /// Who may enter a full room.
    pub access_whitelist: Vec<Jid>,
    /// Whose presence is taken; empty for all.
    pub filter_whitelist: Vec<Jid>,
    /// Who needs no password.
    pub password_whitelist: Vec<Jid>,
    /// Who needs no token.
    pub token_whitelist: Vec<Jid>,
}

/// What a node is before the file's `[[hosts]]` and `[[mucs]]` are looked at.
pub(super) struct Usual<'a> {
    pub(super) name: &'a str,
    pub(super) domain: &'a str,
    pub(super) auth_domain: &'a str,
    /// Where bridges announce themselves; only on the main node.
    pub(super) internal_muc: Option<&'a str>,
    pub(super) muc: &'a str,
    pub(super) main_domain: &'a str,
    pub(super) focus_password: &'a Password,
}

impl Usual<'_> {
    fn is_visitor_node(&self) -> bool {
        self.internal_muc.is_none()
    }

    fn hosts(&self) -> [&str; 2] {
        [self.domain, self.auth_domain]
    }

    fn mucs(&self) -> impl Iterator<Item = &str> {
        [Some(self.muc), self.internal_muc].into_iter().flatten()
    }
}

impl Node {
    pub(super) fn check(check: &mut Check<'_>, usual: &Usual<'_>) -> Self {
        let mut hosts = Vec::new();
        for name in usual.hosts() {
            let entry = entry_of(&check.file.hosts, |h| h.name == name && is_for(h.node.as_deref(), usual.name, true));
            let (key, said) =
                entry.map_or((String::new(), HostFile::default()), |(n, h)| (format!("hosts[{n}]"), h.clone()));
            hosts.extend(host(check, usual, name, &key, &said));
        }
        for (n, said) in check.file.hosts.iter().enumerate() {
            if is_for(said.node.as_deref(), usual.name, false) && !usual.hosts().contains(&said.name.as_str()) {
                hosts.extend(host(check, usual, &said.name, &format!("hosts[{n}]"), said));
            }
        }
        let mut mucs = Vec::new();
        for name in usual.mucs() {
            let entry = entry_of(&check.file.mucs, |m| m.name == name && is_for(m.node.as_deref(), usual.name, true));
            let (key, said) =
                entry.map_or((String::new(), MucFile::default()), |(n, m)| (format!("mucs[{n}]"), m.clone()));
            mucs.push(muc(check, usual, name, &key, &said));
        }
        for (n, said) in check.file.mucs.iter().enumerate() {
            if is_for(said.node.as_deref(), usual.name, false) && !usual.mucs().any(|name| name == said.name) {
                mucs.push(muc(check, usual, &said.name, &format!("mucs[{n}]"), said));
            }
        }
        let focus = &check.file.focus.user;
        let mut admins: Vec<BareJid> = BareJid::new(focus, usual.auth_domain).into_iter().collect();
        for host in &hosts {
            if let Login::Internal(accounts) = &host.login {
                let listed = accounts.iter().filter(|a| a.admin);
                admins.extend(listed.filter_map(|a| BareJid::new(&a.user, &host.name).ok()));
            }
        }
        for (n, text) in check.file.admins.iter().enumerate() {
            match BareJid::parse(text) {
                Ok(jid) => admins.push(jid),
                Err(_) => check.wrong(&format!("admins[{n}]"), format!("{text:?} is not an address like user@domain")),
            }
        }
        admins.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        admins.dedup();
        Self {
            name: usual.name.to_owned(),
            domain: usual.domain.to_owned(),
            muc: usual.muc.to_owned(),
            hosts,
            mucs,
            admins,
            whitelist: Vec::new(),
            peers: BTreeMap::new(),
        }
    }
}

fn entry_of<T>(list: &[T], wanted: impl Fn(&T) -> bool) -> Option<(usize, &T)> {
    list.iter().enumerate().find(|(_, entry)| wanted(entry))
}

/// Whether an entry belongs to a node. Without `node`, a usual name belongs wherever it is usual, another name to main.
fn is_for(said: Option<&str>, node: &str, usual: bool) -> bool {
    match said {
        Some(said) => said == node,
        None => usual || node == "main",
    }
}

fn host(check: &mut Check<'_>, usual: &Usual<'_>, name: &str, key: &str, said: &HostFile) -> Option<Host> {
    let at = |field: &str| format!("{key}.{field}");
    let name = check.domain(&at("name"), name)?;
    let usual_auth = match name.as_str() {
        n if n == usual.domain => Some(Auth::Anonymous),
        n if n == usual.auth_domain => Some(Auth::Internal),
        _ => None,
    };
    let Some(auth) = said.auth.or(usual_auth) else {
        check.wrong(key, "auth is missing: anonymous, token, internal or shared-secret");
        return None;
    };
    let login = match auth {
        Auth::Anonymous => Login::Anonymous,
        Auth::Token => Login::Token(token(check, key, said)?),
        Auth::Internal => Login::Internal(accounts(check, usual, &name, key, &said.accounts)),
        Auth::SharedSecret => {
            let secret =
                check.secret(&at("shared_secret"), said.shared_secret.as_ref(), said.shared_secret_file.as_deref());
            match secret {
                Some(secret) => Login::SharedSecret(secret),
                None => {
                    check.wrong(key, "auth = \"shared-secret\" needs shared_secret or shared_secret_file");
                    return None;
                }
            }
        }
    };
    let resume_time = match said.resume_time {
        Some(span) => span.0,
        // Service accounts come back at once or not at all (`spec/signaling.md` 2.6).
        None if name == usual.auth_domain => Duration::from_secs(15),
        None => check.file.limits.resume_time.0,
    };
    // Whoever is on a bridge that died is moved when its stream cannot come back any more.
    let bridge = || (check.file.bridge.user.clone(), check.file.bridge.resume_time.0);
    let resume_of = if name == usual.auth_domain { vec![bridge()] } else { Vec::new() };
    Some(Host { name, login, resume_time, resume_of })
}

fn token(check: &mut Check<'_>, key: &str, said: &HostFile) -> Option<TokenLogin> {
    let Some(app_id) = said.app_id.clone() else {
        check.wrong(key, "auth = \"token\" needs app_id");
        return None;
    };
    let secret = check.secret(&format!("{key}.app_secret"), said.app_secret.as_ref(), said.app_secret_file.as_deref());
    let token_key = match (secret, &said.key_file) {
        (Some(secret), None) => TokenKey::Secret(secret),
        (None, Some(path)) => {
            let pem = check.read(&format!("{key}.key_file"), path)?;
            if !pem.contains("-----BEGIN") {
                check.wrong(&format!("{key}.key_file"), format!("{} is not a PEM file", path.display()));
            }
            TokenKey::PublicPem(pem)
        }
        (Some(_), Some(_)) => {
            check.wrong(&format!("{key}.key_file"), "contradicts app_secret; tokens are signed in one way");
            return None;
        }
        (None, None) => {
            check.wrong(key, "auth = \"token\" needs app_secret, app_secret_file or key_file");
            return None;
        }
    };
    let or = |list: &[String], usual: &str| match list {
        [] => vec![usual.to_owned()],
        list => list.to_vec(),
    };
    Some(TokenLogin {
        accepted_issuers: or(&said.accepted_issuers, &app_id),
        accepted_audiences: or(&said.accepted_audiences, "*"),
        app_id,
        key: token_key,
        allow_empty: said.allow_empty_token,
        require_room: said.require_room_claim.unwrap_or(true),
        verify_domain: said.domain_verification.unwrap_or(true),
    })
}

fn accounts(check: &mut Check<'_>, usual: &Usual<'_>, host: &str, key: &str, said: &[AccountFile]) -> Vec<Account> {
    let focus = check.file.focus.user.clone();
    let bridge = check.file.bridge.user.clone();
    let is_service_host = host == usual.auth_domain;
    let mut accounts: Vec<Account> = Vec::new();
    for (n, said) in said.iter().enumerate() {
        let at = format!("{key}.accounts[{n}]");
        if BareJid::new(&said.user, host).is_err() {
            check.wrong(&format!("{at}.user"), format!("{:?} is not a local part", said.user));
            continue;
        }
        if accounts.iter().any(|a| a.user == said.user) {
            check.wrong(&format!("{at}.user"), format!("{} is there twice", said.user));
        }
        let given = check.secret(&format!("{at}.password"), said.password.as_ref(), said.password_file.as_deref());
        let service = is_service_host && (said.user == focus || said.user == bridge);
        accounts.push(Account {
            user: said.user.clone(),
            password: given.map_or_else(|| check.kept(host, &said.user), Password::Given),
            admin: said.admin || is_service_host && said.user == focus,
            unlimited: said.unlimited || service,
        });
    }
    if is_service_host {
        if !accounts.iter().any(|a| a.user == focus) {
            let password = usual.focus_password.clone();
            accounts.push(Account { user: focus, password, admin: true, unlimited: true });
        }
        if !usual.is_visitor_node() && !accounts.iter().any(|a| a.user == bridge) {
            let password = check.bridge_password(host);
            accounts.push(Account { user: bridge, password, admin: false, unlimited: true });
        }
    }
    accounts
}

fn muc(check: &mut Check<'_>, usual: &Usual<'_>, name: &str, key: &str, said: &MucFile) -> Muc {
    let name = check.domain(&format!("{key}.name"), name).unwrap_or_default();
    let usual_kind = if Some(name.as_str()) == usual.internal_muc { MucKind::Internal } else { MucKind::Meetings };
    let kind = said.kind.unwrap_or(usual_kind);
    let meetings = kind == MucKind::Meetings;
    let bound = |n: u32| (n > 0).then_some(n);
    let usual_rate = match (meetings, usual.is_visitor_node()) {
        (true, true) => Some(2000),
        (true, false) => Some(50),
        (false, _) => None,
    };
    let joins_per_second = said.joins_per_second.map_or(usual_rate, bound);
    let mut list = |field: &str, said: Option<&[String]>, usual: &[&str]| -> Vec<Jid> {
        let usual: Vec<String> = usual.iter().map(|s| (*s).to_owned()).collect();
        check.addresses(&format!("{key}.{field}"), said.unwrap_or(&usual))
    };
    let main_may_enter: &[&str] = if usual.is_visitor_node() { &[usual.main_domain] } else { &[] };
    let services_only: &[&str] = if meetings { &[] } else { &[usual.auth_domain] };
    Muc {
        creators: list("creators", said.creators.as_deref(), &[]),
        access_whitelist: list("access_whitelist", said.access_whitelist.as_deref(), main_may_enter),
        filter_whitelist: list("filter_whitelist", said.filter_whitelist.as_deref(), services_only),
        password_whitelist: list("password_whitelist", said.password_whitelist.as_deref(), &[]),
        token_whitelist: list("token_whitelist", said.token_whitelist.as_deref(), &[]),
        name,
        kind,
        restrict_room_creation: said.restrict_room_creation.unwrap_or(meetings),
        hidden: said.hidden.unwrap_or(true),
        max_occupants: said.max_occupants.and_then(bound),
        joins_per_second,
        leaves_per_second: said.leaves_per_second.map_or(joins_per_second, bound),
        nick_rule: said.nick_rule.unwrap_or(if meetings { NickRule::Word } else { NickRule::Any }),
    }
}
