//! What a negotiation asks of the node that it belongs to.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::{HostProfile, UrlParams};
use crate::sasl::{Failure, Hash, ScramCredentials};

/// A successful login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login<I> {
    /// Local part of the address. For anonymous users a lower-case UUID (`spec/signaling.md` 2.4).
    pub localpart: String,
    /// Whatever the node wants to know of the user later: claims, administrator or not.
    pub identity: I,
}

/// The answer to an attempt to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<I> {
    /// Yes.
    Granted(Login<I>),
    /// No.
    Refused(Failure),
    /// Not known yet (a key has to be fetched). The caller must give the answer to
    /// [`super::Negotiation::decide`].
    Later,
}

/// Hosts and accounts of a node. Called while an element is handled, so no method may block.
pub trait Backend {
    /// What a login carries beyond the local part.
    type Identity;

    /// The host of this name, already lower-cased; `None` if it is not served here.
    fn host(&self, name: &str) -> Option<Arc<HostProfile>>;

    /// ANONYMOUS: anonymous hosts, and token hosts, whose token is in the URL. Also decides what `previd` and
    /// `customusername` mean.
    fn anonymous(&mut self, host: &HostProfile, params: &UrlParams) -> Verdict<Self::Identity>;

    /// PLAIN. The default looks up the SCRAM credentials and compares, and takes as long for an unknown account.
    fn plain(&mut self, host: &HostProfile, user: &str, password: &str) -> Verdict<Self::Identity> {
        let known = self
            .scram(host, user, Hash::Sha256)
            .or_else(|| self.scram(host, user, Hash::Sha1))
            .unwrap_or_else(|| ScramCredentials::decoy(Hash::Sha256, user, &self.decoy_key()));
        let given = ScramCredentials::derive(known.hash, password, &known.salt, known.iterations);
        if given.stored_key.ct_eq(&known.stored_key).into() {
            self.account(host, user)
        } else {
            Verdict::Refused(Failure::not_authorized())
        }
    }

    /// Credentials of an account for SCRAM with this hash.
    fn scram(&self, host: &HostProfile, user: &str, hash: Hash) -> Option<ScramCredentials>;

    /// The login of an account whose password was proved.
    fn account(&mut self, host: &HostProfile, user: &str) -> Verdict<Self::Identity>;

    /// EXTERNAL: `authzid` is what was asked for. Refused by default; the certificate is the caller's to judge.
    fn external(&mut self, host: &HostProfile, authzid: Option<&str>) -> Verdict<Self::Identity> {
        let _ = (host, authzid);
        Verdict::Refused(Failure::not_authorized())
    }

    /// Random bytes for ids, nonces and resources.
    fn random(&mut self, out: &mut [u8]) {
        rand::fill(out);
    }

    /// A secret of this process, so that the challenge for an unknown account looks the same every time.
    fn decoy_key(&self) -> [u8; 32];
}
