//! The sources of a conference: who sends what, what may be added and removed, and what receivers are told of it
//! (`spec/focus.md` 4.7).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use amphi_jingle::colibri2::MediaSource;
use amphi_jingle::{MediaSources, MediaType, Semantics, SourceSet, SsrcGroup};

/// Why sources are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("ssrc {0} is used already")]
    SsrcInUse(u32),
    #[error("msid or name is used by another endpoint: {0}")]
    NameInUse(String),
    #[error("a source's name has more than {MAX_NAME} bytes, or none, or control characters")]
    BadName,
    #[error("audio and video have the same name: {0}")]
    NameOfBothMedia(String),
    #[error("more than {0} sources")]
    TooManySources(usize),
    #[error("more than {0} source groups")]
    TooManyGroups(usize),
    #[error("a group has ssrc {0}, which is not a source")]
    UnknownInGroup(u32),
    #[error("an FID group has two members")]
    FidSize,
    #[error("a grouped source has no msid: {0}")]
    NoMsid(u32),
    #[error("sources of one group have different msids: {0}")]
    MsidMismatch(u32),
    #[error("two sources that are not in one group have the same msid: {0}")]
    MsidConflict(String),
    #[error("ssrc {0} is not yours")]
    NotOwned(u32),
    #[error("there is no such group")]
    NoSuchGroup,
}

/// Longest name of a source, in bytes: what bridges take as an identifier.
const MAX_NAME: usize = 128;

/// How many sources one endpoint may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceLimits {
    pub(crate) ssrcs: usize,
    pub(crate) groups: usize,
}

#[derive(Debug)]
struct Owned {
    set: SourceSet,
    /// What receivers are told.
    told: Arc<SourceSet>,
}

#[derive(Debug, Default)]
pub(crate) struct Sources {
    owners: BTreeMap<Arc<str>, Owned>,
    ssrcs: HashMap<u32, Arc<str>>,
    /// Stream ids and source names.
    names: HashMap<String, Arc<str>>,
    strip: bool,
}

const BOTH: [MediaType; 2] = [MediaType::Audio, MediaType::Video];

impl Sources {
    /// `strip`: receivers are told one encoding of each simulcast group.
    pub(crate) fn new(strip: bool) -> Self {
        Self { strip, ..Self::default() }
    }

    pub(crate) fn of(&self, owner: &str) -> Option<&SourceSet> {
        self.owners.get(owner).map(|o| &o.set)
    }

    /// What receivers are told of an endpoint.
    pub(crate) fn told(&self, owner: &str) -> Option<&Arc<SourceSet>> {
        self.owners.get(owner).map(|o| &o.told)
    }

    pub(crate) fn owners(&self) -> impl Iterator<Item = &Arc<str>> {
        self.owners.keys()
    }

    /// Adds all, or nothing.
    pub(crate) fn try_add(&mut self, owner: &str, add: &SourceSet, limits: SourceLimits) -> Result<(), SourceError> {
        let mut seen = HashSet::new();
        for (_, s) in add.sources() {
            if self.ssrcs.contains_key(&s.ssrc) || !seen.insert(s.ssrc) {
                return Err(SourceError::SsrcInUse(s.ssrc));
            }
            for n in s.msid.iter().chain(&s.name) {
                if self.names.get(n).is_some_and(|o| **o != *owner) {
                    return Err(SourceError::NameInUse(n.clone()));
                }
            }
        }
        let mut all = self.of(owner).cloned().unwrap_or_default();
        for m in BOTH {
            let (from, to) = (add.media(m), all.media_mut(m));
            to.sources.extend(from.sources.iter().cloned());
            for g in from.groups.iter().filter(|g| !g.ssrcs.is_empty()) {
                if !to.groups.contains(g) {
                    to.groups.push(g.clone());
                }
            }
        }
        if all.count() > limits.ssrcs {
            return Err(SourceError::TooManySources(limits.ssrcs));
        }
        if all.group_count() > limits.groups {
            return Err(SourceError::TooManyGroups(limits.groups));
        }
        validate(&all)?;
        named(owner, &all)?;
        self.put(owner, all);
        Ok(())
    }

    /// Removes all that is named, or nothing. Groups of what goes vanish too.
    pub(crate) fn try_remove(&mut self, owner: &str, remove: &SourceSet) -> Result<(), SourceError> {
        let mut all = self.of(owner).cloned().unwrap_or_default();
        for m in BOTH {
            let gone: HashSet<u32> = remove.media(m).sources.iter().map(|s| s.ssrc).collect();
            let of = all.media_mut(m);
            if let Some(s) = gone.iter().find(|s| of.sources.iter().all(|o| o.ssrc != **s)) {
                return Err(SourceError::NotOwned(*s));
            }
            for g in remove.media(m).groups.iter().filter(|g| !g.ssrcs.is_empty()) {
                let at = of.groups.iter().position(|o| o == g).ok_or(SourceError::NoSuchGroup)?;
                of.groups.remove(at);
            }
            of.sources.retain(|s| !gone.contains(&s.ssrc));
            of.groups.retain(|g| g.ssrcs.iter().all(|s| !gone.contains(s)));
        }
        validate(&all)?;
        self.put(owner, all);
        Ok(())
    }

    fn put(&mut self, owner: &str, set: SourceSet) {
        self.remove_owner(owner);
        if set.is_empty() {
            return;
        }
        let owner: Arc<str> = owner.into();
        for (_, s) in set.sources() {
            self.ssrcs.insert(s.ssrc, owner.clone());
            for n in s.msid.iter().chain(&s.name) {
                self.names.insert(n.clone(), owner.clone());
            }
        }
        let told = Arc::new(if self.strip { strip_simulcast(&set) } else { set.clone() });
        self.owners.insert(owner, Owned { set, told });
    }

    /// Forgets an endpoint. True if it had any.
    pub(crate) fn remove_owner(&mut self, owner: &str) -> bool {
        let Some(o) = self.owners.remove(owner) else { return false };
        for (_, s) in o.set.sources() {
            self.ssrcs.remove(&s.ssrc);
            for n in s.msid.iter().chain(&s.name) {
                self.names.remove(n);
            }
        }
        true
    }
}

/// Names become the identifiers by which bridges know sources, also where a client gave none.
fn named(owner: &str, all: &SourceSet) -> Result<(), SourceError> {
    let bad = |name: &str| name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control);
    let known = MediaSource::from_set(owner, all);
    let mut ids = HashSet::new();
    for it in &known {
        if bad(&it.id) {
            return Err(SourceError::BadName);
        }
        if !ids.insert(&it.id) {
            return Err(SourceError::NameOfBothMedia(it.id.clone()));
        }
    }
    Ok(())
}

fn validate(all: &SourceSet) -> Result<(), SourceError> {
    for m in BOTH {
        let of = all.media(m);
        // Each SSRC's extended group, named by one of its members.
        let mut home: BTreeMap<u32, u32> = of.sources.iter().map(|s| (s.ssrc, s.ssrc)).collect();
        let msid = |ssrc: u32| of.sources.iter().find(|s| s.ssrc == ssrc).and_then(|s| s.msid.as_deref());
        for g in &of.groups {
            if g.semantics != Semantics::Sim && g.ssrcs.len() != 2 {
                return Err(SourceError::FidSize);
            }
            let first = g.ssrcs[0];
            for s in &g.ssrcs {
                if !home.contains_key(s) {
                    return Err(SourceError::UnknownInGroup(*s));
                }
                let Some(id) = msid(*s) else { return Err(SourceError::NoMsid(*s)) };
                if msid(first) != Some(id) {
                    return Err(SourceError::MsidMismatch(*s));
                }
                let (from, to) = (home[s], home[&first]);
                home.values_mut().filter(|h| **h == from).for_each(|h| *h = to);
            }
        }
        let mut taken: HashMap<&str, u32> = HashMap::new();
        for s in &of.sources {
            if let Some(id) = s.msid.as_deref()
                && *taken.entry(id).or_insert(home[&s.ssrc]) != home[&s.ssrc]
            {
                return Err(SourceError::MsidConflict(id.to_owned()));
            }
        }
    }
    Ok(())
}

/// Leaves of each simulcast group the first encoding: the bridge sends whichever it chooses as that one.
pub(crate) fn strip_simulcast(set: &SourceSet) -> SourceSet {
    let strip = |m: &MediaSources| {
        let sim = m.groups.iter().filter(|g| g.semantics == Semantics::Sim);
        let mut gone: BTreeSet<u32> = sim.flat_map(|g| g.ssrcs.iter().skip(1).copied()).collect();
        for g in m.groups.iter().filter(|g| g.semantics != Semantics::Sim) {
            if g.ssrcs.first().is_some_and(|s| gone.contains(s)) {
                gone.extend(&g.ssrcs);
            }
        }
        let keep = |g: &&SsrcGroup| g.semantics != Semantics::Sim && g.ssrcs.iter().all(|s| !gone.contains(s));
        MediaSources {
            sources: m.sources.iter().filter(|s| !gone.contains(&s.ssrc)).cloned().collect(),
            groups: m.groups.iter().filter(keep).cloned().collect(),
        }
    };
    SourceSet { audio: strip(&set.audio), video: strip(&set.video) }
}

/// Only the media that a receiver can do with.
pub(crate) fn only(set: &SourceSet, audio: bool, video: bool) -> SourceSet {
    SourceSet {
        audio: if audio { set.audio.clone() } else { MediaSources::default() },
        video: if video { set.video.clone() } else { MediaSources::default() },
    }
}

/// What must be removed from `old`, and then added, to get `new`.
pub(crate) fn diff(old: &SourceSet, new: &SourceSet) -> (SourceSet, SourceSet) {
    let (mut removed, mut added) = (SourceSet::default(), SourceSet::default());
    for m in BOTH {
        let (o, n) = (old.media(m), new.media(m));
        let minus = |a: &MediaSources, b: &MediaSources| MediaSources {
            sources: a.sources.iter().filter(|s| b.sources.iter().all(|t| t.ssrc != s.ssrc)).cloned().collect(),
            groups: a.groups.iter().filter(|g| !b.groups.contains(g)).cloned().collect(),
        };
        *removed.media_mut(m) = minus(o, n);
        *added.media_mut(m) = minus(n, o);
    }
    (removed, added)
}

#[cfg(test)]
mod tests {
    use amphi_jingle::Source;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: SourceLimits = SourceLimits { ssrcs: 20, groups: 20 };

    fn video(ssrcs: &[(u32, &str)], groups: &[(Semantics, &[u32])]) -> SourceSet {
        let sources = ssrcs.iter().map(|(ssrc, msid)| Source {
            ssrc: *ssrc,
            msid: Some((*msid).to_owned()).filter(|m| !m.is_empty()),
            ..Source::default()
        });
        let groups =
            groups.iter().map(|(semantics, s)| SsrcGroup { semantics: *semantics, ssrcs: s.to_vec() }).collect();
        SourceSet { video: MediaSources { sources: sources.collect(), groups }, audio: MediaSources::default() }
    }

    fn simulcast() -> SourceSet {
        video(
            &[(1, "m"), (2, "m"), (3, "m"), (11, "m"), (12, "m"), (13, "m")],
            &[
                (Semantics::Sim, &[1, 2, 3]),
                (Semantics::Fid, &[1, 11]),
                (Semantics::Fid, &[2, 12]),
                (Semantics::Fid, &[3, 13]),
            ],
        )
    }

    #[test]
    fn simulcast_is_stripped_to_one_encoding_with_its_retransmissions() {
        let mut s = Sources::new(true);
        s.try_add("a", &simulcast(), LIMITS).unwrap();
        let told = s.told("a").unwrap();
        assert_eq!(told.video.sources.iter().map(|s| s.ssrc).collect::<Vec<_>>(), [1, 11]);
        assert_eq!(told.video.groups.len(), 1);
        assert_eq!(s.of("a").unwrap().count(), 6);
    }

    #[test]
    fn what_others_have_is_refused_and_nothing_is_added() {
        let mut s = Sources::default();
        s.try_add("a", &simulcast(), LIMITS).unwrap();
        for bad in [video(&[(1, "x")], &[]), video(&[(50, "m")], &[]), video(&[(50, "x"), (50, "x")], &[])] {
            assert!(s.try_add("b", &bad, LIMITS).is_err());
        }
        assert!(s.of("b").is_none());
        assert_eq!(s.try_add("a", &video(&[(1, "m")], &[]), LIMITS), Err(SourceError::SsrcInUse(1)));
        assert_eq!(
            s.try_add("b", &video(&[(60, "x")], &[]), SourceLimits { ssrcs: 0, groups: 0 }),
            Err(SourceError::TooManySources(0))
        );
    }

    #[test]
    fn names_are_what_bridges_take_and_are_not_shared_by_audio_and_video() {
        let mut s = Sources::default();
        let set = |audio: Option<&str>, video: Option<&str>| {
            let of = |ssrc, name: Option<&str>| MediaSources {
                sources: vec![Source { ssrc, name: name.map(str::to_owned), ..Source::default() }],
                groups: vec![],
            };
            SourceSet { audio: of(1, audio), video: of(2, video) }
        };
        for bad in ["", "x\u{7}", &"x".repeat(129)] {
            assert_eq!(s.try_add("a", &set(Some(bad), Some("v")), LIMITS), Err(SourceError::BadName));
        }
        let twice = |name: &str| Err(SourceError::NameOfBothMedia(name.into()));
        assert_eq!(s.try_add("a", &set(Some("x"), Some("x")), LIMITS), twice("x"));
        assert_eq!(s.try_add("a", &set(Some("a-v0"), None), LIMITS), twice("a-v0"), "that is what it would be called");
        assert_eq!(s.try_add("a", &set(Some(&"x".repeat(128)), Some("v")), LIMITS), Ok(()));
    }

    #[test]
    fn groups_must_make_sense() {
        let mut s = Sources::default();
        let add = |s: &mut Sources, set| s.try_add("a", &set, LIMITS);
        assert_eq!(add(&mut s, video(&[(1, "m")], &[(Semantics::Fid, &[1, 2])])), Err(SourceError::UnknownInGroup(2)));
        assert_eq!(add(&mut s, video(&[(1, "m")], &[(Semantics::Fid, &[1])])), Err(SourceError::FidSize));
        assert_eq!(add(&mut s, video(&[(1, ""), (2, "")], &[(Semantics::Fid, &[1, 2])])), Err(SourceError::NoMsid(1)));
        assert_eq!(
            add(&mut s, video(&[(1, "m"), (2, "n")], &[(Semantics::Fid, &[1, 2])])),
            Err(SourceError::MsidMismatch(2))
        );
        assert_eq!(add(&mut s, video(&[(1, "m"), (2, "m")], &[])), Err(SourceError::MsidConflict("m".into())));
        assert_eq!(add(&mut s, video(&[(1, "m")], &[(Semantics::Sim, &[])])), Ok(()));
    }

    #[test]
    fn removal_takes_groups_along_and_must_leave_sense() {
        let mut s = Sources::default();
        s.try_add("a", &simulcast(), LIMITS).unwrap();
        assert_eq!(s.try_remove("a", &video(&[(99, "")], &[])), Err(SourceError::NotOwned(99)));
        assert_eq!(s.try_remove("b", &video(&[(1, "")], &[])), Err(SourceError::NotOwned(1)));
        assert_eq!(s.try_remove("a", &video(&[], &[(Semantics::Fid, &[1, 12])])), Err(SourceError::NoSuchGroup));
        // Without its group the rest is several sources with one stream.
        assert!(matches!(s.try_remove("a", &video(&[(1, "")], &[])), Err(SourceError::MsidConflict(_))));
        s.try_remove("a", &simulcast()).unwrap();
        assert!(s.of("a").is_none());
        s.try_add("b", &simulcast(), LIMITS).unwrap();
    }

    proptest! {
        #[test]
        fn a_difference_leads_from_one_to_the_other(
            a in proptest::collection::btree_set(1u32..12, 0..8), b in proptest::collection::btree_set(1u32..12, 0..8)
        ) {
            let set = |s: &BTreeSet<u32>| video(&s.iter().map(|s| (*s, "")).collect::<Vec<_>>(), &[]);
            let (removed, added) = diff(&set(&a), &set(&b));
            let ssrcs = |s: &SourceSet| s.video.sources.iter().map(|s| s.ssrc).collect::<BTreeSet<u32>>();
            let left: BTreeSet<u32> = a.difference(&ssrcs(&removed)).copied().collect();
            prop_assert_eq!(left.union(&ssrcs(&added)).copied().collect::<BTreeSet<u32>>(), b);
        }

        #[test]
        fn no_request_breaks_the_index(
            steps in proptest::collection::vec(
                (any::<bool>(), 0usize..3, proptest::collection::vec((1u32..9, 0usize..3), 0..4), any::<bool>()), 0..30)
        ) {
            let mut s = Sources::default();
            for (add, who, list, group) in steps {
                let names = ["x", "y", ""];
                let sources: Vec<(u32, &str)> = list.iter().map(|(s, m)| (*s, names[*m])).collect();
                let ids: Vec<u32> = list.iter().map(|(s, _)| *s).collect();
                let groups: Vec<(Semantics, &[u32])> = if group { vec![(Semantics::Fid, &ids)] } else { vec![] };
                let set = video(&sources, &groups);
                let owner = ["a", "b", "c"][who];
                let before = s.of(owner).cloned();
                let done = if add { s.try_add(owner, &set, LIMITS) } else { s.try_remove(owner, &set) };
                if done.is_err() {
                    prop_assert_eq!(s.of(owner).cloned(), before);
                }
                let all: Vec<u32> = s.owners.values().flat_map(|o| o.set.sources().map(|(_, s)| s.ssrc)).collect();
                prop_assert_eq!(all.len(), s.ssrcs.len());
            }
        }
    }
}
