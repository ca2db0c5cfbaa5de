//! Order-independent digest of a roster, with which a node finds out that it has missed something. Not a security
//! feature: both sides of a link trust each other.

use amphi_stanza::{Child, Element, Stanza, ns};

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(mut h: u64, bytes: &[u8]) -> u64 {
    for b in bytes {
        h = (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // A separator that UTF-8 does not contain.
    (h ^ 0xff).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Spreads a hash over all bits, so that sums of hashes stay distinct (the finaliser of SplitMix64).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn element(mut h: u64, e: &Element<'_>) -> u64 {
    h = fnv(fnv(h, e.name().as_bytes()), e.ns().as_bytes());
    let mut attrs = 0u64;
    for (name, value) in e.attrs() {
        if name == "xmlns" || name.starts_with("xmlns:") {
            continue;
        }
        attrs = attrs.wrapping_add(mix(fnv(fnv(BASIS, name.as_bytes()), value.as_bytes())));
    }
    h = fnv(h, &attrs.to_le_bytes());
    for n in e.nodes() {
        if let Child::Element(c) = n {
            h = element(h, &c);
        }
    }
    fnv(h, e.text().as_bytes())
}

/// Hash of what a presence says: its children without `muc` (which holds the password), however they are written.
pub fn presence_hash(presence: &Stanza) -> u64 {
    let mut h = BASIS;
    for c in presence.children().filter(|c| !c.is("x", ns::MUC)) {
        h = element(h, &c);
    }
    mix(h)
}

/// What one occupant adds to the digest of a roster. The digest is the wrapping sum over all mirrored occupants.
pub fn occupant_hash(nick: &str, real: &str, moderator: bool, presence: u64) -> u64 {
    let h = fnv(fnv(BASIS, nick.as_bytes()), real.as_bytes());
    mix(fnv(fnv(h, &[u8::from(moderator)]), &presence.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(s: &str) -> Stanza {
        Stanza::authored(bytes::Bytes::copy_from_slice(s.as_bytes()))
    }

    #[test]
    fn writing_the_same_presence_otherwise_does_not_change_its_hash() {
        let a = parse("<presence from='a@b/c'><x xmlns='n' a='1' b='2'>t &amp; u</x></presence>");
        let b = parse(
            "<presence xmlns='jabber:client' to='q@r/s'><n:x xmlns:n=\"n\" b=\"2\" a=\"1\">t &#38; u</n:x></presence>",
        );
        assert_eq!(presence_hash(&a), presence_hash(&b));
    }

    #[test]
    fn what_a_presence_says_changes_its_hash() {
        let a = parse("<presence><nick xmlns='n'>a</nick></presence>");
        let b = parse("<presence><nick xmlns='n'>b</nick></presence>");
        assert_ne!(presence_hash(&a), presence_hash(&b));
        assert_ne!(occupant_hash("n", "j", true, 1), occupant_hash("n", "j", false, 1));
    }

    #[test]
    fn the_password_is_no_part_of_the_hash() {
        let a = parse("<presence><x xmlns='http://jabber.org/protocol/muc'><password>p</password></x></presence>");
        assert_eq!(presence_hash(&a), presence_hash(&parse("<presence/>")));
    }
}
