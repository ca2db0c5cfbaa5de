//! STUN and TURN services (XEP-0215) with short-lived credentials, which the TURN server checks by the shared secret.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use amphi_stanza::XmlWriter;

use crate::sasl::Hash;

/// How a client authenticates with a service.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    None,
    /// The same for everybody.
    Fixed {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// Made from a secret that is shared with the server, valid for a time.
    Secret {
        /// Shared secret.
        secret: String,
        /// Validity. 24 h is usual.
        ttl: Duration,
        /// Put behind the expiry in the user name: `expiry:user`.
        user: Option<String>,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Fixed { .. } => "Fixed",
            Self::Secret { .. } => "Secret",
        })
    }
}

/// A STUN or TURN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalService {
    /// `stun`, `turn`, `turns`.
    pub ty: String,
    /// `udp`, `tcp`.
    pub transport: Option<String>,
    /// Host.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
    /// How clients authenticate.
    pub credentials: Credentials,
}

/// A service as clients see it: names and values, the same in XML and in JSON (`spec/signaling.md` 2.9).
pub type ServiceAttributes = Vec<(&'static str, String)>;

impl ExternalService {
    /// Attributes at a time, given as seconds since 1970.
    pub fn attributes(&self, now: u64) -> ServiceAttributes {
        let mut out = vec![("type", self.ty.clone())];
        out.extend(self.transport.clone().map(|t| ("transport", t)));
        out.push(("host", self.host.clone()));
        out.extend(self.port.map(|p| ("port", p.to_string())));
        match &self.credentials {
            Credentials::None => {}
            Credentials::Fixed { username, password } => {
                out.push(("username", username.clone()));
                out.push(("password", password.clone()));
                out.push(("restricted", "1".into()));
            }
            Credentials::Secret { secret, ttl, user } => {
                let expiry = now.saturating_add(ttl.as_secs());
                let mut username = expiry.to_string();
                if let Some(u) = user {
                    username.push(':');
                    username.push_str(u);
                }
                let password = STANDARD.encode(Hash::Sha1.hmac(secret.as_bytes(), username.as_bytes()));
                out.push(("username", username));
                out.push(("password", password));
                out.push(("expires", date_time(expiry)));
                out.push(("restricted", "1".into()));
            }
        }
        out
    }

    pub(super) fn write(&self, w: &mut XmlWriter, now: u64) {
        w.open("service");
        for (name, value) in self.attributes(now) {
            w.attr(name, value);
        }
        w.close();
    }
}

/// XEP-0082 date and time, in UTC, of seconds since 1970.
fn date_time(secs: u64) -> String {
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days since 0000-03-01, in eras of 400 years, so that the leap day is the last of its year.
    let z = days.min(2_932_896) + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date_time(0), "1970-01-01T00:00:00Z");
        assert_eq!(date_time(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(date_time(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date_time(1_767_225_600), "2026-01-01T00:00:00Z");
        assert_eq!(date_time(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(date_time(4_107_542_400), "2100-03-01T00:00:00Z");
        date_time(u64::MAX);
    }

    #[test]
    fn credentials_are_made_from_the_secret() {
        let s = ExternalService {
            ty: "turns".into(),
            transport: Some("tcp".into()),
            host: "turn.example".into(),
            port: Some(443),
            credentials: Credentials::Secret { secret: "key".into(), ttl: Duration::from_secs(86_400), user: None },
        };
        let a = s.attributes(1_767_139_200);
        let get = |n: &str| a.iter().find(|(k, _)| *k == n).map(|(_, v)| v.as_str());
        assert_eq!(get("username"), Some("1767225600"));
        assert_eq!(get("expires"), Some("2026-01-01T00:00:00Z"));
        // RFC 2104 with SHA-1 of the user name above.
        let want = STANDARD.encode(Hash::Sha1.hmac(b"key", b"1767225600"));
        assert_eq!(get("password"), Some(want.as_str()));
        assert!(!format!("{s:?}").contains("key"));
    }
}
