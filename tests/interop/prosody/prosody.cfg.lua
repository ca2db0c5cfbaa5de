-- A stock Prosody as the peer of tests. The runner replaces the words in braces.
--
-- By itself it shows that what the scripts expect is what the reference does; with {s2s_overrides} set it is a foreign
-- server at the other end of a server-to-server link.

run_as_root = true
daemonize = false
pidfile = "{data}/prosody.pid"
data_path = "{data}"
certificates = "{data}"
plugin_paths = { "{plugins}" }
storage = "memory"
log = { { levels = { min = "warn" }, to = "file", filename = "{data}/prosody.log" } }

interfaces = { "127.0.0.1" }
http_interfaces = { "127.0.0.1" }
c2s_ports = { {c2s_port} }
s2s_ports = { {s2s_port} }
http_ports = { {http_port} }
https_ports = {}
ssl = { key = "{data}/key.pem", certificate = "{data}/certificate.pem" }

c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = false
allow_unencrypted_plain_auth = false
consider_websocket_secure = true
consider_bosh_secure = true
http_default_host = "{domain}"

modules_enabled = { "saslauth", "tls", "disco", "ping", "bosh", "websocket", "smacks", "dialback", "s2s_address" }
s2s_address_overrides = { {s2s_overrides} }

VirtualHost "{domain}"
    authentication = "anonymous"
    allow_anonymous_s2s = true

VirtualHost "auth.{domain}"
    authentication = "internal_hashed"
    -- Accounts are made by prosodyctl, which is another process.
    storage = "internal"

Component "conference.{domain}" "muc"
    muc_room_default_public_jids = true

Component "internal.auth.{domain}" "muc"
    muc_room_default_public_jids = true
