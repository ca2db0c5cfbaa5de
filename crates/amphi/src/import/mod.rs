//! `amphi config import`: reads what a Jitsi deployment is configured with, a jicofo.conf or the environment of its containers, and writes
//! the same for us. Every key is accounted for: taken over, not needed here, or without a counterpart.

mod environment;
mod hocon;
mod jicofo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// What became of the keys.
#[derive(Debug, Default)]
pub struct Import {
    /// Our keys, by section (`""` is the top), in the order of their names.
    sections: BTreeMap<String, BTreeMap<String, toml::Value>>,
    /// Entries of lists of tables, by list.
    lists: BTreeMap<String, Vec<toml::Table>>,
    /// Keys without a counterpart, with what to do about them.
    unknown: Vec<(String, String)>,
    /// What the reader should know.
    notes: Vec<String>,
}

impl Import {
    fn set(&mut self, section: &str, key: &str, value: impl Into<toml::Value>) {
        self.sections.entry(section.to_owned()).or_default().insert(key.to_owned(), value.into());
    }

    fn get(&self, section: &str, key: &str) -> Option<&toml::Value> {
        self.sections.get(section)?.get(key)
    }

    fn entry(&mut self, list: &str, table: toml::Table) {
        self.lists.entry(list.to_owned()).or_default().push(table);
    }

    fn has_no_counterpart(&mut self, key: &str, why: impl Into<String>) {
        self.unknown.push((key.to_owned(), why.into()));
    }

    fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// A number, or a complaint.
    fn number(&mut self, key: &str, text: &str) -> Option<i64> {
        let number = text.trim().parse().ok().filter(|n| *n >= 0);
        if number.is_none() {
            self.has_no_counterpart(key, format!("{text:?} is not a number"));
        }
        number
    }

    /// A switch, as HOCON and the containers write it.
    fn switch(&mut self, key: &str, text: &str) -> Option<bool> {
        match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" | "t" => Some(true),
            "0" | "false" | "no" | "off" | "f" | "" => Some(false),
            _ => {
                self.has_no_counterpart(key, format!("{text:?} is neither true nor false"));
                None
            }
        }
    }

    /// The configuration, with what was left out as comments at its head.
    pub fn toml(&self) -> String {
        let mut text =
            String::from("# Imported by `amphi config import`. Keys are told in docs/reference/config.md.\n");
        for note in &self.notes {
            text += &format!("# {note}\n");
        }
        if !self.unknown.is_empty() {
            text += "#\n# Without a counterpart:\n";
            for (key, why) in &self.unknown {
                text += &format!("#   {key}: {why}\n");
            }
        }
        text.push('\n');
        let mut write = |name: Option<String>, keys: &mut dyn Iterator<Item = (&String, &toml::Value)>| {
            if let Some(name) = name {
                text += &format!("\n{name}\n");
            }
            for (key, value) in keys {
                // Names of domains need quotes.
                let bare = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
                let key = if bare { key.clone() } else { toml::Value::from(key.as_str()).to_string() };
                text += &format!("{key} = {value}\n");
            }
        };
        if let Some(top) = self.sections.get("") {
            write(None, &mut top.iter());
        }
        for (name, keys) in self.sections.iter().filter(|(name, _)| !name.is_empty()) {
            write(Some(format!("[{name}]")), &mut keys.iter());
        }
        for (name, tables) in &self.lists {
            for table in tables {
                write(Some(format!("[[{name}]]")), &mut table.iter());
            }
        }
        text
    }

    /// Keys without a counterpart.
    pub fn unknown(&self) -> &[(String, String)] {
        &self.unknown
    }
}

/// Reads the files that were named and writes one configuration; returns it with what was left out.
pub fn read(jicofo: Option<&Path>, env: Option<&Path>) -> anyhow::Result<Import> {
    let mut import = Import::default();
    let text = |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    if let Some(path) = env {
        environment::take(&mut import, &environment::read(&text(path)?));
    }
    if let Some(path) = jicofo {
        let document = hocon::read(&text(path)?).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
        jicofo::take(&mut import, &document);
    }
    Ok(import)
}

/// `amphi config import …`
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// A jicofo.conf
    #[arg(long, value_name = "FILE", required_unless_present = "env")]
    jicofo: Option<PathBuf>,
    /// The .env of Jitsi's containers; a jicofo.conf beside it wins
    #[arg(long, value_name = "FILE")]
    env: Option<PathBuf>,
    /// Where to write the configuration; standard output when left out. It may have passwords in it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl ImportArgs {
    /// Does it.
    pub fn run(&self) -> anyhow::Result<()> {
        let import = read(self.jicofo.as_deref(), self.env.as_deref())?;
        let text = import.toml();
        for (key, why) in import.unknown() {
            eprintln!("no counterpart: {key}: {why}");
        }
        let layers = crate::config::Layers { file: Some(("imported".to_owned(), text.clone())), ..Default::default() };
        if let Err(error) = layers.join().and_then(|l| crate::config::Config::check(&l)) {
            eprintln!("The configuration needs your hand before it is accepted:\n{error}");
        }
        match &self.out {
            None => print!("{text}"),
            Some(path) => {
                use std::io::Write as _;
                use std::os::unix::fs::OpenOptionsExt as _;
                let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                let mut file = file.with_context(|| format!("{}: is not overwritten", path.display()))?;
                file.write_all(text.as_bytes())?;
                eprintln!("{} is written; `amphi config check {}` goes on from here.", path.display(), path.display());
            }
        }
        Ok(())
    }
}

/// `15 seconds`, `24 hours`, `500ms`, and plain milliseconds, in our form.
fn span(text: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => "ms",
        "s" | "second" | "seconds" => "s",
        "m" | "minute" | "minutes" => "m",
        "h" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, FocusAuthentication, FocusPlace, Layers, Login, Peer, WhereNode};

    fn import(jicofo: &str, env: &str) -> Import {
        let mut import = Import::default();
        if !env.is_empty() {
            environment::take(&mut import, &environment::read(env));
        }
        if !jicofo.is_empty() {
            jicofo::take(&mut import, &hocon::read(jicofo).unwrap());
        }
        import
    }

    fn config(import: &Import) -> Config {
        let text = import.toml();
        let layers = Layers { file: Some(("i.toml".to_owned(), text.clone())), ..Layers::default() };
        let checked = layers.join().and_then(|l| Config::check(&l));
        checked.unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    #[test]
    fn spans_of_hocon_become_ours() {
        for (theirs, ours) in
            [("15 seconds", "15s"), ("24 hours", "24h"), ("1 minute", "1m"), ("90s", "90s"), ("250", "250ms")]
        {
            assert_eq!(span(theirs).as_deref(), Some(ours));
        }
        assert_eq!(span("soon"), None);
    }

    #[test]
    fn a_jicofo_configuration_becomes_ours() {
        let text = r#"
jicofo {
  authentication { enabled = true, type = JWT, login-url = "meet.example.com" }
  bridge {
    brewery-jid = "jvbbrewery@internal.auth.meet.example.com"
    selection-strategy = VisitorSelectionStrategy
    visitor-selection-strategy = RegionBasedBridgeSelectionStrategy
    topology-strategy = VisitorTopologyStrategy
    stress-threshold = 0.7
    region-groups = [["eu-west", "eu-central"], ["us"]]
  }
  codec.video { vp9.enabled = false, h264 { enabled = false } }
  conference { initial-timeout = 30 seconds, max-ssrcs-per-user = "40", enable-auto-owner = false, strip-simulcast = true }
  visitors { enabled = true, max-participants = 60, max-visitors-per-node = 500, require-muc-config-flag = true }
  octo { enabled = true, sctp-datachannels = true }
  jibri { brewery-jid = "jibribrewery@internal.auth.meet.example.com" }
  xmpp {
    trusted-domains = [ "recorder.meet.example.com" ]
    client { enabled = true, hostname = "localhost", port = 5222, domain = "auth.meet.example.com", xmpp-domain = "meet.example.com",
             username = focus, password = "s3cret", conference-muc-jid = conference.meet.example.com, client-proxy = "focus.meet.example.com" }
    visitors {
      v1 { enabled = true, hostname = 10.0.0.11, port = 5222, domain = auth.meet.jitsi, xmpp-domain = v1.meet.jitsi, conference-service = conference.v1.meet.jitsi, password = "s3cret" }
    }
  }
}
"#;
        let import = import(text, "");
        let c = config(&import);
        assert_eq!((c.domain.as_str(), c.stage, c.focus.max_visitors_per_node), ("meet.example.com", 60, 500));
        assert!(c.focus.require_muc_config_flag && !c.focus.auto_owner);
        assert_eq!(c.focus.authentication, FocusAuthentication::Jwt);
        assert_eq!(c.focus.initial_timeout.as_secs(), 30);
        assert_eq!(c.media.codecs, ["av1", "vp8"]);
        assert_eq!((c.media.overloaded_at, c.media.sources_per_participant), (70, 40));
        assert_eq!(c.media.region_groups, ["eu-west eu-central", "us"]);
        assert_eq!(c.focus.trusted_domains, ["recorder.meet.example.com"]);
        let main = Peer { address: "localhost:5222".to_owned(), fingerprint: None };
        assert_eq!(c.focus.place, FocusPlace::Here { main_c2s: Some(main) });
        assert!(
            matches!(&c.visitors.nodes[0].place, WhereNode::Elsewhere { c2s: Some(at), .. } if at == "10.0.0.11:5222")
        );
        let unknown: Vec<&str> = import.unknown().iter().map(|(k, _)| k.as_str()).collect();
        assert_eq!(unknown, ["jicofo.conference.strip-simulcast", "jicofo.jibri.brewery-jid"]);
    }

    #[test]
    fn the_environment_of_the_containers_becomes_ours() {
        let env = r#"
# a comment
CONFIG=~/.jitsi-meet-cfg
PUBLIC_URL=https://meet.example.com/
XMPP_DOMAIN=meet.example.com
XMPP_MUC_DOMAIN=muc.meet.example.com
ENABLE_VISITORS=1
ENABLE_LOBBY=0
VISITORS_MAX_PARTICIPANTS=40
VISITORS_MAX_VISITORS_PER_NODE="250"
VISITORS_XMPP_SERVER=a,b
JVB_PORT=12000
JVB_ADVERTISE_IPS=203.0.113.9,203.0.113.10#12001
JICOFO_AUTH_PASSWORD=focus-secret
JVB_AUTH_PASSWORD='jvb secret'
TURN_CREDENTIALS=turn-secret
TURN_HOST=turn.example.com
TURNS_HOST=turn.example.com
TURNS_PORT=443
ENABLE_AUTH=1
AUTH_TYPE=jwt
JWT_APP_ID=my-app
JWT_APP_SECRET=abc
JWT_ALLOW_EMPTY=1
ENABLE_RECORDING=1
JIGASI_SIP_URI=
"#;
        let import = import("", env);
        let c = config(&import);
        assert_eq!((c.domain.as_str(), c.muc_prefix.as_str(), c.stage), ("meet.example.com", "muc", 40));
        assert_eq!(c.listen.public_url.as_deref(), Some("https://meet.example.com"));
        assert_eq!((c.visitors.nodes.len(), c.lobby.is_some()), (2, false));
        let bridge = c.bridge.as_ref().unwrap();
        assert_eq!((bridge.said.port, bridge.mappings.len()), (12_000, 2));
        let services: Vec<_> = c.services.iter().map(|s| (s.kind, s.port)).collect();
        assert_eq!(services, [("turn", 443), ("turns", 443)]);
        let people = c.main.as_ref().unwrap().hosts.iter().find(|h| h.name == "meet.example.com").unwrap();
        assert!(matches!(&people.login, Login::Token(t) if t.app_id == "my-app" && t.allow_empty));
        let unknown: Vec<&str> = import.unknown().iter().map(|(k, _)| k.as_str()).collect();
        assert_eq!(unknown, ["ENABLE_RECORDING"]);
    }

    #[test]
    fn what_is_not_set_is_as_the_containers_have_it() {
        let c = config(&import("", "PUBLIC_URL=https://meet.example.com\n"));
        assert_eq!((c.domain.as_str(), c.muc_prefix.as_str()), ("meet.jitsi", "muc"));
        assert!(!c.visitors.enabled);
    }

    #[test]
    fn nothing_is_lost_silently() {
        let import = import("jicofo { no-such-key = 1 }\n", "NO_SUCH_VARIABLE=1\nTZ=UTC\n");
        let unknown: Vec<&str> = import.unknown().iter().map(|(k, _)| k.as_str()).collect();
        assert_eq!(unknown, ["NO_SUCH_VARIABLE", "jicofo.no-such-key"]);
        assert!(import.toml().contains("#   NO_SUCH_VARIABLE: "));
    }
}
