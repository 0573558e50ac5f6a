vcl 4.1;

# Varnish in front of an application that uses cache_notify.http.SurrogateKeys (Python) or
# surrogateKeys() (Node.js), purged by: cache-notify relay --purge varnish://localhost:6081
#
# Needs the vmods xkey and var (Debian: varnish-modules).
#
# Only responses with tags are kept, and none is served for longer than LEASE (5 seconds)
# after the relay has last proved that it is alive. So whatever dies, what is served is no
# older than that; the application gets the requests until the relay is back.

import std;
import var;
import xkey;

backend default {
    .host = "127.0.0.1";
    .port = "8000";
}

# Who may purge: the relays.
acl relays {
    "localhost";
}

sub vcl_recv {
    if (req.method == "PURGE" || req.method == "BEAT") {
        if (client.ip !~ relays) {
            return (synth(403));
        }
        if (req.method == "PURGE") {
            set req.http.purged = xkey.purge(req.http.Surrogate-Key);
            return (synth(200, req.http.purged + " purged"));
        }
        # The stamp is a time that this Varnish gave; only forward.
        if (std.real(req.http.Cache-Notify-Stamp, 0.0)
                > std.real(var.global_get("cache_notify_proved"), 0.0)) {
            var.global_set("cache_notify_proved", req.http.Cache-Notify-Stamp);
        }
        return (synth(200, "alive"));
    }
}

sub vcl_synth {
    if (req.method == "PURGE" || req.method == "BEAT") {
        set resp.http.Cache-Notify-Stamp = std.time2real(now, 0.0);
        set resp.body = resp.reason;
        return (deliver);
    }
}

sub vcl_hit {
    if (std.real(var.global_get("cache_notify_proved"), 0.0) + 5.0 < std.time2real(now, 0.0)) {
        return (pass);
    }
}

sub vcl_backend_response {
    # What is served while it is fetched again would be served after its purge.
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    if (beresp.http.Surrogate-Key && beresp.http.Surrogate-Control !~ "no-store") {
        set beresp.http.xkey = beresp.http.Surrogate-Key;
        # Nothing else ends it, so this may be long.
        set beresp.ttl = 1h;
    } else {
        set beresp.ttl = 0s;
        set beresp.uncacheable = true;
    }
    return (deliver);
}

sub vcl_deliver {
    unset resp.http.xkey;
    unset resp.http.Surrogate-Key;
    unset resp.http.Cache-Tag;
    unset resp.http.Surrogate-Control;
    unset resp.http.CDN-Cache-Control;
}
