//! Sections `[[hosts]]` and `[[mucs]]`: virtual hosts with their way to log in, and conference services with their policies.
//! Keys are `Option`s where the usual value depends on which host or service it is.

use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::units::Span;

/// One virtual host.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HostFile {
    /// Its domain.
    pub name: String,
    /// The node that serves it: `main` or a visitor node. Usual hosts know theirs.
    pub node: Option<String>,
    /// How people log in. `anonymous` on `<domain>` and `<node>.meet.jitsi`, `internal` on `auth.*`.
    pub auth: Option<Auth>,
    /// Token: identifier of the application, the accepted issuer unless `accepted_issuers` is set.
    pub app_id: Option<String>,
    /// Token: secret of HS256 signatures.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub app_secret: Option<SecretString>,
    /// Token: file with that secret.
    pub app_secret_file: Option<PathBuf>,
    /// Token: PEM file with the public key of RS256 signatures, instead of a secret.
    pub key_file: Option<PathBuf>,
    /// Token: accepted `iss` claims; `*` is any. Empty: only `app_id`.
    pub accepted_issuers: Vec<String>,
    /// Token: accepted `aud` claims; `*` is any, but the claim must be there. Empty: any.
    pub accepted_audiences: Vec<String>,
    /// Token: whether somebody without a token is let in, without claims.
    pub allow_empty_token: bool,
    /// Token: whether the `room` claim must be there. Unset: it must.
    pub require_room_claim: Option<bool>,
    /// Token: whether `sub` must match the tenant or domain of the room. Unset: it must.
    pub domain_verification: Option<bool>,
    /// Shared secret: the password that every name may log in with.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub shared_secret: Option<SecretString>,
    /// Shared secret: file with it.
    pub shared_secret_file: Option<PathBuf>,
    /// Internal: the accounts.
    pub accounts: Vec<AccountFile>,
    /// How long a broken client stream may be resumed. Unset: `limits.resume_time`, and 15s on `auth.*`.
    pub resume_time: Option<Span>,
}

/// How people log in to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// Anybody; the server makes up a name.
    Anonymous,
    /// A signed token in the URL.
    Token,
    /// Accounts of the configuration.
    Internal,
    /// Any name with one password.
    SharedSecret,
}

/// An account of a host with internal login.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccountFile {
    /// Local part of its address.
    pub user: String,
    /// Its password. Without one, a password is made once and kept in `data_dir/passwords/<host>/<user>`.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// File with its password.
    pub password_file: Option<PathBuf>,
    /// Whether it is an administrator of its node.
    pub admin: bool,
    /// Whether byte rates do not apply to it, and `limits.privileged_stanza_size` does. Always so for focus and bridges.
    pub unlimited: bool,
}

/// One conference service.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MucFile {
    /// Its domain.
    pub name: String,
    /// The node that serves it: `main` or a visitor node. Usual services know theirs.
    pub node: Option<String>,
    /// What it is for; decides the values of keys that are not set.
    pub kind: Option<MucKind>,
    /// Whether only administrators create rooms. Unset: yes for meetings.
    pub restrict_room_creation: Option<bool>,
    /// Domains or bare addresses that create rooms too. Unset: none.
    pub creators: Option<Vec<String>>,
    /// Whether rooms are neither listed nor described to people outside. Unset: yes.
    pub hidden: Option<bool>,
    /// Occupants of a room, 0 for no bound. Those of `access_whitelist` are not counted. Unset: no bound.
    pub max_occupants: Option<u32>,
    /// Joins a second and room; further ones wait. 0 for no bound. Unset: 50 for meetings, 2000 on a visitor node, no bound for
    /// internal rooms.
    pub joins_per_second: Option<u32>,
    /// Announced leaves a second and room; further ones wait. 0 for no bound. Unset: as `joins_per_second`.
    pub leaves_per_second: Option<u32>,
    /// Which nicknames are accepted. Unset: `word` for meetings, `any` for internal rooms.
    pub nick_rule: Option<NickRule>,
    /// Domains or bare addresses that may enter a full room and are not counted. Unset: none; on a visitor node, the main domain.
    pub access_whitelist: Option<Vec<String>>,
    /// The only domains whose presence is taken. Empty: all. Unset: `auth.<domain>` for internal rooms, all for meetings.
    pub filter_whitelist: Option<Vec<String>>,
    /// Domains or bare addresses that need no room password. Unset: none.
    pub password_whitelist: Option<Vec<String>>,
    /// Domains or bare addresses that need no token for a room. Unset: none.
    pub token_whitelist: Option<Vec<String>>,
}

/// What a conference service is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MucKind {
    /// People meet here.
    Meetings,
    /// Bridges and recorders announce themselves here.
    Internal,
}

/// Which nicknames are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NickRule {
    /// Any valid resource.
    Any,
    /// Letters, digits and underscores.
    Word,
    /// As `word`, and for anonymous connections the first eight characters of the local part.
    Endpoint,
}
