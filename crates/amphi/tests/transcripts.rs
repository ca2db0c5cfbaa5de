//! Plays the dialogues of `crates/amphi-room/tests/transcripts` that are marked `live` against the running binary, over
//! WebSocket; and those marked `shared` against a stock Prosody too, where there is one, to show that they say what clients
//! are used to.
//!
//! The format is that of `crates/amphi-room/tests/transcripts.rs`. Addresses of people are given out by the server here:
//! `ana@meet.example/ana` in a transcript stands for whatever Ana got.

mod running;

#[path = "../../amphi-room/tests/world/matching.rs"]
mod matching;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use matching::{Names, mismatch};
use running::{Amphi, PATIENCE, Person, Server, element};

/// A line of a transcript, with its number.
type Step = (usize, String);

fn steps(path: &Path) -> Vec<Step> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        match steps.last_mut() {
            Some((_, last)) if line.starts_with(char::is_whitespace) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => steps.push((i + 1, line.trim_end().to_owned())),
        }
    }
    steps
}

/// Transcripts with this mark in a comment of their own: `# live`, `# live shared`.
fn marked(mark: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../amphi-room/tests/transcripts");
    let only = std::env::var("TRANSCRIPT").ok();
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| {
        let text = std::fs::read_to_string(f).unwrap_or_default();
        text.lines().any(|l| l.strip_prefix("# live").is_some_and(|m| format!("live{m}").split(' ').any(|w| w == mark)))
    });
    files.retain(|f| only.as_ref().is_none_or(|o| f.to_string_lossy().contains(o.as_str())));
    files.sort();
    files
}

struct Play<'a> {
    server: &'a dyn Server,
    people: BTreeMap<String, Person>,
    /// Addresses in the transcript, and what they are here.
    addresses: Vec<(String, String)>,
    names: Names,
    syncs: u32,
}

impl Play<'_> {
    fn filled(&self, text: &str) -> String {
        let mut out = text.to_owned();
        let mut known: Vec<_> = self.names.iter().collect();
        known.sort_by_key(|(k, _)| std::cmp::Reverse(k.len()));
        for (k, v) in known {
            out = out.replace(&["$", k].concat(), v);
        }
        for (written, real) in &self.addresses {
            out = out.replace(written.as_str(), real);
        }
        out
    }

    fn client(&mut self, name: &str, host: &str, options: &[&str]) {
        let local = name.to_lowercase();
        assert!(options.is_empty(), "a live transcript gives no options: {options:?}");
        let p = self.server.login(&local, host);
        let bare = p.jid.split('/').next().unwrap_or_default().to_owned();
        self.addresses.push((format!("{local}@{host}/{local}"), p.jid.clone()));
        self.addresses.push((format!("{local}@{host}"), bare));
        self.people.insert(name.to_owned(), p);
    }

    fn person(&mut self, name: &str) -> &mut Person {
        self.people.get_mut(name).unwrap_or_else(|| panic!("nobody is called {name}"))
    }

    /// Everything that was sent has been through the room, and everything that it caused has arrived.
    fn sync(&mut self) {
        for _ in 0..2 {
            self.syncs += 1;
            let id = format!("sync-{}", self.syncs);
            for p in self.people.values_mut() {
                p.send(&format!(
                    "<iq xmlns='jabber:client' type='get' id='{id}' to='demo@conference.meet.example'>\
                     <query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
                ));
            }
            for p in self.people.values_mut() {
                p.wait(|s| s.id().as_deref() == Some(&id));
            }
        }
    }

    fn drain(&mut self) {
        self.sync();
        self.people.values_mut().for_each(|p| p.inbox.clear());
    }

    fn send(&mut self, who: &str, xml: &str) {
        // Over WebSocket every element says its namespace.
        let s = element(xml).rewrite().set("xmlns", "jabber:client").finish();
        let text = String::from_utf8(s.to_vec()).unwrap();
        self.person(who).send(&text);
    }

    fn expect(&mut self, who: &str, xml: &str, skip: bool) {
        let text = self.filled(xml);
        let want = element(&text);
        let end = Instant::now() + PATIENCE;
        let mut names = std::mem::take(&mut self.names);
        let p = self.person(who);
        let mut seen = String::new();
        loop {
            let got = match p.inbox.pop_front() {
                Some(s) => s,
                None => {
                    p.next(end).unwrap_or_else(|| panic!("{who} received nothing more; wanted {text}\nseen:\n{seen}"))
                }
            };
            match mismatch(want.root(), got.root(), &mut names.clone()) {
                None => {
                    mismatch(want.root(), got.root(), &mut names);
                    break;
                }
                Some(why) if !skip => panic!("{who}: {why}\nwanted {text}\n   got {got}"),
                Some(why) => seen.push_str(&format!("  {got}\n    {why}\n")),
            }
        }
        self.names = names;
    }

    fn step(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["node", "main"] => {}
            ["client", name, host, ref options @ ..] => self.client(name, host, options),
            ["drain"] => self.drain(),
            [who, "gone"] => drop(self.people.remove(who)),
            [who, "enters", room] => {
                self.send(
                    who,
                    &format!("<presence to='{room}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"),
                );
                let entered = |s: &amphi_stanza::Stanza| {
                    s.ty().is_none()
                        && s.child("x", amphi_stanza::ns::MUC_USER).is_some_and(|x| x.inner().contains("110"))
                };
                self.person(who).wait(entered);
                self.drain();
            }
            [who, "<", "nothing"] => {
                self.sync();
                let p = self.person(who);
                assert!(p.inbox.is_empty(), "{who} received {:?}", p.inbox);
            }
            [who, ">", ..] => {
                let xml = self.filled(line.split_once('>').unwrap().1.trim());
                self.send(who, &xml);
                // One after the other, as in virtual time.
                self.sync();
            }
            [who, "<", ..] => self.expect(who, line.split_once('<').unwrap().1.trim(), false),
            [who, "<~", ..] => self.expect(who, line.split_once("<~").unwrap().1.trim(), true),
            _ => panic!("not a step of a live transcript: {line}"),
        }
    }
}

fn play(server: &dyn Server, path: &Path) {
    let mut p = Play { server, people: BTreeMap::new(), addresses: Vec::new(), names: Names::new(), syncs: 0 };
    for (n, line) in steps(path) {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| p.step(&line)));
        if let Err(e) = done {
            let why = e.downcast_ref::<String>().cloned().or_else(|| e.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            panic!("{}:{n}: {line}\n{}", path.display(), why.unwrap_or_default());
        }
    }
    // The room ends with its people, so that the next transcript finds none.
    p.people.values_mut().for_each(Person::leave);
}

fn play_all(server: &dyn Server, files: &[PathBuf]) {
    assert!(!files.is_empty());
    let failed: Vec<String> = files
        .iter()
        .filter_map(|f| {
            let begin = Instant::now();
            let e = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(server, f))).err();
            if begin.elapsed() > Duration::from_secs(5) {
                eprintln!("{}: {:?}", f.display(), begin.elapsed());
            }
            Some(e?.downcast_ref::<String>().cloned().unwrap_or_else(|| f.display().to_string()))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} transcripts failed\n\n{}", failed.len(), files.len(), failed.join("\n\n"));
}

#[test]
fn the_running_binary_plays_them() {
    let a = Amphi::start(&[
        "domain=meet.example",
        "roles=main,front,visitors",
        "focus.password=secret",
        "limits.resume_time=1s",
        "log.level=error",
    ]);
    play_all(&a, &marked("live"));
}

#[test]
fn a_stock_prosody_plays_those_that_are_shared() {
    let Some(p) = running::Prosody::start() else {
        eprintln!("There is no Prosody here.");
        return;
    };
    play_all(&p, &marked("shared"));
}
