//! What a token claims, decoded **without** checking its signature: a hint for admission only. The signaling node checks
//! the token when its owner logs in (`spec/focus.md` 2.4, 10.5).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The claims that admission looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// `context.user.id`.
    pub(crate) user: Option<String>,
    /// `context.group`.
    pub(crate) group: Option<String>,
}

/// Longest token that is decoded.
const MAX_TOKEN: usize = 16 * 1024;

/// An unparsable token is no token.
pub(crate) fn hints(token: &str) -> Hints {
    decode(token).unwrap_or_default()
}

fn decode(token: &str) -> Option<Hints> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let payload = token.split('.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&json).ok()?;
    let context = claims.get("context")?;
    let user = context.get("user").and_then(|u| u.get("id")).and_then(scalar);
    let group = context.get("group").and_then(scalar);
    Some(Hints { user, group })
}

/// A JSON string, number or boolean as text.
pub(crate) fn scalar(v: &Value) -> Option<String> {
    match v {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn user_and_group_are_read_without_a_valid_signature() {
        let h = hints(&token(r#"{"context":{"user":{"id":17},"group":"g-2"}}"#));
        assert_eq!(h, Hints { user: Some("17".into()), group: Some("g-2".into()) });
    }

    #[test]
    fn an_unparsable_token_is_no_token() {
        for t in ["", "a", "a.b.c", "..", &token("[1"), &token("{}"), &token(r#"{"context":7}"#), &"x".repeat(20_000)] {
            assert_eq!(hints(t), Hints::default(), "{t:.40}");
        }
    }
}
