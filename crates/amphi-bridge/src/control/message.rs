//! JSON of the bridge channel (`spec/bridge.md` 3.2), both directions. Reads what clients and other bridges say into
//! [`Incoming`], writes [`Outgoing`]. What endpoints say to each other passes as it came; only its sender is set here.

use std::sync::Arc;

use amphi_media::allocation::ConstraintsUpdate;
use amphi_media::conference::{AudioSubscription, Incoming, Mapped, Outgoing};
use amphi_media::source::VideoType;
use bytes::Bytes;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// Longest message that is read.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Longest name of a source or endpoint.
const MAX_NAME: usize = 128;
/// Most fields of one object; LJM sends about ten.
const MAX_FIELDS: usize = 512;

/// Why a message is not acted on. The channel stays open.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not JSON, a duplicate key, or a field of the wrong type.
    #[error("malformed message: {0}")]
    Json(#[from] serde_json::Error),
    /// No such message.
    #[error("unknown colibriClass {0:?}")]
    UnknownClass(String),
    /// A value that is missing or out of range.
    #[error("{field}: {reason}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// Too long.
    #[error("message of {0} bytes")]
    TooLong(usize),
}

/// The fields of an object in order; a key that comes twice is an error.
struct Fields<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Fields<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(String, T)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if fields.len() == MAX_FIELDS {
                        return Err(serde::de::Error::custom("too many fields"));
                    }
                    if fields.iter().any(|(it, _)| *it == key) {
                        return Err(serde::de::Error::custom("duplicate key"));
                    }
                    fields.push((key, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object(std::marker::PhantomData))
    }
}

type Raw<'a> = Fields<&'a RawValue>;

impl Raw<'_> {
    /// A field, if it is there and not null.
    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, MessageError> {
        let field = self.0.iter().find(|(it, _)| it == key).map(|(_, raw)| raw.get()).filter(|raw| *raw != "null");
        Ok(field.map(serde_json::from_str).transpose()?)
    }

    fn need<T: DeserializeOwned>(&self, key: &'static str) -> Result<T, MessageError> {
        self.get(key)?.ok_or(MessageError::Value { field: key, reason: "is missing" })
    }

    /// A whole number; JavaScript has no such type, so a fraction is cut off.
    fn int(&self, key: &'static str) -> Result<Option<i64>, MessageError> {
        let Some(number) = self.get::<serde_json::Number>(key)? else { return Ok(None) };
        let cut = || number.as_f64().filter(|it| it.abs() < 9e15).map(|it| it as i64);
        let whole = number.as_i64().or_else(cut);
        whole.map(Some).ok_or(MessageError::Value { field: key, reason: "is out of range" })
    }

    fn name(&self, key: &'static str) -> Result<Option<Arc<str>>, MessageError> {
        self.get::<String>(key)?.map(|it| name(key, it)).transpose()
    }

    fn need_name(&self, key: &'static str) -> Result<Arc<str>, MessageError> {
        self.name(key)?.ok_or(MessageError::Value { field: key, reason: "is missing" })
    }

    fn names(&self, key: &'static str) -> Result<Option<Vec<Arc<str>>>, MessageError> {
        let Some(list) = self.get::<Vec<String>>(key)? else { return Ok(None) };
        list.into_iter().map(|it| name(key, it)).collect::<Result<_, _>>().map(Some)
    }

    /// All fields but the class and the sender, as they came, without braces.
    fn others(&self) -> Result<Bytes, MessageError> {
        let mut out = Vec::new();
        for (key, raw) in self.0.iter().filter(|(key, _)| key != "colibriClass" && key != "from") {
            if !out.is_empty() {
                out.push(b',');
            }
            serde_json::to_writer(&mut out, key)?;
            out.push(b':');
            out.extend_from_slice(raw.get().as_bytes());
        }
        Ok(out.into())
    }
}

fn name(field: &'static str, text: String) -> Result<Arc<str>, MessageError> {
    if text.len() > MAX_NAME {
        return Err(MessageError::Value { field, reason: "a name is too long" });
    }
    Ok(text.into())
}

/// -1 is no limit, 0 is off, other negative values are invalid.
fn height(field: &'static str, raw: &RawValue) -> Result<Option<i32>, MessageError> {
    let Fields(fields): Raw<'_> = serde_json::from_str(raw.get())?;
    let limits = Fields(fields);
    let rate = limits.get::<f64>("maxFrameRate")?.unwrap_or(-1.0);
    let height = limits.int("maxHeight")?;
    if height.is_some_and(|it| it < -1) || (rate < 0.0 && rate != -1.0) {
        return Err(MessageError::Value { field, reason: "negative limits other than -1 mean nothing" });
    }
    Ok(height.map(|it| i32::try_from(it).unwrap_or(i32::MAX)))
}

/// Reads one message.
pub fn parse(text: &str) -> Result<Incoming, MessageError> {
    if text.len() > MAX_MESSAGE {
        return Err(MessageError::TooLong(text.len()));
    }
    let fields: Raw<'_> = serde_json::from_str(text)?;
    let class: String = fields.need("colibriClass")?;
    Ok(match &*class {
        "ClientHello" => Incoming::ClientHello,
        "ServerHello" => Incoming::ServerHello { version: fields.name("version")? },
        "ReceiverVideoConstraints" => Incoming::VideoConstraints(constraints(&fields)?),
        "LastNChangedEvent" => Incoming::VideoConstraints(ConstraintsUpdate {
            last_n: Some(last_n(&fields)?.ok_or(MessageError::Value { field: "lastN", reason: "is missing" })?),
            ..ConstraintsUpdate::default()
        }),
        "ReceiverAudioSubscription" => Incoming::AudioSubscription(subscription(&fields)?),
        "SourceVideoTypeMessage" => Incoming::VideoType {
            endpoint: fields.name("endpointId")?,
            source: Some(fields.need_name("sourceName")?),
            video_type: video_type(&fields)?,
        },
        "VideoTypeMessage" => Incoming::VideoType { endpoint: None, source: None, video_type: video_type(&fields)? },
        "EndpointMessage" => Incoming::EndpointMessage {
            to: fields.name("to")?.filter(|it| !it.is_empty()),
            from: fields.name("from")?,
            fields: fields.others()?,
        },
        "EndpointStats" => Incoming::EndpointStats { from: fields.name("from")?, fields: fields.others()? },
        "EndpointConnectivityStatusChangeEvent" => Incoming::Connectivity {
            endpoint: fields.need_name("endpoint")?,
            active: match &*fields.need::<String>("active")? {
                "true" => true,
                "false" => false,
                _ => return Err(MessageError::Value { field: "active", reason: "is neither true nor false" }),
            },
        },
        "SyntheticSourceSendingChangeEvent" => Incoming::SyntheticSending {
            source: fields.need_name("sourceName")?,
            sending: fields.need("sending")?,
            timestamp: fields.need("timestamp")?,
        },
        "AddReceiver" => {
            let limits: Box<RawValue> = fields.need("videoConstraints")?;
            Incoming::AddReceiver {
                bridge: fields.need_name("bridgeId")?,
                source: fields.need_name("sourceName")?,
                max_height: height("videoConstraints", &limits)?
                    .ok_or(MessageError::Value { field: "videoConstraints", reason: "maxHeight is missing" })?,
            }
        }
        _ => return Err(MessageError::UnknownClass(class.chars().take(MAX_NAME).collect())),
    })
}

fn constraints(fields: &Raw<'_>) -> Result<ConstraintsUpdate, MessageError> {
    let default: Option<Box<RawValue>> = fields.get("defaultConstraints")?;
    let default_max_height = default.map(|raw| height("defaultConstraints", &raw)).transpose()?.flatten();
    let listed: Option<Fields<Box<RawValue>>> = fields.get("constraints")?;
    let max_heights = listed
        .map(|Fields(list)| {
            // A source that is listed without a height is not limited.
            let one = |(key, raw): (String, Box<RawValue>)| {
                Ok((name("constraints", key)?, height("constraints", &raw)?.unwrap_or(-1)))
            };
            list.into_iter().map(one).collect::<Result<Vec<_>, MessageError>>()
        })
        .transpose()?;
    Ok(ConstraintsUpdate {
        last_n: last_n(fields)?,
        on_stage: fields.names("onStageSources")?,
        selected: fields.names("selectedSources")?,
        default_max_height,
        max_heights,
        assumed_bandwidth: fields.int("assumedBandwidthBps")?,
    })
}

fn last_n(fields: &Raw<'_>) -> Result<Option<i32>, MessageError> {
    let n = fields.int("lastN")?;
    if n.is_some_and(|n| n < -1) {
        return Err(MessageError::Value { field: "lastN", reason: "negative numbers other than -1 mean nothing" });
    }
    Ok(n.map(|n| i32::try_from(n).unwrap_or(i32::MAX)))
}

fn subscription(fields: &Raw<'_>) -> Result<AudioSubscription, MessageError> {
    let Some(mode) = fields.get::<String>("mode")? else {
        let all = fields.get("all")?.unwrap_or(false);
        let (include, exclude) = (fields.names("include")?, fields.names("exclude")?);
        return Ok(AudioSubscription::new(all, include.unwrap_or_default(), exclude.unwrap_or_default()));
    };
    let list = fields.names("list")?.unwrap_or_default();
    Ok(match &*mode.to_ascii_lowercase() {
        "all" => AudioSubscription::new(true, Vec::new(), Vec::new()),
        "none" => AudioSubscription::new(false, Vec::new(), Vec::new()),
        "include" => AudioSubscription::new(false, list, Vec::new()),
        "exclude" => AudioSubscription::new(true, Vec::new(), list),
        _ => return Err(MessageError::Value { field: "mode", reason: "is none of All, None, Include, Exclude" }),
    })
}

fn video_type(fields: &Raw<'_>) -> Result<VideoType, MessageError> {
    let text: String = fields.need("videoType")?;
    VideoType::parse(&text).ok_or(MessageError::Value { field: "videoType", reason: "is not known" })
}

/// What is written, field by field as on the wire.
#[derive(Serialize)]
#[serde(tag = "colibriClass")]
#[serde(rename_all_fields = "camelCase")]
enum Wire<'a> {
    ServerHello {
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<&'a str>,
    },
    SenderSourceConstraints {
        source_name: &'a str,
        max_height: i32,
    },
    ForwardedSources {
        forwarded_sources: Vec<&'a str>,
    },
    VideoSourcesMap {
        mapped_sources: Vec<WireMapped<'a>>,
    },
    AudioSourcesMap {
        mapped_sources: Vec<WireMapped<'a>>,
    },
    DominantSpeakerEndpointChangeEvent {
        dominant_speaker_endpoint: &'a str,
        previous_speakers: Vec<&'a str>,
        silence: bool,
    },
    EndpointConnectivityStatusChangeEvent {
        endpoint: &'a str,
        /// A string, not a boolean.
        active: &'a str,
    },
    ConnectionStats {
        estimated_downlink_bandwidth: u64,
    },
    SyntheticSourceSendingChangeEvent {
        source_name: &'a str,
        sending: bool,
        timestamp: u32,
    },
    SourceVideoTypeMessage {
        endpoint_id: &'a str,
        source_name: &'a str,
        video_type: &'a str,
    },
    AddReceiver {
        bridge_id: &'a str,
        source_name: &'a str,
        video_constraints: WireLimits,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireLimits {
    max_height: i32,
    max_frame_rate: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireMapped<'a> {
    source: &'a str,
    owner: &'a str,
    ssrc: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtx: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mid: Option<String>,
}

fn mapped(list: &[Mapped], prefix: char) -> Vec<WireMapped<'_>> {
    let one = |it: &'_ Mapped| it.mid.map(|slot| format!("{prefix}{slot}"));
    list.iter()
        .map(|it| WireMapped {
            source: &it.source,
            owner: &it.owner,
            ssrc: it.ssrc,
            rtx: it.rtx,
            video_type: it.video_type.map(VideoType::as_str),
            mid: one(it),
        })
        .collect()
}

/// Writes one message. `version` is announced in ServerHello.
pub fn write(message: &Outgoing, version: Option<&str>) -> Arc<str> {
    let wire = match message {
        Outgoing::ServerHello => Wire::ServerHello { version },
        Outgoing::RelayHello => Wire::ServerHello { version: Some(amphi_media::conference::WISHES_TOLD) },
        Outgoing::SenderConstraints { source, max_height } => {
            Wire::SenderSourceConstraints { source_name: source, max_height: *max_height }
        }
        Outgoing::ForwardedSources(sources) => {
            Wire::ForwardedSources { forwarded_sources: sources.iter().map(|it| &**it).collect() }
        }
        Outgoing::VideoSourcesMap(list) => Wire::VideoSourcesMap { mapped_sources: mapped(list, 'v') },
        Outgoing::AudioSourcesMap(list) => Wire::AudioSourcesMap { mapped_sources: mapped(list, 'a') },
        Outgoing::DominantSpeaker { dominant, previous, silence } => Wire::DominantSpeakerEndpointChangeEvent {
            dominant_speaker_endpoint: dominant,
            previous_speakers: previous.iter().map(|it| &**it).collect(),
            silence: *silence,
        },
        Outgoing::Connectivity { endpoint, active } => {
            Wire::EndpointConnectivityStatusChangeEvent { endpoint, active: if *active { "true" } else { "false" } }
        }
        Outgoing::ConnectionStats { bandwidth } => Wire::ConnectionStats { estimated_downlink_bandwidth: *bandwidth },
        Outgoing::SyntheticSending { source, sending, timestamp } => {
            Wire::SyntheticSourceSendingChangeEvent { source_name: source, sending: *sending, timestamp: *timestamp }
        }
        Outgoing::VideoType { endpoint, source, video_type } => {
            Wire::SourceVideoTypeMessage { endpoint_id: endpoint, source_name: source, video_type: video_type.as_str() }
        }
        Outgoing::AddReceiver { bridge, source, max_height } => Wire::AddReceiver {
            bridge_id: bridge,
            source_name: source,
            video_constraints: WireLimits { max_height: *max_height, max_frame_rate: -1.0 },
        },
        Outgoing::EndpointMessage { from, fields } => return passed_on("EndpointMessage", from, fields),
        Outgoing::EndpointStats { from, fields } => return passed_on("EndpointStats", from, fields),
    };
    // Strings and numbers only: nothing here can fail to be written.
    serde_json::to_string(&wire).unwrap_or_default().into()
}

/// What an endpoint said, with its sender.
fn passed_on(class: &str, from: &str, fields: &[u8]) -> Arc<str> {
    let fields = String::from_utf8_lossy(fields);
    let from = serde_json::to_string(from).unwrap_or_default();
    let comma = if fields.is_empty() { "" } else { "," };
    format!("{{\"colibriClass\":\"{class}\",\"from\":{from}{comma}{fields}}}").into()
}

#[cfg(test)]
mod tests;
