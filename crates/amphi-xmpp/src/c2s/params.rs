//! The query string of a connection's URL (`spec/signaling.md` 2.2, `spec/client.md` 2).

/// What a client said in its URL. Headers of the HTTP request are added by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlParams {
    /// Room name, lower case, without tenant.
    pub room: Option<String>,
    /// Tenant.
    pub prefix: Option<String>,
    /// JSON Web Token, from the query or from `Authorization: Bearer`.
    pub token: Option<String>,
    /// Resumption id of a broken stream.
    pub previd: Option<String>,
    /// Local part promised to a promoted visitor.
    pub customusername: Option<String>,
    /// Visitor node.
    pub vnode: Option<String>,
    /// Region of the user, from a header that the proxy sets.
    pub region: Option<String>,
    /// `User-Agent`, for logs.
    pub user_agent: Option<String>,
}

impl UrlParams {
    /// Longest query string that is read; the rest is ignored. Tokens may have several KiB.
    pub const MAX_QUERY: usize = 16 * 1024;
    /// Most pairs that are read.
    pub const MAX_PAIRS: usize = 64;
    /// Longest value of anything but the token.
    pub const MAX_VALUE: usize = 1023;

    /// Form-decodes a query string, without the question mark. Of a repeated parameter the first value that is usable counts; an empty one
    /// counts as absent. Unknown parameters are ignored, and so is a value that is too long or not UTF-8.
    pub fn parse(query: &str) -> Self {
        let mut out = Self::default();
        let query = query.strip_prefix('?').unwrap_or(query);
        if query.len() > Self::MAX_QUERY {
            // Half a token is no token: cutting would change meanings.
            return out;
        }
        for pair in query.split('&').take(Self::MAX_PAIRS) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "room" => &mut out.room,
                "prefix" => &mut out.prefix,
                "token" => &mut out.token,
                "previd" => &mut out.previd,
                "customusername" => &mut out.customusername,
                "vnode" => &mut out.vnode,
                _ => continue,
            };
            if slot.is_some() {
                continue;
            }
            let max = if name == "token" { Self::MAX_QUERY } else { Self::MAX_VALUE };
            *slot = form_decode(value).filter(|v| !v.is_empty() && v.len() <= max);
        }
        if let Some(r) = &mut out.room {
            *r = r.to_lowercase();
        }
        out
    }

    /// Takes the token of an `Authorization` header, unless the query had one (`spec/signaling.md` 2.2).
    pub fn authorization(&mut self, header: &str) {
        if self.token.is_none()
            && let Some((scheme, token)) = header.split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
            && !token.trim().is_empty()
        {
            self.token = Some(token.trim().to_owned());
        }
    }
}

/// `application/x-www-form-urlencoded`. A percent sign without two hex digits stands for itself.
fn form_decode(v: &str) -> Option<String> {
    if !v.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Some(v.to_owned());
    }
    let b = v.as_bytes();
    let mut out = Vec::with_capacity(b.len());
    let mut i = 0;
    while i < b.len() {
        let hex = |at: usize| b.get(at).and_then(|c| (*c as char).to_digit(16));
        match b[i] {
            b'+' => out.push(b' '),
            b'%' => match (hex(i + 1), hex(i + 2)) {
                (Some(h), Some(l)) => {
                    out.push((h * 16 + l) as u8);
                    i += 2;
                }
                _ => out.push(b'%'),
            },
            c => out.push(c),
        }
        i += 1;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_in_any_order_are_form_decoded() {
        let p = UrlParams::parse(
            "vnode=v1&room=T%C3%B6wn+Hall&prefix=&token=a.b-c_d&x=y&previd=ZC%2Bn&customusername=7d0a",
        );
        assert_eq!(
            p,
            UrlParams {
                room: Some("töwn hall".into()),
                prefix: None,
                token: Some("a.b-c_d".into()),
                previd: Some("ZC+n".into()),
                customusername: Some("7d0a".into()),
                vnode: Some("v1".into()),
                region: None,
                user_agent: None,
            }
        );
    }

    #[test]
    fn nonsense_is_ignored() {
        assert_eq!(UrlParams::parse(""), UrlParams::default());
        assert_eq!(UrlParams::parse("&&=&room&prefix="), UrlParams::default());
        assert_eq!(UrlParams::parse("room=%ff%fe").room, None);
        assert_eq!(UrlParams::parse("room=50%&room=two").room.as_deref(), Some("50%"));
        assert_eq!(UrlParams::parse(&format!("room={}", "a".repeat(1024))).room, None);
        assert_eq!(UrlParams::parse(&format!("room=a&token={}", "a".repeat(20_000))), UrlParams::default());
    }

    #[test]
    fn token_of_the_query_beats_the_header() {
        let mut p = UrlParams::parse("token=q");
        p.authorization("Bearer h");
        assert_eq!(p.token.as_deref(), Some("q"));
        let mut p = UrlParams::parse("room=r");
        p.authorization("Basic eDp5");
        assert_eq!(p.token, None);
        p.authorization("bearer h.e.x");
        assert_eq!(p.token.as_deref(), Some("h.e.x"));
    }

    proptest! {
        #[test]
        fn any_query_is_survived(q in "\\PC{0,200}") {
            UrlParams::parse(&q);
        }

        #[test]
        fn encoded_values_come_back(v in "[a-z0-9 +&=%/ü]{1,40}") {
            let enc: String = v.bytes().map(|b| format!("%{b:02X}")).collect();
            prop_assert_eq!(UrlParams::parse(&format!("previd={enc}")).previd, Some(v));
        }
    }
}
