//! What the bridge tells of itself (`spec/bridge.md` 1.3, 7.1, 7.2): the statistics of presence and of `/colibri/stats`, and the figures of
//! `/metrics`. Collected from the other parts every few seconds; measures nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::colibri::Figures;
use super::settings::Identity;
use super::shared::Totals;
use super::shutdown::Phase;
use crate::plane::stats::{Counters, PlaneStats};

/// Everything that is told, at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// When.
    pub at: SystemTime,
    /// Who.
    pub identity: Arc<Identity>,
    /// Conferences and endpoints.
    pub figures: Figures,
    /// Counts of control.
    pub totals: Totals,
    /// The media plane.
    pub plane: PlaneStats,
    /// Rates since the report before.
    pub rates: Rates,
    /// 1 is full.
    pub stress: f64,
    /// What one more endpoint costs.
    pub per_endpoint: f64,
    /// Why the bridge is ill, if it is.
    pub illness: Option<String>,
    /// Drain mode.
    pub drain: bool,
    /// On the way to the end.
    pub phase: Phase,
    /// Logins: configured, connected; breweries: configured, joined.
    pub logins: [usize; 4],
}

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Bits received.
    pub bits_in: f64,
    /// Bits sent.
    pub bits_out: f64,
    /// Packets received.
    pub packets_in: f64,
    /// Packets sent.
    pub packets_out: f64,
}

impl Rates {
    /// Between two counts.
    pub fn between(before: &Counters, now: &Counters, passed: Duration) -> Self {
        let secs = passed.as_secs_f64();
        if secs <= 0.0 {
            return Self::default();
        }
        let rate = |a: u64, b: u64| b.saturating_sub(a) as f64 / secs;
        Self {
            bits_in: rate(before.bytes_received, now.bytes_received) * 8.0,
            bits_out: rate(before.bytes_sent, now.bytes_sent) * 8.0,
            packets_in: rate(before.datagrams_received, now.datagrams_received),
            packets_out: rate(before.datagrams_sent, now.datagrams_sent),
        }
    }
}

impl Report {
    /// What a focus reads (`spec/bridge.md` 1.3).
    pub fn presence(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("stress_level", format!("{:.4}", self.stress)),
            ("average_participant_stress", format!("{:.6}", self.per_endpoint)),
            ("healthy", self.illness.is_none().to_string()),
            ("drain", self.drain.to_string()),
            ("graceful_shutdown", (self.phase != Phase::Running).to_string()),
            ("shutting_down", matches!(self.phase, Phase::ShuttingDown | Phase::Over).to_string()),
            ("version", self.identity.version.clone()),
            ("colibri2", "true".to_owned()),
            ("current_timestamp", timestamp(self.at)),
        ];
        let optional = [
            ("release", &self.identity.release),
            ("region", &self.identity.region),
            ("relay_id", &self.identity.relay_id),
        ];
        all.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        all
    }

    /// The same with everything else that is known, for monitoring by presence.
    pub fn all(&self) -> Vec<(&'static str, String)> {
        let mut all = self.presence();
        all.extend(self.numbers().into_iter().map(|(name, n)| (name, n.to_string())));
        all
    }

    /// `/colibri/stats`.
    pub fn json(&self) -> Value {
        let mut out = Map::new();
        for (name, value) in self.presence() {
            let value = match name {
                "stress_level" => Value::from(self.stress),
                "average_participant_stress" => Value::from(self.per_endpoint),
                "healthy" | "drain" | "graceful_shutdown" | "shutting_down" | "colibri2" => {
                    Value::from(value == "true")
                }
                _ => Value::from(value),
            };
            out.insert(name.to_owned(), value);
        }
        for (name, n) in self.numbers() {
            out.insert(name.to_owned(), Value::from(n));
        }
        Value::Object(out)
    }

    fn numbers(&self) -> Vec<(&'static str, u64)> {
        let (f, t, p) = (&self.figures, &self.totals, &self.plane.total);
        let n = |n: usize| n as u64;
        vec![
            ("conferences", n(f.conferences)),
            ("octo_conferences", n(f.conferences_with_relay)),
            ("inactive_conferences", n(f.inactive_conferences)),
            ("p2p_conferences", n(f.p2p_conferences)),
            ("endpoints", n(f.endpoints)),
            ("participants", n(f.endpoints)),
            ("local_endpoints", n(f.local_endpoints)),
            ("local_active_endpoints", n(f.local_active_endpoints)),
            ("inactive_endpoints", n(f.local_endpoints - f.local_active_endpoints.min(f.local_endpoints))),
            ("visitors", n(f.visitors)),
            ("receive_only_endpoints", n(f.receive_only)),
            ("octo_endpoints", n(f.relayed_endpoints)),
            ("endpoints_sending_audio", n(f.sending_audio)),
            ("endpoints_sending_video", n(f.sending_video)),
            ("largest_conference", n(f.largest_conference)),
            ("bit_rate_download", (self.rates.bits_in / 1000.0) as u64),
            ("bit_rate_upload", (self.rates.bits_out / 1000.0) as u64),
            ("packet_rate_download", self.rates.packets_in as u64),
            ("packet_rate_upload", self.rates.packets_out as u64),
            ("muc_clients_configured", n(self.logins[0])),
            ("muc_clients_connected", n(self.logins[1])),
            ("mucs_configured", n(self.logins[2])),
            ("mucs_joined", n(self.logins[3])),
            ("threads", n(self.plane.shards.len())),
            ("total_conferences_created", t.conferences_created),
            ("total_conferences_completed", t.conferences_completed),
            ("total_conference_seconds", t.conference_seconds),
            ("total_participants", t.endpoints),
            ("total_visitors", t.visitors),
            ("total_relays", t.relays),
            ("total_ice_succeeded", t.ice_succeeded),
            ("total_ice_failed", t.transports_failed),
            ("endpoints_ice_failed", t.transports_failed),
            ("relays_ice_failed", t.relays_failed),
            ("endpoints_disconnected", t.endpoints_disconnected),
            ("num_eps_no_msg_transport_after_delay", t.endpoints_mute),
            ("num_relays_no_msg_transport_after_delay", t.relays_mute),
            ("total_dominant_speaker_changes", t.dominant_speaker_changes),
            ("total_layering_changes_received", t.layering_changes),
            ("total_data_channel_messages_received", t.data_messages_received),
            ("total_data_channel_messages_sent", t.data_messages_sent),
            ("total_colibri_web_socket_messages_received", t.socket_messages_received),
            ("total_colibri_web_socket_messages_sent", t.socket_messages_sent),
            ("total_bytes_received", p.bytes_received),
            ("total_bytes_sent", p.bytes_sent),
            ("total_packets_received", p.datagrams_received),
            ("total_packets_sent", p.datagrams_sent),
        ]
    }

    /// Gauges of `/metrics`, without prefix (`spec/bridge.md` 7.2).
    pub fn gauges(&self) -> Vec<(&'static str, &'static str, f64)> {
        let f = &self.figures;
        let n = |n: usize| n as f64;
        let flag = |b: bool| f64::from(u8::from(b));
        let busiest = self.plane.shards.iter().map(|s| s.longest_pass).max().unwrap_or_default();
        vec![
            ("stress", "Load; 1 is full", self.stress),
            ("healthy", "The bridge is well", flag(self.illness.is_none())),
            ("drain_mode", "Nothing new is to be placed here", flag(self.drain)),
            ("graceful_shutdown", "No new conferences are taken", flag(self.phase != Phase::Running)),
            (
                "shutting_down",
                "Endpoints are being moved away",
                flag(matches!(self.phase, Phase::ShuttingDown | Phase::Over)),
            ),
            ("muc_clients_configured", "Logins", n(self.logins[0])),
            ("muc_clients_connected", "Logins that are connected", n(self.logins[1])),
            ("mucs_configured", "Breweries", n(self.logins[2])),
            ("mucs_joined", "Breweries that are joined", n(self.logins[3])),
            ("conferences", "Conferences", n(f.conferences)),
            ("conferences_with_relay", "Conferences with a link to another bridge", n(f.conferences_with_relay)),
            ("conferences_inactive", "Conferences in which nobody is connected", n(f.inactive_conferences)),
            ("conferences_p2p", "Conferences of two", n(f.p2p_conferences)),
            ("largest_conference", "Endpoints of the largest conference", n(f.largest_conference)),
            ("current_endpoints", "Local and relayed endpoints", n(f.endpoints)),
            ("local_endpoints", "Endpoints of this bridge", n(f.local_endpoints)),
            ("active_endpoints", "Endpoints of this bridge whose transport is up", n(f.local_active_endpoints)),
            (
                "endpoints_inactive",
                "Endpoints of this bridge whose transport is not up",
                n(f.local_endpoints) - n(f.local_active_endpoints),
            ),
            ("current_visitors", "Visitors of this bridge", n(f.visitors)),
            ("endpoints_recvonly", "Endpoints of this bridge without sources", n(f.receive_only)),
            ("endpoints_sending_audio", "Endpoints of this bridge with audio", n(f.sending_audio)),
            ("endpoints_sending_video", "Endpoints of this bridge with video", n(f.sending_video)),
            ("endpoints_relayed", "Endpoints of other bridges", n(f.relayed_endpoints)),
            ("relays", "Links to other bridges", n(f.relays)),
            ("incoming_bitrate", "Bits received a second", self.rates.bits_in),
            ("outgoing_bitrate", "Bits sent a second", self.rates.bits_out),
            ("incoming_packet_rate", "Packets received a second", self.rates.packets_in),
            ("outgoing_packet_rate", "Packets sent a second", self.rates.packets_out),
            ("thread_count", "Threads that forward media", n(self.plane.shards.len())),
            ("longest_pass_seconds", "Longest pass of a media thread since the last report", busiest.as_secs_f64()),
        ]
    }

    /// Counters of `/metrics`, without prefix and suffix.
    pub fn counters(&self) -> Vec<(&'static str, &'static str, u64)> {
        let (t, p) = (&self.totals, &self.plane.total);
        vec![
            ("conferences_created", "Conferences that were created", t.conferences_created),
            ("conferences_completed", "Conferences that ended", t.conferences_completed),
            ("conference_seconds", "Seconds that ended conferences lasted", t.conference_seconds),
            ("endpoints", "Endpoints that were created", t.endpoints),
            ("visitors", "Visitors that were created", t.visitors),
            ("endpoints_disconnected", "Endpoints of which nothing was heard any more", t.endpoints_disconnected),
            (
                "endpoints_no_message_transport_after_delay",
                "Endpoints that were connected and opened no bridge channel",
                t.endpoints_mute,
            ),
            (
                "relays_no_message_transport_after_delay",
                "Relays that were connected and opened no bridge channel",
                t.relays_mute,
            ),
            ("ice_succeeded", "Transports that came up", t.ice_succeeded),
            ("endpoints_ice_failed", "Transports of endpoints that failed", t.transports_failed),
            ("relays_ice_failed", "Transports of relays that failed", t.relays_failed),
            ("ice_restarts_started", "ICE restarts that were asked for", t.restarts),
            ("dominant_speaker_changes", "New dominant speakers", t.dominant_speaker_changes),
            ("layering_changes_received", "Changes of layers that media showed", t.layering_changes),
            ("data_channel_messages_received", "Messages on data channels", t.data_messages_received),
            ("data_channel_messages_sent", "Messages sent on data channels", t.data_messages_sent),
            ("colibri_web_socket_messages_received", "Messages on WebSockets", t.socket_messages_received),
            ("colibri_web_socket_messages_sent", "Messages sent on WebSockets", t.socket_messages_sent),
            (
                "bridge_channel_messages_refused",
                "Messages that were too long, too many or made no sense",
                t.messages_refused,
            ),
            (
                "bridge_channels_told_again",
                "Endpoints told everything once more after a message was lost on a full data channel",
                t.channels_told_again,
            ),
            ("colibri2_requests", "Requests of the focus", t.requests),
            ("colibri2_requests_refused", "Requests of the focus that were refused", t.requests_refused),
            ("packets_received", "Datagrams received", p.datagrams_received),
            ("packets_sent", "Datagrams sent", p.datagrams_sent),
            ("bytes_received", "Bytes received", p.bytes_received),
            ("bytes_sent", "Bytes sent", p.bytes_sent),
        ]
    }
}

/// `2026-08-21 10:15:30.123`, UTC.
fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (h, m, s, ms) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}.{ms:03}")
}

/// Date of a day since 1970, by counting in eras of 400 years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let of_era = z % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            at: UNIX_EPOCH + Duration::from_millis(1_787_307_330_123),
            identity: Arc::new(super::super::settings::BridgeSettings::default().identity),
            figures: Figures::default(),
            totals: Totals::default(),
            plane: PlaneStats::default(),
            rates: Rates::default(),
            stress: 0.42,
            per_endpoint: 0.0002,
            illness: None,
            drain: false,
            phase: Phase::Graceful,
            logins: [1, 1, 2, 1],
        }
    }

    #[test]
    fn presence_says_what_a_focus_reads() {
        let r = report();
        let all = r.presence();
        let get = |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        assert_eq!(get("stress_level"), Some("0.4200"));
        assert_eq!(get("average_participant_stress"), Some("0.000200"));
        assert_eq!((get("healthy"), get("drain")), (Some("true"), Some("false")));
        assert_eq!((get("graceful_shutdown"), get("shutting_down")), (Some("true"), Some("false")));
        assert_eq!(get("current_timestamp"), Some("2026-08-21 10:15:30.123"));
        assert_eq!(get("relay_id"), None);
    }

    #[test]
    fn the_whole_list_is_json_with_types() {
        let j = report().json();
        assert_eq!(j["stress_level"], 0.42);
        assert_eq!(j["graceful_shutdown"], true);
        assert_eq!(j["mucs_joined"], 1);
        assert!(j["version"].is_string());
    }

    #[test]
    fn leap_days_are_days() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_513), (2026, 3, 1));
    }
}
