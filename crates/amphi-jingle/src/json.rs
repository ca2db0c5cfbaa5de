//! Sources in compact JSON (`spec/focus.md` 4.7): per owner video sources, video groups, audio sources, audio groups;
//! trailing empty lists are left out.

use serde_json::{Map, Value, json};

use crate::error::{ParseError, Result};
use crate::read::push;
use crate::{Limits, MediaSources, Semantics, Source, SourceMap, SourceSet, SsrcGroup, VideoType};

fn sources_json(m: &MediaSources) -> Value {
    let one = |s: &Source| {
        let mut o = Map::new();
        o.insert("s".to_owned(), json!(s.ssrc));
        if let Some(n) = &s.name {
            o.insert("n".to_owned(), json!(n));
        }
        if let Some(m) = &s.msid {
            o.insert("m".to_owned(), json!(m));
        }
        if s.video_type == Some(VideoType::Desktop) {
            o.insert("v".to_owned(), json!("d"));
        }
        Value::Object(o)
    };
    m.sources.iter().map(one).collect()
}

fn groups_json(m: &MediaSources) -> Value {
    let one = |g: &SsrcGroup| {
        let kind = match g.semantics {
            Semantics::Sim => "s",
            Semantics::Fid => "f",
            // Receivers know no other kind.
            Semantics::FecFr => return None,
        };
        Some(std::iter::once(json!(kind)).chain(g.ssrcs.iter().map(|s| json!(s))).collect())
    };
    m.groups.iter().filter_map(one).collect::<Vec<Value>>().into()
}

/// The lists of one owner.
pub fn set_to_json(set: &SourceSet) -> Value {
    let mut lists =
        vec![sources_json(&set.video), groups_json(&set.video), sources_json(&set.audio), groups_json(&set.audio)];
    while lists.last().is_some_and(|l| l.as_array().is_some_and(Vec::is_empty)) {
        lists.pop();
    }
    Value::Array(lists)
}

/// The text of a `json-message` that carries sources.
pub fn to_json<'a>(sources: impl IntoIterator<Item = (&'a str, &'a SourceSet)>) -> String {
    let all: Map<String, Value> = sources.into_iter().map(|(o, s)| (o.to_owned(), set_to_json(s))).collect();
    json!({ "sources": all }).to_string()
}

fn ssrc(v: Option<&Value>) -> Result<u32> {
    let n = match v {
        Some(Value::String(s)) => s.parse().ok(),
        Some(Value::Number(n)) => n.as_u64().and_then(|n| u32::try_from(n).ok()),
        _ => None,
    };
    n.filter(|n| *n > 0).ok_or(ParseError::Invalid("ssrc"))
}

fn string(o: &Map<String, Value>, key: &'static str, l: &Limits) -> Result<Option<String>> {
    match o.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) if s.len() <= l.value_bytes => Ok(Some(s.clone()).filter(|s| !s.is_empty())),
        Some(_) => Err(ParseError::Invalid(key)),
    }
}

fn truthy(v: &Value) -> bool {
    match v {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::String(s) => !s.is_empty(),
        Value::Number(n) => n.as_f64() != Some(0.0),
        _ => true,
    }
}

fn read_media(sources: Option<&Value>, groups: Option<&Value>, l: &Limits) -> Result<MediaSources> {
    let list = |v: Option<&Value>| match v {
        None => Ok(Vec::new()),
        Some(Value::Array(a)) => Ok(a.clone()),
        Some(_) => Err(ParseError::Invalid("sources")),
    };
    let mut m = MediaSources::default();
    for v in list(sources)? {
        let Value::Object(o) = &v else { return Err(ParseError::Invalid("source")) };
        let video_type = o.get("v").filter(|v| truthy(v)).map(|_| VideoType::Desktop);
        let s = Source {
            ssrc: ssrc(o.get("s"))?,
            name: string(o, "n", l)?,
            msid: string(o, "m", l)?,
            video_type,
            owner: None,
        };
        push(&mut m.sources, s, l.sources, "sources")?;
    }
    for v in list(groups)? {
        let Value::Array(a) = &v else { return Err(ParseError::Invalid("group")) };
        let semantics = match a.first().and_then(Value::as_str) {
            Some("s") => Semantics::Sim,
            Some("f") => Semantics::Fid,
            _ => return Err(ParseError::Unknown("group semantics")),
        };
        let mut g = SsrcGroup { semantics, ssrcs: Vec::new() };
        for s in &a[1..] {
            push(&mut g.ssrcs, ssrc(Some(s))?, l.groups, "sources of a group")?;
        }
        push(&mut m.groups, g, l.groups, "groups")?;
    }
    Ok(m)
}

/// Reads the text of a `json-message`; `None` if it is about something else than sources.
///
/// # Errors
/// If it is about sources and not valid.
pub fn from_json(text: &str, l: &Limits) -> Result<Option<SourceMap>> {
    let Ok(Value::Object(o)) = serde_json::from_str(text) else { return Err(ParseError::Invalid("json-message")) };
    let Some(sources) = o.get("sources") else { return Ok(None) };
    let Value::Object(sources) = sources else { return Err(ParseError::Invalid("sources")) };
    if sources.len() > l.owners {
        return Err(ParseError::TooMany("owners"));
    }
    let mut map = SourceMap::new();
    for (owner, lists) in sources {
        let Value::Array(a) = lists else { return Err(ParseError::Invalid("sources")) };
        let set = SourceSet { video: read_media(a.first(), a.get(1), l)?, audio: read_media(a.get(2), a.get(3), l)? };
        map.insert(owner.clone(), set);
    }
    Ok(Some(map))
}
