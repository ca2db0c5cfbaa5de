//! SASL, client side: one login as a state machine over elements. Called by whoever opens a stream: the focus, the load
//! generator, links between servers (EXTERNAL).

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use subtle::ConstantTimeEq;

use amphi_stanza::{Element, ns};

use super::{Failure, Hash, Mechanism, decode, encode, scram};

/// Why a login did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server said no.
    #[error("refused: {0}")]
    Refused(#[from] Failure),
    /// The server broke the rules, or did not prove that it knows the password.
    #[error("server is not to be trusted: {0}")]
    Server(&'static str),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this element.
    Send(Bytes),
    /// Logged in; restart the stream.
    Done,
}

enum State {
    /// Nothing to answer; `<success/>` ends it.
    OneMessage,
    Scram(Scram),
    Finished,
}

struct Scram {
    hash: Hash,
    password: String,
    nonce: String,
    first_bare: String,
    /// Set once the challenge was answered.
    server_signature: Option<Vec<u8>>,
    verified: bool,
}

/// One login.
pub struct Login {
    mechanism: Mechanism,
    first: Option<Vec<u8>>,
    state: State,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

impl Login {
    /// Iteration counts above this are refused: the server could keep the CPU busy for ever.
    pub const MAX_ITERATIONS: u32 = 1_000_000;

    /// ANONYMOUS.
    pub fn anonymous() -> Self {
        Self { mechanism: Mechanism::Anonymous, first: None, state: State::OneMessage }
    }

    /// EXTERNAL; without `authzid` the identity of the certificate is taken.
    pub fn external(authzid: Option<&str>) -> Self {
        let first = authzid.unwrap_or_default().as_bytes().to_vec();
        Self { mechanism: Mechanism::External, first: Some(first), state: State::OneMessage }
    }

    /// PLAIN. For protected streams only.
    pub fn plain(user: &str, password: &str) -> Self {
        let first = ["", user, password].join("\0").into_bytes();
        Self { mechanism: Mechanism::Plain, first: Some(first), state: State::OneMessage }
    }

    /// SCRAM. `nonce` is random, at least 18 bytes' worth, of printable ASCII without commas.
    pub fn scram(hash: Hash, user: &str, password: &str, nonce: &str) -> Self {
        let mechanism = match hash {
            Hash::Sha1 => Mechanism::ScramSha1,
            Hash::Sha256 => Mechanism::ScramSha256,
        };
        let escaped = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={escaped},r={nonce}");
        Self {
            mechanism,
            first: Some(format!("n,,{first_bare}").into_bytes()),
            state: State::Scram(Scram {
                hash,
                password: password.to_owned(),
                nonce: nonce.to_owned(),
                first_bare,
                server_signature: None,
                verified: false,
            }),
        }
    }

    /// The strongest of the offered mechanisms that a password fits: SCRAM-SHA-256, SCRAM-SHA-1, then PLAIN.
    pub fn with_password(offered: &[Mechanism], user: &str, password: &str, nonce: &str) -> Option<Self> {
        let has = |m| offered.contains(&m);
        if has(Mechanism::ScramSha256) {
            Some(Self::scram(Hash::Sha256, user, password, nonce))
        } else if has(Mechanism::ScramSha1) {
            Some(Self::scram(Hash::Sha1, user, password, nonce))
        } else if has(Mechanism::Plain) {
            Some(Self::plain(user, password))
        } else {
            None
        }
    }

    /// The mechanism in use.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The `<auth/>` element that begins the exchange.
    pub fn auth(&self) -> Bytes {
        encode("auth", Some(self.mechanism), self.first.as_deref())
    }

    /// Takes the server's next element of the exchange.
    ///
    /// # Errors
    /// Refusal, or a server that breaks the protocol. The login is over then.
    pub fn handle(&mut self, e: Element<'_>) -> Result<Step, ClientError> {
        if let Some(f) = Failure::parse(e) {
            self.state = State::Finished;
            return Err(f.into());
        }
        if e.ns() != ns::SASL {
            return Err(ClientError::Server("element that is not part of the exchange"));
        }
        let data = decode(e).map_err(|_| ClientError::Server("not Base64"))?;
        match (e.name(), &mut self.state) {
            ("success", State::OneMessage) => {}
            ("success", State::Scram(s)) => {
                if let Some(d) = data {
                    s.verify(&d)?;
                }
                if !s.verified {
                    return Err(ClientError::Server("no proof of the server"));
                }
            }
            // RFC 6120 §6.4.6: the last message may come as a challenge, to be answered by an empty response.
            ("challenge", State::Scram(s)) if s.server_signature.is_some() => {
                s.verify(&data.unwrap_or_default())?;
                return Ok(Step::Send(encode("response", None, None)));
            }
            ("challenge", State::Scram(s)) => {
                let answer = s.answer(&data.unwrap_or_default())?;
                return Ok(Step::Send(encode("response", None, Some(answer.as_bytes()))));
            }
            _ => return Err(ClientError::Server("unexpected element")),
        }
        self.state = State::Finished;
        Ok(Step::Done)
    }
}

impl Scram {
    fn answer(&mut self, challenge: &[u8]) -> Result<String, ClientError> {
        let text = std::str::from_utf8(challenge).map_err(|_| ClientError::Server("challenge is not UTF-8"))?;
        let mut attrs = text.split(',');
        let mut next = |key: &str| attrs.next().and_then(|a| a.strip_prefix(key));
        let (Some(nonce), Some(salt), Some(iterations)) = (next("r="), next("s="), next("i=")) else {
            return Err(ClientError::Server("challenge is incomplete"));
        };
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() || !scram::is_nonce(nonce) {
            return Err(ClientError::Server("nonce"));
        }
        let salt = STANDARD.decode(salt).map_err(|_| ClientError::Server("salt"))?;
        let iterations = iterations
            .parse::<NonZeroU32>()
            .ok()
            .filter(|i| i.get() <= Login::MAX_ITERATIONS)
            .ok_or(ClientError::Server("iteration count"))?;
        let salted = scram::salted_password(self.hash, &self.password, &salt, iterations);
        let without_proof = format!("c=biws,r={nonce}");
        let auth_message = format!("{},{text},{without_proof}", self.first_bare);
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let signature = self.hash.hmac(&self.hash.digest(&client_key), auth_message.as_bytes());
        let server_key = self.hash.hmac(&salted, b"Server Key");
        self.server_signature = Some(self.hash.hmac(&server_key, auth_message.as_bytes()));
        Ok(format!("{without_proof},p={}", STANDARD.encode(scram::xor(&client_key, &signature))))
    }

    fn verify(&mut self, last: &[u8]) -> Result<(), ClientError> {
        let given = last.strip_prefix(b"v=").and_then(|v| STANDARD.decode(v).ok());
        match (&self.server_signature, given) {
            (Some(want), Some(got)) if bool::from(want.ct_eq(&got)) => {
                self.verified = true;
                Ok(())
            }
            _ => Err(ClientError::Server("signature of the server")),
        }
    }
}

#[cfg(test)]
mod tests {
    use amphi_stanza::Stanza;

    use super::super::{ScramCredentials, ScramServer};
    use super::*;

    fn el(bytes: Bytes) -> Stanza {
        Stanza::authored(bytes)
    }

    #[test]
    fn vector_of_rfc_5802() {
        let mut c = Login::scram(Hash::Sha1, "user", "pencil", "fyko+d2lbbFgONRv9qkxdawL");
        let auth = el(c.auth());
        assert_eq!(auth.attr("mechanism").unwrap(), "SCRAM-SHA-1");
        assert_eq!(decode(auth.root()).unwrap().unwrap(), b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        let challenge = b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let Ok(Step::Send(r)) = c.handle(el(encode("challenge", None, Some(challenge))).root()) else { panic!() };
        assert_eq!(
            decode(el(r).root()).unwrap().unwrap(),
            b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        let success = el(encode("success", None, Some(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")));
        assert_eq!(c.handle(success.root()), Ok(Step::Done));
    }

    #[test]
    fn client_and_server_agree_and_odd_names_pass() {
        let cred =
            ScramCredentials::derive(Hash::Sha256, "pass\u{ad}word", b"salt", ScramCredentials::DEFAULT_ITERATIONS);
        // SASLprep maps the soft hyphen to nothing.
        let mut c = Login::scram(Hash::Sha256, "a,b=c", "password", "cnonce");
        let first = decode(el(c.auth()).root()).unwrap().unwrap();
        let (server, challenge) = ScramServer::start(&first, "snonce", |_| cred).unwrap();
        let Ok(Step::Send(r)) = c.handle(el(encode("challenge", None, Some(challenge.as_bytes()))).root()) else {
            panic!()
        };
        let (who, last) = server.finish(&decode(el(r).root()).unwrap().unwrap()).unwrap();
        assert_eq!(who.user, "a,b=c");
        assert_eq!(c.handle(el(encode("success", None, Some(last.as_bytes()))).root()), Ok(Step::Done));
    }

    #[test]
    fn server_that_proves_nothing_is_refused() {
        let mut c = Login::scram(Hash::Sha1, "user", "pencil", "abc");
        assert!(matches!(c.handle(el(encode("success", None, None)).root()), Err(ClientError::Server(_))));
        let mut c = Login::scram(Hash::Sha1, "user", "pencil", "abc");
        for bad in ["r=abc,s=AAAA,i=1", "r=xyzq,s=AAAA,i=1", "r=abcd,s=AAAA,i=0", "r=abcd,s=AAAA,i=4000000000", "x"] {
            let ch = el(encode("challenge", None, Some(bad.as_bytes())));
            assert!(matches!(c.handle(ch.root()), Err(ClientError::Server(_))), "{bad}");
        }
        let ch = el(encode("challenge", None, Some(b"r=abcd,s=AAAA,i=1")));
        assert!(matches!(c.handle(ch.root()), Ok(Step::Send(_))));
        let wrong = el(encode("success", None, Some(b"v=AAAA")));
        assert!(matches!(c.handle(wrong.root()), Err(ClientError::Server(_))));
    }

    #[test]
    fn refusal_is_reported_with_its_condition() {
        let mut c = Login::plain("u", "p");
        let f = Failure::not_allowed("no");
        assert_eq!(c.handle(el(f.write()).root()), Err(ClientError::Refused(f)));
    }

    #[test]
    fn strongest_offered_mechanism_is_chosen() {
        let pick = |m: &[Mechanism]| Login::with_password(m, "u", "p", "n").map(|l| l.mechanism());
        assert_eq!(pick(&[Mechanism::Plain, Mechanism::ScramSha1]), Some(Mechanism::ScramSha1));
        assert_eq!(pick(&Mechanism::ALL), Some(Mechanism::ScramSha256));
        assert_eq!(pick(&[Mechanism::Anonymous]), None);
    }

    #[test]
    fn external_without_identity_sends_an_equals_sign() {
        assert_eq!(
            Login::external(None).auth(),
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>"
        );
        assert_eq!(Login::anonymous().auth(), "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>");
    }
}
