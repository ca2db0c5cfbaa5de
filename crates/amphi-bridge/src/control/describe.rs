//! Transports in colibri2 and as the transports themselves speak of them.

use std::net::{IpAddr, SocketAddr};

use amphi_jingle::{Candidate, Fingerprint, IceTransport, Setup};

use crate::transport::{self, CandidateType, LocalTransport, RemoteCandidate, RemoteTransport};

/// What we say of ourselves.
pub(super) fn local(t: &LocalTransport) -> IceTransport {
    let mut out = IceTransport {
        ufrag: Some(t.ufrag.clone()),
        pwd: Some(t.password.clone()),
        rtcp_mux: true,
        fingerprints: vec![Fingerprint {
            hash: t.fingerprint.hash.clone(),
            value: t.fingerprint.value.clone(),
            setup: Some(Setup::Actpass),
            cryptex: false,
        }],
        candidates: t.candidates.iter().map(candidate).collect(),
        ..IceTransport::default()
    };
    if let Some(g) = t.generation {
        out.set_ice_generation(g);
    }
    out
}

fn candidate(c: &transport::LocalCandidate) -> Candidate {
    Candidate {
        component: 1,
        foundation: c.foundation.clone(),
        generation: c.generation,
        id: c.id.clone(),
        ip: c.address.ip().to_string(),
        network: 0,
        port: c.address.port(),
        priority: c.priority,
        protocol: "udp".to_owned(),
        ty: c.kind.as_str().to_owned(),
        rel_addr: c.related.map(|a| a.ip().to_string()),
        rel_port: c.related.map(|a| a.port()),
        tcptype: None,
    }
}

/// What the other side says of itself. Candidates that are of no use are left out: other protocols and components, and names, which nobody here
/// resolves (`spec/bridge.md` 2.2).
pub(super) fn remote(t: &IceTransport, most: usize) -> RemoteTransport {
    let candidates = t.candidates.iter().filter(|c| c.component == 1 && c.protocol == "udp").filter_map(|c| {
        let ip: IpAddr = c.ip.parse().ok()?;
        Some(RemoteCandidate {
            kind: CandidateType::from_name(&c.ty)?,
            address: SocketAddr::new(ip, c.port),
            priority: c.priority,
            foundation: c.foundation.clone(),
            generation: None,
        })
    });
    let fingerprints = t.fingerprints.iter().map(|f| transport::Fingerprint {
        hash: f.hash.clone(),
        value: f.value.clone(),
        setup: f.setup.map(|s| match s {
            Setup::Actpass => transport::Setup::Actpass,
            Setup::Active => transport::Setup::Active,
            Setup::Passive => transport::Setup::Passive,
        }),
    });
    RemoteTransport {
        ufrag: t.ufrag.clone(),
        password: t.pwd.clone(),
        generation: t.ice_generation(),
        candidates: candidates.take(most).collect(),
        fingerprints: fingerprints.collect(),
    }
}
