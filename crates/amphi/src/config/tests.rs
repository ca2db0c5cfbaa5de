//! The second stage, seen from outside: text in, a checked configuration or complaints out.

use super::*;

fn config(text: &str) -> Result<Config, String> {
    let layers = Layers { file: Some(("amphi.toml".to_owned(), text.to_owned())), ..Layers::default() };
    let layered = layers.join().map_err(|e| e.to_string())?;
    Config::check(&layered).map_err(|e| e.to_string())
}

fn complaint(text: &str) -> String {
    config(text).map(|_| "no complaint".to_owned()).unwrap_or_else(|complaint| complaint)
}

#[test]
fn the_empty_file_declares_the_usual_hosts_and_services() {
    let config = config("").unwrap();
    let main = config.main.as_ref().unwrap();
    assert_eq!(main.hosts.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["localhost", "auth.localhost"]);
    assert_eq!(
        main.mucs.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
        ["conference.localhost", "internal.auth.localhost"]
    );
    assert_eq!(main.admins.iter().map(|j| j.as_str()).collect::<Vec<_>>(), ["focus@auth.localhost"]);
    let nodes: Vec<_> = config.visitors.nodes.iter().map(|n| (n.domain.as_str(), n.muc.as_str())).collect();
    assert_eq!(nodes, [("v1.meet.jitsi", "conference.v1.meet.jitsi"), ("v2.meet.jitsi", "conference.v2.meet.jitsi")]);
    for node in &config.visitors.nodes {
        let WhereNode::Here { node, listen_s2s, .. } = &node.place else { panic!("{} is elsewhere", node.name) };
        assert_eq!(node.hosts[1].name, "auth.meet.jitsi");
        assert_eq!(node.admins[0].as_str(), "focus@auth.meet.jitsi");
        assert_eq!(node.mucs[0].access_whitelist[0].as_str(), "localhost");
        assert_eq!(*listen_s2s, None);
    }
    assert_eq!(config.listen.s2s, None, "nobody to speak with over server streams");
    assert_eq!(config.url().as_deref(), Some("http://localhost:5280/"));
}

#[test]
fn an_entry_with_a_usual_name_changes_only_what_it_says() {
    let config =
        config("[[mucs]]\nname = \"conference.localhost\"\nmax_occupants = 9\njoins_per_second = 0\n").unwrap();
    let muc = &config.main.unwrap().mucs[0];
    assert_eq!((muc.max_occupants, muc.joins_per_second, muc.leaves_per_second), (Some(9), None, None));
    assert!(muc.restrict_room_creation && muc.hidden);
}

#[test]
fn any_number_of_hosts_and_services_may_be_added_to_any_node() {
    let text = "
        [[hosts]]
        name = \"recorder.localhost\"
        auth = \"internal\"
        accounts = [{ user = \"recorder\", password = \"p\" }]
        [[hosts]]
        name = \"guest.v1.meet.jitsi\"
        node = \"v1\"
        auth = \"anonymous\"
        [[mucs]]
        name = \"breakout.localhost\"
    ";
    let config = config(text).unwrap();
    let main = config.main.unwrap();
    assert_eq!(main.hosts[2].name, "recorder.localhost");
    assert_eq!(main.mucs[2].name, "breakout.localhost");
    let hosts: Vec<_> = config
        .visitors
        .nodes
        .iter()
        .map(|node| match &node.place {
            WhereNode::Here { node, .. } => node.hosts.len(),
            WhereNode::Elsewhere { .. } => 0,
        })
        .collect();
    assert_eq!(hosts, [3, 2]);
}

#[test]
fn a_token_host_needs_exactly_one_key() {
    let host = "[[hosts]]\nname = \"localhost\"\nauth = \"token\"\n";
    assert_eq!(complaint(host), "amphi.toml:1:1: hosts[0]: auth = \"token\" needs app_id");
    assert!(complaint(&format!("{host}app_id = \"a\"\n")).contains("needs app_secret, app_secret_file or key_file"));
    let both = complaint(&format!("{host}app_id = \"a\"\napp_secret = \"s\"\nkey_file = \"k\"\n"));
    assert!(both.starts_with("amphi.toml:6:1: hosts[0].key_file: contradicts"), "{both}");
    let fine = config(&format!("{host}app_id = \"a\"\napp_secret = \"s\"\n")).unwrap();
    let Login::Token(token) = &fine.main.as_ref().unwrap().hosts[0].login else { panic!("no token login") };
    assert_eq!((token.accepted_issuers.as_slice(), token.accepted_audiences[0].as_str()), (&["a".to_owned()][..], "*"));
    assert!(token.require_room && token.verify_domain && !token.allow_empty);
}

#[test]
fn secrets_never_show() {
    let text = "
        [focus]
        password = \"hunter2\"
        [[hosts]]
        name = \"localhost\"
        auth = \"shared-secret\"
        shared_secret = \"hunter2\"
    ";
    let config = config(text).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_missing_file_is_named() {
    let text = complaint("[tls]\ncertificate = \"/nowhere/a.pem\"\nkey = \"/nowhere/b.pem\"\n");
    assert!(text.contains("amphi.toml:2:1: tls.certificate: cannot read /nowhere/a.pem"), "{text}");
    assert!(complaint("[tls]\nkey = \"/nowhere/b.pem\"\n").contains("tls.key: needs tls.certificate too"));
    assert!(complaint("[focus]\npassword_file = \"/nowhere/p\"\n").contains("focus.password_file: cannot read"));
}

#[test]
fn a_node_elsewhere_needs_addresses_for_those_who_reach_it() {
    let text = complaint("roles = [\"main\", \"front\", \"focus\"]\n[[visitors.nodes]]\nname = \"v1\"\n");
    assert!(text.contains("amphi.toml:2:1: visitors.nodes[0]: node v1 is not run by this process"), "{text}");
    let text = complaint("[[visitors.nodes]]\nname = \"v1\"\ns2s = \"192.0.2.1:5269\"\n");
    assert!(text.contains("the front needs its front address"), "{text}");
    assert!(text.contains("the focus needs its c2s address"), "{text}");
}

#[test]
fn links_to_nodes_elsewhere_are_known_and_allowed() {
    let text = format!(
        "domain = \"meet.example\"
         [[visitors.nodes]]
         name = \"v1\"
         s2s = \"192.0.2.1:52691\"
         front = \"192.0.2.1:5280\"
         c2s = \"192.0.2.1:52221\"
         fingerprint = \"sha256:{}\"",
        "0A:".repeat(31) + "0a"
    );
    let config = config(&text).unwrap();
    let main = config.main.unwrap();
    let peer = &main.peers["conference.v1.meet.jitsi"];
    assert_eq!((peer.address.as_str(), peer.fingerprint.clone()), ("192.0.2.1:52691", Some("0a".repeat(32))));
    assert!(main.whitelist.contains(&"polls.v1.meet.jitsi".to_owned()));
    assert_eq!(config.listen.s2s.unwrap().port(), 5269);
    let WhereNode::Elsewhere { front, c2s, .. } = &config.visitors.nodes[0].place else { panic!("v1 is here") };
    assert_eq!(front.as_deref(), Some("192.0.2.1:5280"));
    assert_eq!(c2s.as_deref(), Some("192.0.2.1:52221"));
}

#[test]
fn a_node_in_a_process_of_its_own_uses_the_common_ports_and_knows_its_main_node() {
    let text = "roles = [\"v1\"]\ndomain = \"meet.example\"\n[visitors]\nmain_s2s = \"192.0.2.7:5269\"\n";
    let config = config(text).unwrap();
    assert!(config.main.is_none());
    assert_eq!(config.visitors.nodes.len(), 1);
    let WhereNode::Here { node, listen_c2s, listen_s2s } = &config.visitors.nodes[0].place else { panic!("elsewhere") };
    assert_eq!((listen_c2s.unwrap().port(), listen_s2s.unwrap().port()), (5222, 5269));
    assert_eq!(node.peers["conference.meet.example"].address, "192.0.2.7:5269");
    assert!(node.whitelist.contains(&"visitors.meet.example".to_owned()));
    let without = complaint("roles = [\"v1\"]\n");
    assert!(without.contains("visitors.main_s2s: is needed"), "{without}");
}

#[test]
fn overrides_take_an_address_and_a_port_by_default() {
    let text =
        "[visitors.overrides]\n\"a.example\" = \"tcp://192.0.2.1\"\n\"b.example\" = \"tcp://[2001:db8::1]:5299\"\n";
    let main = config(text).unwrap().main.unwrap();
    assert_eq!(main.peers["a.example"].address, "192.0.2.1:5269");
    assert_eq!(main.peers["b.example"].address, "[2001:db8::1]:5299");
    assert!(complaint("[visitors.overrides]\n\"a.example\" = \"192.0.2.1\"\n").contains("tcp://"));
}

#[test]
fn roles_that_cannot_work_are_refused() {
    assert!(complaint("roles = []\n").contains("this process would do nothing"));
    assert!(complaint("roles = [\"man\"]\n").contains("roles[0]: \"man\" is neither a role"));
    assert!(complaint("roles = [\"front\", \"focus\"]\n[focus]\nmain_c2s = \"h:1\"\n").contains("front needs main"));
    assert!(complaint("roles = [\"focus\"]\nvisitors.enabled = false\n").contains("focus.main_c2s: is needed"));
    assert!(complaint("[focus]\nhttp = \"http://h\"\n").contains("focus.http: contradicts roles"));
}

#[test]
fn two_listeners_cannot_share_an_address() {
    let text = complaint("[listen]\nfront = \"0.0.0.0:5222\"\n");
    assert!(text.contains("127.0.0.1:5222 is taken by listen.front"), "{text}");
    assert!(config("[listen]\nfront = \"127.0.0.1:0\"\nc2s = \"127.0.0.1:0\"\nadmin = \"off\"\n").is_ok());
}

#[test]
fn names_must_be_valid_and_unique() {
    assert!(complaint("domain = \"a@b\"\n").contains("domain: \"a@b\" is not a domain"));
    assert!(complaint("muc_prefix = \"a.b\"\n").contains("is not a label"));
    assert!(
        complaint("[[visitors.nodes]]\nname = \"v1\"\n[[visitors.nodes]]\nname = \"v1\"\n").contains("there twice")
    );
    assert!(complaint("[[mucs]]\nname = \"x.example\"\n[[mucs]]\nname = \"x.example\"\n").contains("there twice"));
    assert!(complaint("[[mucs]]\nname = \"x.example\"\nnode = \"v9\"\n").contains("there is no node v9"));
    assert!(complaint("[[hosts]]\nauth = \"anonymous\"\n").contains("hosts[0]: name is missing"));
    assert!(complaint("[log]\nlevel = \"loud\"\n").contains("log.level"));
}

#[test]
fn every_sample_in_the_documentation_has_known_keys() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
    let mut pages = vec![format!("{docs}/quick-start.md")];
    let folder = std::fs::read_dir(format!("{docs}/operator")).unwrap();
    pages.extend(folder.map(|page| page.unwrap().path().display().to_string()));
    let mut samples = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for sample in text.split("```toml\n").skip(1) {
            let sample = sample.split("```").next().unwrap();
            let layers = Layers { file: Some((page.clone(), sample.to_owned())), ..Layers::default() };
            if let Err(error) = layers.join() {
                panic!("{error}\nin\n{sample}");
            }
            samples += 1;
        }
    }
    assert!(samples >= 5, "only {samples} samples were found");
}

#[test]
fn a_text_argument_means_the_same_with_and_without_quotes() {
    for said in ["links=s2s", "links=\"s2s\""] {
        let layered = Layers { settings: vec![said.to_owned()], ..Layers::default() }.join().unwrap();
        assert_eq!(Config::check(&layered).unwrap().links, Links::S2s, "{said}");
    }
}

#[test]
fn lobbies_are_there_unless_they_are_switched_off() {
    let whitelist =
        |text: &str| config(text).map(|c| c.lobby.map(|l| l.iter().map(ToString::to_string).collect::<Vec<_>>()));
    assert_eq!(whitelist("").unwrap(), Some(vec![]));
    assert_eq!(whitelist("[lobby]\nenabled = false").unwrap(), None);
    let listed = whitelist("[lobby]\nwhitelist = [\"rec.example\", \"a@b.example\"]").unwrap();
    assert_eq!(listed.unwrap(), ["rec.example", "a@b.example"]);
    assert!(whitelist("[lobby]\nwhitelist = [\"a@b.example/c\"]").is_err());
}
