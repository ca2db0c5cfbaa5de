//! Addresses (RFC 7622, with the preparation of RFC 6122: that is what the peers do).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use stringprep::tables;
use unicode_normalization::UnicodeNormalization;

/// Not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address: {0}")]
pub struct BadJid(&'static str);

/// Any address: `domain`, `local@domain`, with or without `/resource`. Normalised, so equal addresses compare equal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid {
    s: Arc<str>,
    /// Length of the local part; 0 when there is none.
    local: u16,
    /// Offset of `/`; the length of `s` when there is no resource.
    slash: u16,
}

const MAX_PART: usize = 1023;

/// Nodeprep (RFC 6122 appendix A): folded, normalised, without the characters that separate the parts.
fn localpart(s: &str) -> Result<Cow<'_, str>, BadJid> {
    let legal =
        |b: u8| matches!(b, 0x21..=0x7e) && !matches!(b, b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@');
    let out = if s.is_ascii() {
        if !s.bytes().all(legal) {
            return Err(BadJid("local part"));
        }
        if s.bytes().any(|b| b.is_ascii_uppercase()) { Cow::Owned(s.to_ascii_lowercase()) } else { Cow::Borrowed(s) }
    } else {
        short_enough(s, "local part")?;
        let fold = |s: &str| -> String {
            let kept = s.chars().filter(|c| !tables::commonly_mapped_to_nothing(*c));
            kept.flat_map(tables::case_fold_for_nfkc).nfkc().collect()
        };
        // Characters younger than the tables may normalise to older ones that the tables fold.
        let out = fold(&fold(s));
        if !prepared(&out) || out.bytes().any(|b| b < 0x80 && !legal(b)) {
            return Err(BadJid("local part"));
        }
        Cow::Owned(out)
    };
    sized(out, "local part")
}

/// What stringprep allows in every part, for text that is mapped and normalised. Code points that Unicode 3.2 did not
/// assign are let through, as servers do: emoji are names of rooms and people (`spec/focus.md` 9).
fn prepared(s: &str) -> bool {
    let prohibited = |c| {
        tables::non_ascii_space_character(c)
            || tables::ascii_control_character(c)
            || tables::non_ascii_control_character(c)
            || tables::private_use(c)
            || tables::non_character_code_point(c)
            || tables::inappropriate_for_plain_text(c)
            || tables::inappropriate_for_canonical_representation(c)
            || tables::change_display_properties_or_deprecated(c)
            || tables::tagging_character(c)
    };
    if s.contains(prohibited) {
        return false;
    }
    // RFC 3454 §6: a part with right-to-left characters has no left-to-right ones, and begins and ends with the former.
    !s.contains(tables::bidi_r_or_al)
        || (!s.contains(tables::bidi_l)
            && s.chars().next().is_some_and(tables::bidi_r_or_al)
            && s.chars().next_back().is_some_and(tables::bidi_r_or_al))
}

/// Refuses what is far too long before work is spent on it; mapping shortens by far less than this.
fn short_enough(s: &str, what: &'static str) -> Result<(), BadJid> {
    if s.len() > 4 * MAX_PART { Err(BadJid(what)) } else { Ok(()) }
}

/// A host name in Unicode, folded (RFC 5890 U-labels), or a literal address. Lengths are those of DNS.
fn domainpart(s: &str) -> Result<Cow<'_, str>, BadJid> {
    const BAD: BadJid = BadJid("domain");
    short_enough(s, "domain")?;
    if plain_host(s) {
        return Ok(Cow::Borrowed(s));
    }
    if let Some(v6) = s.strip_prefix('[').and_then(|s| s.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().map(|_| s.to_ascii_lowercase().into()).map_err(|_| BAD);
    }
    let s = s.strip_suffix('.').unwrap_or(s);
    let idna = Uts46::new();
    let ascii = idna.to_ascii(s.as_bytes(), AsciiDenyList::URL, Hyphens::Check, DnsLength::Verify).map_err(|_| BAD)?;
    let (unicode, valid) = idna.to_unicode(ascii.as_bytes(), AsciiDenyList::URL, Hyphens::Check);
    // The other characters that separate parts of an address or of XML are on the deny list.
    if valid.is_err() || unicode.contains(['\'', '"', '&']) {
        return Err(BAD);
    }
    sized(Cow::Owned(unicode.into_owned()), "domain")
}

/// Whether this is a host name that nothing has to be done about, which almost all are.
fn plain_host(s: &str) -> bool {
    let label = |l: &str| {
        let b = l.as_bytes();
        matches!(b.len(), 1..=63)
            && b.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && b[0] != b'-'
            && b[b.len() - 1] != b'-'
            && b.get(2..4) != Some(b"--")
    };
    s.len() <= 253 && s.split('.').all(label)
}

/// Resourceprep (RFC 6122 appendix B): normalised, case kept.
fn resourcepart(s: &str) -> Result<Cow<'_, str>, BadJid> {
    let out = if s.bytes().all(|b| matches!(b, 0x20..=0x7e)) {
        Cow::Borrowed(s)
    } else {
        short_enough(s, "resource")?;
        let out: String = s.chars().filter(|c| !tables::commonly_mapped_to_nothing(*c)).nfkc().collect();
        if !prepared(&out) {
            return Err(BadJid("resource"));
        }
        Cow::Owned(out)
    };
    sized(out, "resource")
}

fn sized<'a>(s: Cow<'a, str>, what: &'static str) -> Result<Cow<'a, str>, BadJid> {
    if s.is_empty() || s.len() > MAX_PART { Err(BadJid(what)) } else { Ok(s) }
}

impl Jid {
    /// Parses and normalises an address.
    ///
    /// # Errors
    /// If a part is empty, too long, or has characters that it must not have.
    pub fn parse(s: &str) -> Result<Self, BadJid> {
        let (bare, resource) = match s.split_once('/') {
            Some((b, r)) => (b, Some(r)),
            None => (s, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((l, d)) => (Some(l), d),
            None => (None, bare),
        };
        Self::from_parts(local, domain, resource)
    }

    /// Puts an address together from its parts.
    ///
    /// # Errors
    /// As [`Jid::parse`].
    pub fn from_parts(local: Option<&str>, domain: &str, resource: Option<&str>) -> Result<Self, BadJid> {
        let local = local.map(localpart).transpose()?;
        let domain = domainpart(domain)?;
        let resource = resource.map(resourcepart).transpose()?;
        Ok(Self::join(local.as_deref(), &domain, resource.as_deref()))
    }

    fn join(local: Option<&str>, domain: &str, resource: Option<&str>) -> Self {
        let mut s = String::with_capacity(
            local.map_or(0, |l| l.len() + 1) + domain.len() + resource.map_or(0, |r| r.len() + 1),
        );
        if let Some(l) = local {
            s.push_str(l);
            s.push('@');
        }
        s.push_str(domain);
        let slash = s.len() as u16;
        if let Some(r) = resource {
            s.push('/');
            s.push_str(r);
        }
        Self { s: s.into(), local: local.map_or(0, |l| l.len() as u16), slash }
    }

    /// The local part.
    pub fn local(&self) -> Option<&str> {
        (self.local > 0).then(|| &self.s[..self.local as usize])
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        let from = if self.local > 0 { self.local as usize + 1 } else { 0 };
        &self.s[from..self.slash as usize]
    }

    /// The resource.
    pub fn resource(&self) -> Option<&str> {
        self.s.get(self.slash as usize + 1..)
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.s
    }

    /// `local@domain` or `domain`, as text.
    pub fn bare_str(&self) -> &str {
        &self.s[..self.slash as usize]
    }

    /// Without the resource.
    pub fn to_bare(&self) -> Self {
        if self.resource().is_none() { self.clone() } else { Self::join(self.local(), self.domain(), None) }
    }

    /// With another resource.
    ///
    /// # Errors
    /// If the resource is not one.
    pub fn with_resource(&self, resource: &str) -> Result<Self, BadJid> {
        let r = resourcepart(resource)?;
        Ok(Self::join(self.local(), self.domain(), Some(&r)))
    }

    /// As `local@domain`, if it has exactly these parts.
    pub fn as_bare(&self) -> Option<BareJid> {
        (self.local > 0 && self.resource().is_none()).then(|| BareJid(self.clone()))
    }

    /// As an address with a resource.
    pub fn as_full(&self) -> Option<FullJid> {
        self.resource().is_some().then(|| FullJid(self.clone()))
    }
}

macro_rules! text {
    ($($t:ty),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl std::str::FromStr for $t {
            type Err = BadJid;
            fn from_str(s: &str) -> Result<Self, BadJid> {
                Self::parse(s)
            }
        }
        impl PartialEq<str> for $t {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }
        impl PartialEq<&str> for $t {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }
    )*};
}
text!(Jid, BareJid, FullJid);

/// `local@domain`: a room, or a user whatever the connection.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BareJid(Jid);

/// An address with a resource: one connection, or one occupant of a room.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FullJid(Jid);

macro_rules! narrow {
    ($t:ident, $as:ident, $what:literal) => {
        impl $t {
            /// Parses and normalises an address of this form.
            ///
            /// # Errors
            /// If it is not one.
            pub fn parse(s: &str) -> Result<Self, BadJid> {
                Jid::parse(s)?.$as().ok_or(BadJid($what))
            }
            /// The address as text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
            /// As any address.
            pub fn jid(&self) -> &Jid {
                &self.0
            }
            /// The domain.
            pub fn domain(&self) -> &str {
                self.0.domain()
            }
        }
        impl std::ops::Deref for $t {
            type Target = Jid;
            fn deref(&self) -> &Jid {
                &self.0
            }
        }
        impl From<$t> for Jid {
            fn from(j: $t) -> Jid {
                j.0
            }
        }
    };
}
narrow!(BareJid, as_bare, "a bare address is wanted");
narrow!(FullJid, as_full, "a full address is wanted");

impl BareJid {
    /// Puts a bare address together.
    ///
    /// # Errors
    /// As [`Jid::parse`].
    pub fn new(local: &str, domain: &str) -> Result<Self, BadJid> {
        Ok(Self(Jid::from_parts(Some(local), domain, None)?))
    }

    /// The local part.
    pub fn node(&self) -> &str {
        self.0.local().unwrap_or_default()
    }

    /// With a resource: an occupant, or a connection.
    ///
    /// # Errors
    /// If the resource is not one.
    pub fn occupant(&self, nick: &str) -> Result<FullJid, BadJid> {
        self.0.with_resource(nick).map(FullJid)
    }
}

impl FullJid {
    /// The resource: for an occupant the nick, which is the endpoint id.
    pub fn nick(&self) -> &str {
        self.0.resource().unwrap_or_default()
    }
}
