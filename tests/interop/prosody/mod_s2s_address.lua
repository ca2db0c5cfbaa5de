-- Tells Prosody where the server of a domain is, without DNS:
-- s2s_address_overrides = { ["meet.example"] = { "127.0.0.1", 5269 } }
-- Prosody 0.12 has no event for this, so the look-up of service records is wrapped.
module:set_global();

local basic = require "net.resolvers.basic";
local service = require "net.resolvers.service";

local overrides = module:get_option("s2s_address_overrides", {});
local look_up = service.new;

function service.new(hostname, name, conn_type, extra)
    local address = name == "xmpp-server" and overrides[hostname];
    if not address then
        return look_up(hostname, name, conn_type, extra);
    end
    return basic.new(address[1], address[2], conn_type or "tcp", extra);
end

function module.unload()
    service.new = look_up;
end
