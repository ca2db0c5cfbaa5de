//! Certificates from an authority that speaks ACME (RFC 8555): proves by HTTP-01 that the names are ours, keeps what it gets, renews it in
//! time. The front notices a new certificate by itself (`amphi_signal`); links between servers have certificates of their own.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus,
    RetryPolicy,
};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

use crate::config::Acme;

/// How often the end of the certificate is looked at.
const LOOK: Duration = Duration::from_secs(3600);
/// Pause after a failed attempt; it doubles up to [`PAUSE_MAX`]. Authorities bound how often one may fail in an hour.
const PAUSE: Duration = Duration::from_secs(15 * 60);
const PAUSE_MAX: Duration = Duration::from_secs(12 * 3600);

/// What the authority asks for, by its token.
type Proofs = Arc<Mutex<HashMap<String, String>>>;

/// Tasks that end when this is dropped.
pub(crate) struct Renewal(Vec<tokio::task::AbortHandle>);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

/// Begins: answers the authority, and gets a certificate whenever one is due.
pub(crate) async fn start(acme: Acme) -> anyhow::Result<Renewal> {
    let proofs = Proofs::default();
    let listener = TcpListener::bind(acme.listen).await.with_context(|| format!("tls.acme.listen: {}", acme.listen))?;
    let router = routes(proofs.clone(), acme.domains.clone());
    let served = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "HTTP for the certificate authority has ended.");
        }
    });
    let renewed = tokio::spawn(renew(acme, proofs));
    Ok(Renewal(vec![served.abort_handle(), renewed.abort_handle()]))
}

/// Makes the folder fit to be read: a certificate without its key would keep the server from starting.
pub(crate) fn prepare(dir: &Path) {
    let (chain, key) = paths(dir);
    if chain.exists() && !fits(&chain, &key) {
        tracing::warn!(dir = %dir.display(), "The certificate kept there has another key; both are made anew.");
        let _ = fs::remove_file(chain);
        let _ = fs::remove_file(key);
    }
}

fn paths(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("certificate.pem"), dir.join("key.pem"))
}

fn fits(chain: &Path, key: &Path) -> bool {
    let certificates: Result<Vec<_>, _> = match CertificateDer::pem_file_iter(chain) {
        Ok(all) => all.collect(),
        Err(_) => return false,
    };
    let (Ok(certificates), Ok(key)) = (certificates, PrivateKeyDer::from_pem_file(key)) else { return false };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    rustls::sign::CertifiedKey::from_der(certificates, key, &provider).is_ok()
}

// ---- HTTP ----------------------------------------------------------------------------------------------------------------

#[derive(Clone)]
struct Site {
    proofs: Proofs,
    domains: Arc<[String]>,
}

fn routes(proofs: Proofs, domains: Vec<String>) -> Router {
    Router::new()
        .route("/.well-known/acme-challenge/{token}", get(proof))
        .fallback(elsewhere)
        .with_state(Site { proofs, domains: domains.into() })
}

/// RFC 8555, 8.3.
async fn proof(State(site): State<Site>, UrlPath(token): UrlPath<String>) -> Response {
    match site.proofs.lock().get(&token) {
        Some(proof) => ([(header::CONTENT_TYPE, "application/octet-stream")], proof.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// People who typed the address without `https` come here.
async fn elsewhere(State(site): State<Site>, uri: Uri, headers: HeaderMap) -> Response {
    let asked = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let asked = asked.split(':').next().unwrap_or_default();
    // To names of ours alone.
    let host = site.domains.iter().find(|d| d.eq_ignore_ascii_case(asked)).or_else(|| site.domains.first());
    let Some(host) = host else { return StatusCode::NOT_FOUND.into_response() };
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, format!("https://{host}{path}"))]).into_response()
}

// ---- renewal -------------------------------------------------------------------------------------------------------------

async fn renew(acme: Acme, proofs: Proofs) {
    let mut pause = PAUSE;
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wait = match left(&acme, now) {
            Err(why) => {
                tracing::info!(domains = ?acme.domains, authority = %acme.directory, "Getting a certificate: {why}.");
                let outcome = order(&acme, &proofs).await;
                proofs.lock().clear();
                match outcome {
                    Ok(()) => {
                        tracing::info!(dir = %acme.dir.display(), "A certificate has come. The front shows it within ten seconds.");
                        pause = PAUSE;
                        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                        left(&acme, now).map_or(PAUSE, |left| left.clamp(Duration::from_secs(1), LOOK))
                    }
                    Err(error) => {
                        tracing::error!(error = %format_args!("{error:#}"), again_in = ?pause, "No certificate has come. The authority must reach port 80 of every name, and DNS must lead here.");
                        let wait = pause;
                        pause = (pause * 2).min(PAUSE_MAX);
                        wait
                    }
                }
            }
            // By the clock of the wall, which may be set: not for long at a time.
            Ok(left) => left.clamp(Duration::from_secs(1), LOOK),
        };
        tokio::time::sleep(wait).await;
    }
}

/// How long the certificate that is there does; an error says why one is due.
fn left(acme: &Acme, now: Duration) -> Result<Duration, &'static str> {
    let (chain, _) = paths(&acme.dir);
    let der = CertificateDer::from_pem_file(chain).map_err(|_| "there is none yet")?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|_| "the kept one is broken")?;
    if certificate.subject() == certificate.issuer() {
        return Err("there is only the one made here");
    }
    let names = certificate.subject_alternative_name().ok().flatten();
    let has = |domain: &String| {
        names.iter().flat_map(|n| &n.value.general_names).any(
            |name| matches!(name, x509_parser::extensions::GeneralName::DNSName(n) if n.eq_ignore_ascii_case(domain)),
        )
    };
    if !acme.domains.iter().all(has) {
        return Err("the kept one lacks a name");
    }
    let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
    // A third of short-lived ones is left to them, whatever the configuration says.
    let begin = u64::try_from(certificate.validity().not_before.timestamp()).unwrap_or_default();
    let before = acme.renew_before.min(Duration::from_secs(end.saturating_sub(begin) / 3));
    let left = Duration::from_secs(end).saturating_sub(before).saturating_sub(now);
    if left.is_zero() { Err("the kept one ends soon") } else { Ok(left) }
}

async fn order(acme: &Acme, proofs: &Proofs) -> anyhow::Result<()> {
    let account = account(acme).await?;
    let names: Vec<Identifier> = acme.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await.context("the order")?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.context("an authorization")?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => bail!("the authority says {other:?} of {}", authorization.identifier()),
        }
        let mut challenge =
            authorization.challenge(ChallengeType::Http01).context("the authority does not offer HTTP-01")?;
        let (token, proof) = (challenge.token.clone(), challenge.key_authorization().as_str().to_owned());
        proofs.lock().insert(token, proof);
        challenge.set_ready().await.context("the challenge")?;
    }
    let retries = RetryPolicy::default();
    let status = order.poll_ready(&retries).await.context("waiting for the authority")?;
    if status != OrderStatus::Ready {
        bail!("{}", refusal(&mut order).await);
    }
    let key = order.finalize().await.context("the request for the certificate")?;
    let chain = order.poll_certificate(&retries).await.context("the certificate")?;
    keep(&acme.dir, &chain, &key)
}

/// What the authority says was wrong.
async fn refusal(order: &mut instant_acme::Order) -> String {
    let mut words = vec!["the authority is not convinced".to_owned()];
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let errors = authorization.challenges.iter().filter_map(|c| c.error.as_ref());
        words.extend(errors.map(|e| format!("{name}: {e}")));
    }
    words.join("; ")
}

/// The account of before, or a new one, which is kept.
async fn account(acme: &Acme) -> anyhow::Result<Account> {
    let builder = || match &acme.directory_ca {
        Some(pem) => Account::builder_with_root(pem),
        None => Account::builder(),
    };
    let path = acme.dir.join("account.json");
    let kept: Option<(String, AccountCredentials)> =
        fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    if let Some((directory, credentials)) = kept
        && directory == acme.directory
    {
        return builder()?.from_credentials(credentials).await.context("the kept account");
    }
    let contact: Vec<String> = acme.email.iter().map(|e| format!("mailto:{e}")).collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) =
        builder()?.create(&new, acme.directory.clone(), None).await.context("a new account")?;
    write(&path, &serde_json::to_string(&(&acme.directory, &credentials))?)?;
    Ok(account)
}

/// The key first: the front looks again when the certificate changes.
fn keep(dir: &Path, chain: &str, key: &str) -> anyhow::Result<()> {
    let (to_chain, to_key) = paths(dir);
    let new = |path: &Path| path.with_extension("new");
    write(&new(&to_key), key)?;
    write(&new(&to_chain), chain)?;
    fs::rename(new(&to_key), to_key)?;
    fs::rename(new(&to_chain), to_chain)?;
    Ok(())
}

/// Readable by its owner alone.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    let _ = fs::remove_file(path);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut f| f.write_all(text.as_bytes())).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("amphi-acme-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn acme(&self, domains: &[&str]) -> Acme {
            Acme {
                domains: domains.iter().map(|d| (*d).to_owned()).collect(),
                email: None,
                directory: "https://acme.example/directory".to_owned(),
                directory_ca: None,
                listen: ([127, 0, 0, 1], 0).into(),
                renew_before: Duration::from_secs(30 * DAY),
                dir: self.0.clone(),
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const DAY: u64 = 24 * 3600;

    /// A chain and key for a name, from an authority unless it signs itself; good for the 90 days after 2026-01-01.
    fn certificate(name: &str, itself: bool) -> (String, String) {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = if itself {
            params.self_signed(&key).unwrap()
        } else {
            let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
            authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
            let issuer = rcgen::Issuer::new(authority, rcgen::KeyPair::generate().unwrap());
            params.signed_by(&key, &issuer).unwrap()
        };
        (made.pem(), key.serialize_pem())
    }

    #[test]
    fn a_certificate_is_due_when_there_is_none_when_names_lack_and_before_it_ends() {
        let folder = Folder::new("due");
        let acme = folder.acme(&["meet.example.com"]);
        let day = |n: u64| Duration::from_secs(1_767_225_600 + n * DAY);
        assert_eq!(left(&acme, day(0)), Err("there is none yet"));
        let (chain, key) = certificate("meet.example.com", true);
        keep(&folder.0, &chain, &key).unwrap();
        assert_eq!(left(&acme, day(0)), Err("there is only the one made here"));
        let (chain, key) = certificate("meet.example.com", false);
        keep(&folder.0, &chain, &key).unwrap();
        assert_eq!(left(&acme, day(1)), Ok(Duration::from_secs(59 * DAY)));
        assert_eq!(left(&acme, day(59)), Ok(Duration::from_secs(DAY)));
        assert_eq!(left(&acme, day(61)), Err("the kept one ends soon"));
        assert_eq!(left(&acme, day(200)), Err("the kept one ends soon"));
        assert_eq!(
            left(&folder.acme(&["meet.example.com", "other.example"]), day(1)),
            Err("the kept one lacks a name")
        );
    }

    #[test]
    fn a_certificate_with_another_key_is_put_away_before_the_start() {
        let folder = Folder::new("pair");
        let (chain, key) = certificate("meet.example.com", false);
        keep(&folder.0, &chain, &key).unwrap();
        prepare(&folder.0);
        assert!(folder.0.join("certificate.pem").exists());
        keep(&folder.0, &chain, &certificate("meet.example.com", false).1).unwrap();
        prepare(&folder.0);
        assert!(!folder.0.join("certificate.pem").exists() && !folder.0.join("key.pem").exists());
    }

    #[test]
    fn what_is_kept_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new("mode");
        keep(&folder.0, "chain", "key").unwrap();
        assert_eq!(fs::metadata(folder.0.join("key.pem")).unwrap().permissions().mode() & 0o077, 0);
    }

    async fn get(path: &str, host: &str) -> Response {
        let proofs = Proofs::default();
        proofs.lock().insert("token".to_owned(), "token.thumb".to_owned());
        let router = routes(proofs, vec!["meet.example.com".to_owned(), "b.example".to_owned()]);
        let request = Request::get(path).header(header::HOST, host).body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn the_authority_finds_its_proof_and_everybody_else_is_sent_to_https() {
        let answer = get("/.well-known/acme-challenge/token", "meet.example.com").await;
        assert_eq!(answer.status(), StatusCode::OK);
        let body = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
        assert_eq!(&body[..], b"token.thumb");
        assert_eq!(get("/.well-known/acme-challenge/other", "meet.example.com").await.status(), StatusCode::NOT_FOUND);
        for (host, to) in [
            ("b.example", "https://b.example/Room?a=1"),
            ("B.example:80", "https://b.example/Room?a=1"),
            ("evil.example", "https://meet.example.com/Room?a=1"),
        ] {
            let answer = get("/Room?a=1", host).await;
            assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT);
            assert_eq!(answer.headers()[header::LOCATION], to);
        }
    }
}
