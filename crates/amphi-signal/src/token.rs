//! Token login: verifying JSON Web Tokens with the rules of the reference (`spec/signaling.md` 2.5).

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use amphi_room::Claims;
use amphi_xmpp::sasl::Failure;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

/// How tokens of a host are checked.
#[derive(Clone)]
pub struct TokenSettings {
    /// Signature algorithm; a token with another one is refused.
    pub algorithm: Algorithm,
    /// Key.
    pub key: DecodingKey,
    /// Accepted `iss`; `*` is any.
    pub issuers: Vec<String>,
    /// Accepted `aud`; `*` is any.
    pub audiences: Vec<String>,
    /// A user without a token may log in.
    pub allow_empty: bool,
    /// `room` must be present.
    pub require_room: bool,
}

impl std::fmt::Debug for TokenSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSettings")
            .field("algorithm", &self.algorithm)
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

/// Why a token was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, or the signature is wrong.
    #[error("invalid token: {0}")]
    Invalid(String),
    /// The token is too old, or not valid yet.
    #[error("{0}")]
    Time(&'static str),
    /// A claim is missing or has a value that is not accepted.
    #[error("invalid '{0}' claim")]
    Claim(&'static str),
    /// `room` or `sub` is missing.
    #[error("'{0}' claim is missing")]
    Missing(&'static str),
}

impl TokenError {
    /// What the client is told.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Missing(_) => Failure::not_authorized().text(self.to_string()),
            _ => Failure::not_allowed(self.to_string()),
        }
    }
}

impl TokenSettings {
    /// HS256 with a secret.
    pub fn secret(app_id: &str, secret: &[u8]) -> Self {
        Self::new(Algorithm::HS256, DecodingKey::from_secret(secret), app_id)
    }

    /// RS256 with a public key in PEM form.
    ///
    /// # Errors
    /// If the key is none.
    pub fn rsa(app_id: &str, pem: &[u8]) -> Result<Self, jsonwebtoken::errors::Error> {
        Ok(Self::new(Algorithm::RS256, DecodingKey::from_rsa_pem(pem)?, app_id))
    }

    fn new(algorithm: Algorithm, key: DecodingKey, app_id: &str) -> Self {
        Self {
            algorithm,
            key,
            issuers: vec![app_id.to_owned()],
            audiences: vec!["*".to_owned()],
            allow_empty: false,
            require_room: true,
        }
    }

    /// Checks a token and takes its claims.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|e| TokenError::Invalid(e.to_string()))?;
        if header.typ.as_deref() != Some("JWT") {
            return Err(TokenError::Invalid("typ is not JWT".into()));
        }
        if header.alg != self.algorithm {
            return Err(TokenError::Invalid("algorithm is not accepted".into()));
        }
        // Times and names are checked below: there is no leeway, and `*` means any.
        let mut v = Validation::new(self.algorithm);
        v.required_spec_claims.clear();
        v.validate_exp = false;
        v.validate_nbf = false;
        v.validate_aud = false;
        let claims: serde_json::Map<String, Value> =
            jsonwebtoken::decode(token, &self.key, &v).map_err(|e| TokenError::Invalid(e.to_string()))?.claims;
        let now = now.duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        match claims.get("exp") {
            Some(e) if e.as_f64().is_none_or(|e| now >= e) => return Err(TokenError::Time("token has expired")),
            _ => {}
        }
        match claims.get("nbf") {
            Some(n) if n.as_f64().is_none_or(|n| n > now) => return Err(TokenError::Time("token is not valid yet")),
            _ => {}
        }
        let accepted = |list: &[String], value: Option<&Value>| {
            value.and_then(Value::as_str).is_some_and(|v| list.iter().any(|a| a == "*" || a == v))
        };
        if !accepted(&self.issuers, claims.get("iss")) {
            return Err(TokenError::Claim("iss"));
        }
        if !accepted(&self.audiences, claims.get("aud")) {
            return Err(TokenError::Claim("aud"));
        }
        let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
        let room = text(claims.get("room"));
        if self.require_room && room.is_none() {
            return Err(TokenError::Missing("room"));
        }
        let sub = text(claims.get("sub"));
        if sub.is_none() {
            return Err(TokenError::Missing("sub"));
        }
        Ok(read(&claims, room, sub))
    }
}

fn read(claims: &serde_json::Map<String, Value>, room: Option<String>, sub: Option<String>) -> Claims {
    let context = claims.get("context").and_then(Value::as_object);
    let of = |key: &str| context.and_then(|c| c.get(key));
    let scalar = |v: &Value| match v {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    };
    let user = of("user").and_then(Value::as_object).cloned().or_else(|| {
        let id = claims.get("user_id").and_then(scalar).filter(|_| context.is_none())?;
        Some([("id".to_owned(), Value::String(id))].into_iter().collect())
    });
    let features = of("features").and_then(Value::as_object).map(|f| {
        f.iter()
            .map(|(k, v)| (k.clone(), v == &Value::Bool(true) || v.as_str() == Some("true")))
            .collect::<BTreeMap<_, _>>()
    });
    Claims {
        room,
        room_is_pattern: of("room").and_then(|r| r.get("regex")).is_some_and(|r| r == &Value::Bool(true)),
        sub,
        issuer: claims.get("iss").and_then(Value::as_str).map(str::to_owned),
        tenant: of("tenant").and_then(scalar),
        user,
        group: of("group").and_then(scalar),
        features,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;

    fn sign(header: Header, claims: &Value, secret: &str) -> String {
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn check(claims: &Value) -> Result<Claims, TokenError> {
        let t = TokenSettings::secret("app", b"secret");
        t.verify(&sign(Header::default(), claims, "secret"), UNIX_EPOCH + Duration::from_secs(1000))
    }

    #[test]
    fn claims_of_a_good_token_are_read() {
        let c = check(&json!({"iss":"app","aud":"x","room":"demo","sub":"acme","exp":1001,"nbf":1000,
            "context":{"user":{"id":7,"moderator":"true"},"group":"g","features":{"recording":"true","flip":false},"room":{"regex":true}}}))
        .unwrap();
        assert_eq!((c.room.as_deref(), c.sub.as_deref(), c.group.as_deref()), (Some("demo"), Some("acme"), Some("g")));
        assert_eq!(c.user_id().as_deref(), Some("7"));
        assert!(c.room_is_pattern);
        let f = c.features.unwrap();
        assert!(f["recording"] && !f["flip"]);
        assert_eq!(
            check(&json!({"iss":"app","aud":"x","room":"*","sub":"*","user_id":"u"})).unwrap().user_id().as_deref(),
            Some("u")
        );
    }

    #[test]
    fn each_rule_refuses_by_name() {
        let good = json!({"iss":"app","aud":"x","room":"demo","sub":"acme"});
        let with = |k: &str, v: Value| {
            let mut c = good.clone();
            c[k] = v;
            check(&c).unwrap_err()
        };
        let without = |k: &str| {
            let mut c = good.clone();
            c.as_object_mut().unwrap().remove(k);
            check(&c).unwrap_err()
        };
        assert!(check(&good).is_ok());
        assert_eq!(with("exp", json!(1000)), TokenError::Time("token has expired"));
        assert_eq!(with("exp", json!("x")), TokenError::Time("token has expired"));
        assert_eq!(with("nbf", json!(1001)), TokenError::Time("token is not valid yet"));
        assert_eq!(with("iss", json!("other")), TokenError::Claim("iss"));
        assert_eq!(without("aud"), TokenError::Claim("aud"));
        assert_eq!(without("room"), TokenError::Missing("room"));
        assert_eq!(without("sub"), TokenError::Missing("sub"));
    }

    #[test]
    fn forgeries_are_refused() {
        let t = TokenSettings::secret("app", b"secret");
        let claims = json!({"iss":"app","aud":"x","room":"demo","sub":"acme"});
        for token in [
            sign(Header::default(), &claims, "other"),
            sign(Header::new(Algorithm::HS384), &claims, "secret"),
            sign(Header { typ: None, ..Header::default() }, &claims, "secret"),
            "a.b.c".to_owned(),
            String::new(),
        ] {
            assert!(matches!(t.verify(&token, UNIX_EPOCH), Err(TokenError::Invalid(_))), "{token}");
        }
    }
}
