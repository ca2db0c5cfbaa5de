//! `amphi ctl`: the command line of operators. Asks the admin API of a running server and prints tables for people, or what the
//! server said (`--json`). Exit codes: 0, 1 when the server refuses, cannot be reached, or its self-check finds an error.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::admin::{BASE, post};

/// `amphi ctl …`
#[derive(Debug, Args)]
pub struct CtlArgs {
    /// The operators' address of the server
    #[arg(long, global = true, default_value = "http://127.0.0.1:8888", env = "AMPHI_ADMIN_URL")]
    url: String,
    /// The token itself; better in a file or the environment, where no process list shows it
    #[arg(long, global = true, env = "AMPHI_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the token
    #[arg(long, global = true, value_name = "FILE", default_value = "data/admin-token")]
    token_file: PathBuf,
    /// Print what the server said, as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: CtlCommand,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum CtlCommand {
    /// The server at a glance
    Status,
    /// List rooms, the largest first
    Rooms {
        /// Only rooms with this in their address
        query: Option<String>,
    },
    /// Show a room
    Room {
        /// Its name or address
        room: String,
    },
    /// List the people of a room
    Who {
        /// Name or address of the room
        room: String,
        /// So many at most
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Tell why somebody is on stage or in the audience, and at which node
    Why {
        /// Name or address of the room
        room: String,
        /// Endpoint id
        id: String,
    },
    /// List the main node and the visitor nodes
    Nodes,
    /// List bridges
    Bridges,
    /// Take a visitor node or a bridge out of service: nobody new gets there
    Drain {
        /// Its name
        name: String,
        /// Bridges: also move away who is there
        #[arg(long = "move")]
        moves: bool,
    },
    /// Put a visitor node or a bridge back into service
    Undrain {
        /// Its name
        name: String,
    },
    /// Let a visitor come on stage
    Promote {
        /// Name or address of the room
        room: String,
        /// Endpoint id, or the address of a raised hand
        id: String,
    },
    /// Send somebody from the stage to the audience
    Demote {
        /// Name or address of the room
        room: String,
        /// Endpoint id
        id: String,
    },
    /// Throw somebody out
    Kick {
        /// Name or address of the room
        room: String,
        /// Endpoint id
        id: String,
        /// Shown to the person
        #[arg(long)]
        reason: Option<String>,
    },
    /// End a room for everybody
    End {
        /// Its name or address
        room: String,
        /// Clients come back by themselves
        #[arg(long)]
        silent: bool,
    },
    /// Show the log of events
    Events {
        /// Go on as events happen
        #[arg(long, short)]
        follow: bool,
        /// Only these kinds, with commas between
        #[arg(long)]
        kind: Option<String>,
        /// Only of this room
        #[arg(long)]
        room: Option<String>,
    },
    /// Look for what is missing or half configured
    Check,
}

impl CtlArgs {
    /// Does it.
    pub fn run(&self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(r) => r,
            Err(e) => return failed(&e.into()),
        };
        runtime.block_on(self.done()).unwrap_or_else(|e| failed(&e))
    }

    async fn done(&self) -> anyhow::Result<ExitCode> {
        let server = Server { base: format!("{}{BASE}", self.url.trim_end_matches('/')), token: self.token()? };
        let (answer, table): (Value, fn(&Value) -> String) = match &self.command {
            CtlCommand::Status => (server.get("/overview").await?, status),
            CtlCommand::Rooms { query } => {
                let query = query.as_ref().map_or(String::new(), |q| format!("&q={}", encoded(q)));
                (server.get(&format!("/rooms?limit=1000{query}")).await?, rooms)
            }
            CtlCommand::Room { room } => (server.get(&format!("/rooms/{}", encoded(room))).await?, room_text),
            CtlCommand::Who { room, limit } => {
                (server.get(&format!("/rooms/{}/occupants?limit={limit}", encoded(room))).await?, people)
            }
            CtlCommand::Why { room, id } => (server.get(&of_occupant(room, id, "why")).await?, why),
            CtlCommand::Nodes => (server.get("/nodes").await?, nodes),
            CtlCommand::Bridges => (server.get("/bridges").await?, bridges),
            CtlCommand::Drain { name, moves } => (server.drain(name, true, *moves).await?, drained),
            CtlCommand::Undrain { name } => (server.drain(name, false, false).await?, drained),
            CtlCommand::Promote { room, id } => {
                (server.post(&of_occupant(room, id, "promote"), json!({})).await?, done)
            }
            CtlCommand::Demote { room, id } => (server.post(&of_occupant(room, id, "demote"), json!({})).await?, done),
            CtlCommand::Kick { room, id, reason } => {
                (server.post(&of_occupant(room, id, "kick"), json!({ "reason": reason })).await?, done)
            }
            CtlCommand::End { room, silent } => {
                (server.ask("DELETE", &format!("/rooms/{}?silent={silent}", encoded(room)), None).await?, done)
            }
            CtlCommand::Events { follow, kind, room } => {
                let mut query = String::new();
                for (name, value) in [("kind", kind), ("room", room)] {
                    if let Some(v) = value {
                        let _ = write!(query, "&{name}={}", encoded(v));
                    }
                }
                let kept = server.get(&format!("/events?limit=200{query}")).await?;
                if *follow {
                    self.print(&kept, events);
                    server.follow(&query, &kept, self.json).await?;
                    return Ok(ExitCode::SUCCESS);
                }
                (kept, events)
            }
            CtlCommand::Check => {
                let answer = server.get("/check").await?;
                self.print(&answer, check);
                return Ok(if answer["ok"] == true { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        };
        self.print(&answer, table);
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, answer: &Value, table: fn(&Value) -> String) {
        if self.json {
            println!("{}", serde_json::to_string_pretty(answer).unwrap_or_default());
        } else {
            print!("{}", table(answer));
        }
    }

    fn token(&self) -> anyhow::Result<String> {
        if let Some(t) = &self.token {
            return Ok(t.clone());
        }
        let text = std::fs::read_to_string(&self.token_file).with_context(|| {
            format!(
                "no token: {} cannot be read. The server keeps it in its data_dir as admin-token; name it with --token-file, \
                 or set AMPHI_ADMIN_TOKEN",
                self.token_file.display()
            )
        })?;
        Ok(text.trim().to_owned())
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("amphi ctl: {error:#}");
    ExitCode::FAILURE
}

fn of_occupant(room: &str, id: &str, what: &str) -> String {
    format!("/rooms/{}/occupants/{}/{what}", encoded(room), encoded(id))
}

/// Percent-encoded as a part of a path or a query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            _ => drop(write!(out, "%{b:02X}")),
        }
    }
    out
}

struct Server {
    base: String,
    token: String,
}

impl Server {
    fn headers(&self, more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let more = more.iter().map(|(n, v)| (*n, (*v).to_owned()));
        std::iter::once(("authorization", format!("Bearer {}", self.token))).chain(more).collect()
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let headers = self.headers(&[("content-type", "application/json")]);
        let url = format!("{}{path}", self.base);
        let answer = post::request(method, &url, &headers, body.map_or(String::new(), |b| b.to_string())).await;
        let answer = answer.with_context(|| format!("{} cannot be reached", self.base.trim_end_matches(BASE)))?;
        let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
        match (answer.status, value) {
            (200, Some(v)) => Ok(v),
            (401, _) => bail!("the server does not accept this token"),
            (_, Some(v)) if v["error"].is_string() => bail!("{}", v["error"].as_str().unwrap_or_default()),
            (404, _) => {
                bail!("there is no admin API at {}: admin.enabled is false, or this is another server", self.base)
            }
            (status, _) => bail!("the server answered {status}"),
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask("GET", path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.ask("POST", path, Some(body)).await
    }

    /// A name is that of a node or of a bridge.
    async fn drain(&self, name: &str, drain: bool, moves: bool) -> anyhow::Result<Value> {
        let what = if drain { "drain" } else { "undrain" };
        let named = |list: &Value| list.as_array().is_some_and(|l| l.iter().any(|n| n["name"] == name));
        if named(&self.get("/nodes").await?["nodes"]) {
            if moves {
                bail!("{name} is a node; --move is for bridges. Visitors leave a drained node by themselves");
            }
            return self.post(&format!("/nodes/{}/{what}", encoded(name)), json!({})).await;
        }
        if named(&self.get("/bridges").await?["bridges"]) {
            return self.post(&format!("/bridges/{}/{what}", encoded(name)), json!({ "move": moves })).await;
        }
        Err(anyhow!("there is neither a node nor a bridge {name}"))
    }

    /// Prints events as they come, until the server ends.
    async fn follow(&self, query: &str, kept: &Value, as_json: bool) -> anyhow::Result<()> {
        let last = kept["events"].as_array().and_then(|e| e.last()).and_then(|e| e["id"].as_u64()).unwrap_or(0);
        let headers = self.headers(&[("accept", "text/event-stream"), ("last-event-id", &last.to_string())]);
        let url = format!("{}/events/stream?{}", self.base, query.trim_start_matches('&'));
        let mut answer = post::open("GET", &url, &headers, String::new()).await?;
        if answer.status() != 200 {
            bail!("the server answered {}", answer.status());
        }
        let mut text = String::new();
        while let Some(frame) = answer.frame().await {
            let frame = frame?;
            text.push_str(&String::from_utf8_lossy(frame.data_ref().map_or(&[], |d| &d[..])));
            while let Some((block, rest)) = text.split_once("\n\n") {
                let field = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
                match (field("event:"), field("data:")) {
                    (Some("sample") | None, _) | (_, None) => {}
                    (_, Some(data)) if as_json => println!("{data}"),
                    (_, Some(data)) => print!("{}", event_line(&serde_json::from_str(data).unwrap_or_default())),
                }
                text = rest.to_owned();
            }
        }
        bail!("the server ended the stream")
    }
}

// ---- tables ------------------------------------------------------------------------------------------------------------

/// Columns as wide as their widest cell.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).chain([head[i].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, w) in cells.zip(&widths) {
            let _ = write!(text, "{cell:w$}  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

/// A cell; control characters of names do not reach the terminal.
fn cell(v: &Value) -> String {
    let text = match v {
        Value::Null => "-".to_owned(),
        Value::String(s) => s.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn rows(list: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    list.as_array().into_iter().flatten().map(row).collect()
}

fn status(v: &Value) -> String {
    let mut out = String::new();
    let health = if v["healthy"] == true { "healthy".to_owned() } else { format!("ILL: {}", cell(&v["problem"])) };
    let _ = writeln!(out, "amphi {}, {}: {health}", cell(&v["version"]), cell(&v["domain"]));
    let _ = writeln!(out, "roles     {}", rows(&v["roles"], |r| vec![cell(r)]).concat().join(", "));
    for (name, key) in [("rooms", "rooms"), ("on stage", "stage"), ("audience", "audience"), ("sessions", "sessions")] {
        let _ = writeln!(out, "{name:9} {}", cell(&v[key]));
    }
    for key in ["nodes", "bridges"] {
        let _ = writeln!(out, "{key:9} {} of {} in service", cell(&v[key]["up"]), cell(&v[key]["total"]));
    }
    out
}

fn rooms(v: &Value) -> String {
    let nodes = |r: &Value| {
        let all = rows(&r["nodes"], |n| vec![format!("{}:{}", cell(&n["node"]), cell(&n["visitors"]))]);
        if all.is_empty() { "-".to_owned() } else { all.concat().join(" ") }
    };
    let row = |r: &Value| vec![cell(&r["room"]), cell(&r["stage"]), cell(&r["audience"]), cell(&r["hands"]), nodes(r)];
    table(&["ROOM", "STAGE", "AUDIENCE", "HANDS", "NODES"], &rows(&v["rooms"], row))
}

fn room_text(v: &Value) -> String {
    let mut out = String::new();
    for (name, key) in [
        ("room", "room"),
        ("meeting", "meeting_id"),
        ("on stage", "stage"),
        ("moderators", "moderators"),
        ("audience", "audience"),
        ("password", "has_password"),
        ("lobby", "members_only"),
        ("waiting", "waiting"),
        ("in lobby", "in_lobby"),
    ] {
        let _ = writeln!(out, "{name:11} {}", cell(&v[key]));
    }
    let node = |n: &Value| vec![cell(&n["node"]), cell(&n["visitors"]), cell(&n["pending"]), cell(&n["state"])];
    let nodes = rows(&v["nodes"], node);
    if !nodes.is_empty() {
        let _ = write!(out, "\n{}", table(&["NODE", "VISITORS", "UNDER WAY", "LINK"], &nodes));
    }
    let hands = rows(&v["hands_raised"], |h| vec![cell(&h["name"]), cell(&h["visitor"])]);
    if !hands.is_empty() {
        let _ = write!(out, "\n{}", table(&["HAND OF", "ADDRESS"], &hands));
    }
    out
}

fn people(v: &Value) -> String {
    let row = |o: &Value| {
        vec![
            cell(&o["id"]),
            cell(&o["place"]),
            cell(&o["node"]),
            cell(&o["role"]),
            cell(&o["bridge"]),
            cell(&o["name"]),
        ]
    };
    let all = rows(&v["occupants"], row);
    let mut out = table(&["ID", "PLACE", "NODE", "ROLE", "BRIDGE", "NAME"], &all);
    if v["total"].as_u64().is_some_and(|n| n > all.len() as u64) {
        let _ = writeln!(out, "… {} in all; --limit shows more", cell(&v["total"]));
    }
    out
}

fn why(v: &Value) -> String {
    let mut out = format!("{}\n", cell(&v["text"]));
    let row = |d: &Value| vec![clock(&d["at"]), cell(&d["place"]), cell(&d["node"]), cell(&d["why"])];
    let all = rows(&v["decisions"], row);
    if !all.is_empty() {
        let _ = write!(out, "\n{}", table(&["AT", "SENT TO", "NODE", "BECAUSE"], &all));
    }
    out
}

fn nodes(v: &Value) -> String {
    let row = |n: &Value| {
        let load = n["load"].as_f64().map_or("-".to_owned(), |l| format!("{:.0}%", l * 100.0));
        vec![
            cell(&n["name"]),
            cell(&n["kind"]),
            cell(&n["state"]),
            cell(&n["rooms"]),
            cell(&n["stage"]),
            cell(&n["visitors"]),
            cell(&n["capacity"]),
            load,
            match n["link"].as_bool() {
                Some(true) => "up".to_owned(),
                Some(false) => "down".to_owned(),
                None => "-".to_owned(),
            },
        ]
    };
    let head = ["NODE", "KIND", "STATE", "ROOMS", "STAGE", "VISITORS", "CAPACITY", "LOAD", "LINK"];
    table(&head, &rows(&v["nodes"], row))
}

fn bridges(v: &Value) -> String {
    let row = |b: &Value| {
        let rate =
            |key: &str| b["rates"][key].as_f64().map_or("-".to_owned(), |bits| format!("{:.1} Mbit/s", bits / 1e6));
        vec![
            cell(&b["name"]),
            cell(&b["state"]),
            format!("{:.0}%", b["stress"].as_f64().unwrap_or(0.0) * 100.0),
            cell(&b["endpoints"]),
            cell(&b["conferences"]),
            rate("bits_in"),
            rate("bits_out"),
            cell(&b["version"]),
        ]
    };
    let head = ["BRIDGE", "STATE", "LOAD", "ENDPOINTS", "ROOMS", "IN", "OUT", "VERSION"];
    table(&head, &rows(&v["bridges"], row))
}

fn drained(v: &Value) -> String {
    let name = if v["node"].is_string() { cell(&v["node"]) } else { cell(&v["bridge"]) };
    let state = if v["draining"] == true { "is drained: nobody new gets there" } else { "is in service" };
    match v["moved"].as_u64() {
        Some(n) => format!("{name} {state}; {n} endpoints are being moved away.\n"),
        None => format!("{name} {state}.\n"),
    }
}

fn done(_: &Value) -> String {
    "Done.\n".to_owned()
}

fn event_line(e: &Value) -> String {
    let about = ["room", "node", "endpoint"].map(|k| e[k].as_str().map(|_| cell(&e[k])));
    let about: Vec<String> = about.into_iter().flatten().collect();
    let kind = cell(&e["kind"]);
    format!("{}  {kind:14} {}  {}\n", clock(&e["at"]), cell(&e["text"]), about.join(" "))
}

fn events(v: &Value) -> String {
    v["events"].as_array().into_iter().flatten().map(event_line).collect()
}

fn check(v: &Value) -> String {
    let one =
        |f: &Value| format!("{}: {}\n  fix: {}\n", cell(&f["level"]).to_uppercase(), cell(&f["text"]), cell(&f["fix"]));
    let all: String = v["findings"].as_array().into_iter().flatten().map(one).collect();
    if all.is_empty() { "Nothing is missing.\n".to_owned() } else { all }
}

/// Time of day, UTC.
fn clock(at: &Value) -> String {
    let seconds = at.as_u64().unwrap_or(0) / 1000;
    format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_as_wide_as_their_cells() {
        let text = table(&["A", "LONG"], &[vec!["xyz".to_owned(), "1".to_owned()]]);
        assert_eq!(text, "A    LONG\nxyz  1\n");
    }

    #[test]
    fn names_cannot_control_the_terminal() {
        let v = json!({ "occupants": [{ "id": "a", "name": "\u{1b}[2Jx\n" }] });
        let text = people(&v);
        assert!(!text.contains('\u{1b}') && text.lines().count() == 2, "{text:?}");
    }

    #[test]
    fn parts_of_addresses_are_encoded() {
        assert_eq!(encoded("a@b/c d[é]"), "a%40b%2Fc%20d%5B%C3%A9%5D");
    }

    #[test]
    fn a_finding_is_told_with_its_fix() {
        let v = json!({ "ok": false, "findings": [{ "level": "error", "text": "No bridge.", "fix": "Start one." }] });
        assert_eq!(check(&v), "ERROR: No bridge.\n  fix: Start one.\n");
    }
}
