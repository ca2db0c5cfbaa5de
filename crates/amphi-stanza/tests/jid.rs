//! Addresses against the `jid` crate, and where we are more lenient: with rooms and people that have names of today
//! (`spec/focus.md` 9).

use amphi_stanza::{BareJid, FullJid, Jid};
use proptest::prelude::*;

#[test]
fn rooms_are_accepted_as_browsers_write_them() {
    for (written, normal) in [
        ("Stand-Up@conference.meet.example", "stand-up@conference.meet.example"),
        // Percent-encoded by the client, upper or lower case.
        ("%C3%A9t%c3%a9@conference.meet.example", "%c3%a9t%c3%a9@conference.meet.example"),
        ("a%20b(c)!*;,=+$#?{}|\\^`~@conference.meet.example", "a%20b(c)!*;,=+$#?{}|\\^`~@conference.meet.example"),
        ("[vpaas-magic-cookie-1]room@conference.meet.example", "[vpaas-magic-cookie-1]room@conference.meet.example"),
        // Not encoded.
        ("Été@conference.meet.example", "été@conference.meet.example"),
        ("e\u{301}te\u{301}@conference.meet.example", "été@conference.meet.example"),
        ("会議@conference.meet.example", "会議@conference.meet.example"),
        ("ВСТРЕЧА@conference.meet.example", "встреча@conference.meet.example"),
        ("שלום@conference.meet.example", "שלום@conference.meet.example"),
        // Younger than Unicode 3.2.
        ("party🎉@conference.meet.example", "party🎉@conference.meet.example"),
        ("room@conference.meet.example/Zoë 👩‍💻", "room@conference.meet.example/Zoë 👩\u{200d}💻"),
    ] {
        let jid = Jid::parse(written);
        if written.contains('\u{200d}') {
            // A joiner is mapped to nothing (RFC 3454 table B.1).
            assert_eq!(jid.unwrap().as_str(), normal.replace('\u{200d}', ""));
            continue;
        }
        assert_eq!(jid.unwrap().as_str(), normal);
    }
}

#[test]
fn what_separates_or_hides_is_refused() {
    for bad in [
        "",
        "@b",
        "a@",
        "/c",
        "a@b/",
        "a@@b",
        "a b@c",
        "a\"@b",
        "a&@b",
        "a'@b",
        "a:b@c",
        "a<@b",
        "a>@b",
        "a\u{0}@b",
        "a\n@b",
        "a@b/\n",
        "a@b/\u{7f}",
        "a@b c",
        "a@b\u{200e}",
        "\u{202e}a@b",
        "a\u{e000}@b",
        "a@b/\u{fdd0}",
        "a\u{2000}b@c",
        "ａ＠b@c",
        "\u{ad}@b",
        "a@..",
        "a@.b",
        "a@b..c",
        "אa@b",
        "a@[::1",
        "a@b<",
        "a@http://b",
    ] {
        assert!(Jid::parse(bad).is_err(), "{bad:?}");
    }
    // What comes after the first slash is the resource.
    assert_eq!(Jid::parse("a@b/c/d@e").unwrap().resource(), Some("c/d@e"));
    assert_eq!(Jid::parse("b/c@d").unwrap().domain(), "b");
}

#[test]
fn parts_have_at_most_1023_bytes() {
    let (long, too_long) = ("x".repeat(1023), "x".repeat(1024));
    assert!(BareJid::new(&long, "b").is_ok());
    assert!(BareJid::new(&too_long, "b").is_err());
    let room = BareJid::new("r", "b").unwrap();
    assert!(room.occupant(&long).is_ok());
    assert!(room.occupant(&too_long).is_err());
    assert!(room.occupant("").is_err());
    let label = "d".repeat(63);
    assert!(Jid::parse(&[&*label; 3].join(".")).is_ok());
    assert!(Jid::parse(&"d".repeat(64)).is_err());
    assert!(Jid::parse(&[&*label; 5].join(".")).is_err());
    // 1024 bytes, but 1023 when normalised.
    assert!(BareJid::new(&format!("{}\u{ad}", "x".repeat(1022)), "b").is_ok());
    assert!(BareJid::new(&"\u{ad}".repeat(1 << 20), "b").is_err());
}

#[test]
fn equal_addresses_compare_equal() {
    for (a, b) in [
        ("A@B.Example/C", "a@b.example/C"),
        ("a@b.example.", "a@b.example"),
        ("a@BÜCHER.example", "a@bücher.example"),
        ("a@xn--bcher-kva.example", "a@bücher.example"),
        ("a@XN--BCHER-KVA.example", "a@bücher.example"),
    ] {
        assert_eq!(Jid::parse(a).unwrap(), Jid::parse(b).unwrap());
    }
    assert_ne!(Jid::parse("a@b/C").unwrap(), Jid::parse("a@b/c").unwrap());
}

/// ASCII and scripts that are in use, some combining and some that normalise.
fn text() -> impl Strategy<Value = String> {
    let c = prop_oneof![
        10 => proptest::char::range('a', 'z'),
        3 => proptest::char::range('\u{20}', '\u{7e}'),
        1 => proptest::char::range('\u{0}', '\u{17f}'),
        1 => proptest::char::range('\u{300}', '\u{4ff}'),
        1 => proptest::char::range('\u{5d0}', '\u{64a}'),
        1 => proptest::char::range('\u{1e00}', '\u{206f}'),
        1 => proptest::char::range('\u{3040}', '\u{30ff}'),
        1 => proptest::char::range('\u{f900}', '\u{ffff}'),
        1 => any::<char>(),
    ];
    proptest::collection::vec(c, 1..8).prop_map(|v| v.into_iter().collect())
}

fn unassigned(s: &str) -> bool {
    s.contains(stringprep_unassigned)
}

/// Code points that Unicode 3.2 does not have: `jid` refuses them, we let them through.
fn stringprep_unassigned(c: char) -> bool {
    stringprep::tables::unassigned_code_point(c)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn local_and_resource_as_the_jid_crate_has_them(local in text(), resource in text()) {
        prop_assume!(!local.contains(['@', '/']));
        let ours = BareJid::new(&local, "b").map(|j| j.node().to_owned());
        let theirs = jid::NodePart::new(&local).map(|p| p.to_string());
        match (&ours, &theirs) {
            // What is younger than the tables and normalises to something older is folded by us, not by `jid`.
            (Ok(a), Ok(b)) => prop_assert!(a == b || unassigned(&local), "{local:?}: {a:?}, {b:?}"),
            (Ok(_), Err(_)) => prop_assert!(unassigned(&local) || local.contains(|c: char| !c.is_ascii()), "{:?}", local),
            (Err(e), Ok(_)) => prop_assert!(false, "{e}: {local:?}"),
            (Err(_), Err(_)) => {}
        }
        if ours.is_ok() && theirs.is_err() {
            prop_assert!(unassigned(ours.as_ref().unwrap()), "{local:?}");
        }
        let room = BareJid::new("a", "b").unwrap();
        let ours = room.occupant(&resource).map(|j| j.nick().to_owned());
        let theirs = jid::ResourcePart::new(&resource).map(|p| p.to_string());
        match (ours, theirs) {
            (Ok(a), Ok(b)) => prop_assert_eq!(a, b),
            (Ok(a), Err(_)) => prop_assert!(unassigned(&a), "{:?}", resource),
            (Err(e), Ok(_)) => prop_assert!(false, "{e}: {resource:?}"),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn domains_as_the_jid_crate_has_them(domain in "[a-zA-Z0-9.-]{1,12}|[a-zé会.]{1,8}|[0-9.]{1,9}|\\[[0-9a-f:]{1,9}\\]") {
        let (ours, theirs) = (Jid::parse(&domain), jid::DomainPart::new(&domain));
        match (ours, theirs) {
            // A-labels and U-labels are one to us.
            (Ok(a), Ok(b)) => prop_assert!(a.domain() == &**b || domain.to_ascii_lowercase().contains("xn--")),
            (Ok(a), Err(e)) => prop_assert!(false, "accepted {a}: {e}"),
            (Err(e), Ok(_)) => prop_assert!(false, "{e}: {domain}"),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn what_is_normal_stays_so(local in text(), resource in text()) {
        if let Ok(j) = Jid::from_parts(Some(&local), "b", Some(&resource)) {
            let again: FullJid = j.as_str().parse().unwrap();
            prop_assert_eq!(again.jid(), &j);
            prop_assert_eq!(Jid::from_parts(j.local(), j.domain(), j.resource()).unwrap(), j);
        }
    }
}
