//! The outgoing side: telling a queue service elsewhere that a room is live (`spec/signaling.md` 4.11).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use amphi_stanza::BareJid;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::News;
use crate::http;
use crate::metrics::{Kind, Metrics};

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that wait for an answer at one time.
const AT_ONCE: usize = 16;

/// A queue service elsewhere.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Base URL, `http://host:port` and perhaps a path.
    pub url: String,
    /// How we show who we are; `None` sends no token.
    pub token: Option<ServiceToken>,
}

/// Tokens for a service (`spec/signaling.md` 2.5, at its end).
#[derive(Clone)]
pub struct ServiceToken {
    key: EncodingKey,
    /// Header `kid`.
    pub key_id: String,
    /// `iss`
    pub issuer: String,
    /// `aud`
    pub audience: String,
    /// How long one is valid.
    pub ttl: Duration,
    /// One that is valid for less than this is not used any more.
    pub threshold: Duration,
}

impl std::fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceToken")
            .field("key_id", &self.key_id)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl ServiceToken {
    /// RS256 with a private key in PEM form. Names are `jitsi`, as in the reference.
    ///
    /// # Errors
    /// If the key is none.
    pub fn rsa(pem: &[u8]) -> Result<Self, jsonwebtoken::errors::Error> {
        Ok(Self {
            key: EncodingKey::from_rsa_pem(pem)?,
            key_id: "jitsi".to_owned(),
            issuer: "jitsi".to_owned(),
            audience: "jitsi".to_owned(),
            ttl: Duration::from_secs(3600),
            threshold: Duration::from_secs(600),
        })
    }

    fn issue(&self, now: u64) -> Result<(String, u64), jsonwebtoken::errors::Error> {
        let exp = now + self.ttl.as_secs();
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::RS256) };
        let claims = serde_json::json!({ "iss": self.issuer, "aud": self.audience, "nbf": now, "exp": exp });
        Ok((jsonwebtoken::encode(&header, &claims, &self.key)?, exp))
    }
}

/// The client of the service.
#[derive(Debug)]
pub(crate) struct Service {
    settings: ServiceSettings,
    metrics: Arc<Metrics>,
    token: Mutex<Option<(String, u64)>>,
    turns: Semaphore,
}

impl Service {
    pub(crate) fn new(settings: ServiceSettings, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { settings, metrics, token: Mutex::default(), turns: Semaphore::new(AT_ONCE) })
    }

    fn bearer(&self) -> Result<Option<String>, jsonwebtoken::errors::Error> {
        let Some(t) = &self.settings.token else { return Ok(None) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut kept = self.token.lock();
        if let Some((token, exp)) = &*kept
            && *exp >= now + t.threshold.as_secs()
        {
            return Ok(Some(token.clone()));
        }
        let fresh = t.issue(now)?;
        let token = fresh.0.clone();
        *kept = Some(fresh);
        Ok(Some(token))
    }

    async fn go_live(&self, conference: &BareJid) {
        let Ok(_turn) = self.turns.acquire().await else { return };
        let kind = match tokio::time::timeout(PATIENCE, self.post(conference)).await {
            Ok(Ok(200)) => "ok",
            Ok(Ok(status)) => {
                tracing::warn!(%conference, status, "The queue service refused to go live.");
                "refused"
            }
            Ok(Err(e)) => {
                tracing::warn!(%conference, error = %e, "The queue service is out of reach.");
                "unreachable"
            }
            Err(_) => {
                tracing::warn!(%conference, "The queue service does not answer.");
                "timeout"
            }
        };
        self.metrics.queue_service.get_or_create(&Kind { kind }).inc();
    }

    async fn post(&self, conference: &BareJid) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
        let rest = self.settings.url.strip_prefix("http://").unwrap_or(&self.settings.url).trim_end_matches('/');
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = if path.is_empty() { "/golive".to_owned() } else { ["/", path, "/golive"].concat() };
        let body = serde_json::json!({ "conference": conference.as_str() }).to_string();
        let mut req =
            hyper::Request::post(path).header(header::HOST, host).header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = self.bearer()? {
            req = req.header(header::AUTHORIZATION, ["Bearer ", &token].concat());
        }
        let address = if host.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok()) {
            host.to_owned()
        } else {
            [host, ":80"].concat()
        };
        let (status, ..) = http::call(&address, req.body(Full::new(Bytes::from(body)))?, 2 * PATIENCE).await?;
        Ok(status.as_u16())
    }
}

/// Rooms of which the service was told.
pub(crate) struct Told {
    service: Arc<Service>,
    rooms: HashSet<BareJid>,
}

impl Told {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        Self { service, rooms: HashSet::new() }
    }

    /// Tells the service once in the life of a room.
    pub(crate) fn news(&mut self, n: &News) {
        match n.state {
            None => {
                self.rooms.remove(&n.room);
            }
            Some(s) if s.attended && s.live != Some(false) && self.rooms.insert(n.room.clone()) => {
                let (service, conference) = (self.service.clone(), n.shown.clone());
                tokio::spawn(async move { service.go_live(&conference).await });
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use amphi_room::LiveState;
    use base64::Engine as _;
    use jsonwebtoken::{DecodingKey, Validation};
    use prometheus_client::registry::Registry;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn news(attended: bool, live: Option<bool>) -> News {
        let (room, shown) = ("[acme]talk@conference.meet.example", "talk@conference.acme.meet.example");
        let state = Some(LiveState { attended, live });
        News { room: BareJid::parse(room).unwrap(), shown: BareJid::parse(shown).unwrap(), state }
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    async fn request(listener: &TcpListener) -> String {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"}") {
            assert!(socket.read_buf(&mut text).await.unwrap() > 0);
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn the_service_is_told_once_in_the_life_of_a_room_with_a_signed_token() {
        use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
        use aws_lc_rs::rsa::{KeyPair, KeySize};
        use aws_lc_rs::signature::KeyPair as _;
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let token = ServiceToken::rsa(pem("PRIVATE KEY", private.as_ref()).as_bytes()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let settings = ServiceSettings { url, token: Some(token) };
        let mut told = Told::new(Service::new(settings, Metrics::register(&mut Registry::default())));

        told.news(&news(false, Some(true)));
        told.news(&news(true, Some(false)));
        told.news(&news(true, Some(true)));
        told.news(&news(true, None));
        let text = request(&listener).await;
        assert!(text.starts_with("POST /base/golive HTTP/1.1\r\n"), "{text}");
        assert!(text.ends_with(r#"{"conference":"talk@conference.acme.meet.example"}"#), "{text}");
        let jwt = text.lines().find_map(|l| l.strip_prefix("authorization: Bearer ")).unwrap();
        assert_eq!(jsonwebtoken::decode_header(jwt).unwrap().kid.as_deref(), Some("jitsi"));
        let mut rules = Validation::new(Algorithm::RS256);
        rules.set_audience(&["jitsi"]);
        rules.set_issuer(&["jitsi"]);
        let verifier = DecodingKey::from_rsa_pem(pem("PUBLIC KEY", public.as_ref()).as_bytes()).unwrap();
        jsonwebtoken::decode::<serde_json::Value>(jwt, &verifier, &rules).unwrap();

        // Another room on the same listener would show a second request for the first one.
        told.news(&News { state: None, ..news(true, None) });
        told.news(&news(true, None));
        assert!(request(&listener).await.contains("golive"), "a new life, a new request");
    }
}
