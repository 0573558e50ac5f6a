"""Text that breaks things, and statements made of it: for test/hostile/fuzz.

Everything comes from one random.Random, so a seed repeats it.
"""

# What was, or could be, taken for something else; lengths at every limit.
BOUNDARY = [
    "", " ", "*", "/", "%", "%2F", "%25", "{", "}", "{}", "{domain}", "{tenant}", "{domain}:{tenant}",
    "'", '"', "\\", "\\\\", "a'b", 'a"b', "a\\", "\n", "\t", "\r\n", "\x01", "\x1f", "\x7f", ",", "=",
    "domain=x", "NULL", "null", "true", "abc", "0", "-1", "1", "16", "17", "2147483647", "2147483648",
    "9223372036854775807", "9223372036854775808", "99999999999999999999", "1e9", "0x10",
    "%s%n%d", "$1", "$$", ";--", "/*", "\u00e9", "\u6771\u4eac", "\U0001f600", "\u202e", "\ufeff", "\u00a0",
    "\u0130", "\u1e9e", "\ue000", "\ufffd", "item", "page", "tenant_id", "id", "cache_notify/", "cache_notify/history",
    "cache_notify", "items", "cache_invalidation", "item/1", "item%2F1", "json", "oid", "pgcachewatch", "tcn",
    "lsn", "xid", "operations", "keys", "data_directory", "app.tenant", "search_path", "primary_conninfo",
]
LENGTHS = [62, 63, 64, 65, 127, 239, 240, 254, 255, 256, 1023, 7998, 7999, 8000, 8001, 20000, 300000]
LETTERS = ["x", "'", '"', "\\", "\x01", "\u00e9", "\u6771", "\U0001f600", "%", "/", "{"]

# Every word that our own arguments have, and some that they do not.
ARGUMENTS = [
    "domain", "channel", "payload", "payload_suffix", "tenant_column", "tenant_setting", "granularity",
    "column", "field", "key", "bucket_layout", "layout", "buckets", "inherited", "relation", "name",
    "fire_on_replica", "options", "former", "",
]
LIKELY = {
    "domain": ["item", "mine", "page", "item/1", "item/7", "item%2F1", "line", "cache_notify/x"],
    "channel": ["items", "cache_invalidation", "c:{domain}:{tenant}", "", "x" * 64, "x" * 63, "lines"],
    "payload": ["json", "oid", "pgcachewatch", "tcn", "nonsense"],
    "payload_suffix": ["\n", "", "x" * 64, "x" * 7999, "x" * 8200, "\u6771"],
    "tenant_column": ["tenant_id", "id", "nothing"],
    "tenant_setting": ["app.tenant", "data_directory", "nothing"],
    "granularity": ["row", "statement"],
    "column": ["id", "tenant_id", "nothing"],
    "field": ["lsn", "xid", "operations", "keys"],
    "key": ["id", "tenant_id", "nothing"],
    "bucket_layout": ["42", "10", "4", "abc", "-1", "31", "32", "4294967296"],
    "relation": ["1", "0", "4294967295", "abc"],
    "name": ["x", ""],
    "inherited": ["true", "false"],
}


class Text:
    def __init__(self, random):
        self.random = random
        self.layouts = []  # of the victim's keys, those that it had before as well

    def layout(self):
        """A number of a bucket layout: the victim's own one, one that it had or may have next, or another."""
        r = self.random
        if not self.layouts or r.random() < 0.15:
            return r.choice([4, 42, 1029, 1000000 * 32 + 4, 999999999999999994])
        layout = int(r.choice(self.layouts[-3:] if r.random() < 0.7 else self.layouts))
        return max(1, layout + r.choice([0, 0, 0, 0, 32, -32, 64, 1, 320]))

    def any(self):
        """A piece of text, without zero bytes."""
        r = self.random
        kind = r.random()
        if kind < 0.55:
            return r.choice(BOUNDARY)
        if kind < 0.75:
            return r.choice(LETTERS) * r.choice(LENGTHS[:-3] if r.random() < 0.9 else LENGTHS)
        if kind < 0.85:
            return r.choice(BOUNDARY) + r.choice(BOUNDARY)
        return "".join(chr(r.choice([r.randrange(1, 128), r.randrange(1, 0x800), r.randrange(0xe000, 0x10ffff)]))
                       for _ in range(r.randrange(1, 90)))

    def short(self):
        """One that can be the name of something that is created."""
        return (self.any() or "empty").encode()[:60].decode(errors="ignore") or "x"

    def internal(self):
        """A name that is ours alone."""
        r = self.random
        if r.random() < 0.7:
            return "cache_notify/key/%s/%d/%s" % (r.choice(self.layouts[-4:] or ["4"]), r.randrange(16),
                                                  r.choice(["item", "calm", "calm"]))
        return r.choice(["cache_notify/key/%d/%s/item" % (r.randrange(16), r.choice(self.layouts or ["4"])),
                         "cache_notify/key/%d/%d/item" % (r.randrange(1024), r.randrange(2048)),
                         "cache_notify/definition/%d" % r.randrange(1024), "cache_notify/", "cache_notify/schema", "cache_notify/layout/item", "cache_notify/by_hand/item"])

    def value(self, name):
        r = self.random
        if name == "domain" and r.random() < 0.25:
            return self.internal()
        if r.random() < 0.6 and name in LIKELY:
            return r.choice(LIKELY[name])
        return self.any()

    def arguments(self):
        """What somebody writes by hand behind one of our trigger functions, or as a label."""
        r = self.random
        result = []
        if r.random() < 0.9:
            result.append("domain=" + self.value("domain"))
        for _ in range(r.randrange(0, 5)):
            name = r.choice(ARGUMENTS)
            result.append(name + "=" + self.value(name))
        if r.random() < 0.2:
            result.append(self.any())
        r.shuffle(result)
        return result

    def names(self):
        """Names of domains and keys, as callers write them."""
        r = self.random
        return [r.choice([self.any(), "item", "item/" + self.any(), self.internal()])
                for _ in range(r.choice([0, 1, 1, 2, 5, 100]))]


def literal(text):
    """A string constant of SQL."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def identifier(text):
    return '"' + text.replace('"', '""') + '"'


def array(texts):
    return "ARRAY[" + ", ".join(literal(t) for t in texts) + "]::text[]"


def argument_of(text, type_name):
    """An SQL expression of this type for a function of ours; None: leave the call out."""
    r = text.random
    if r.random() < 0.07:
        return "NULL::" + type_name
    if type_name in ("text", "name", "cstring", '"char"'):
        return literal(text.any()) + "::" + type_name
    if type_name == "text[]":
        return array(text.names())
    if type_name in ("bigint", "integer", "oid"):
        return r.choice(["0", "1", "-1" if type_name != "oid" else "1", "2147483647", "42"]) + "::" + type_name
    if type_name == "boolean":
        return r.choice(["true", "false"])
    if type_name == "interval":
        return r.choice(["'1 s'", "'0'", "'-1 s'", "'1000000 years'", "'5 min'"]) + "::interval"
    if type_name == "regclass":
        return "'mallory.thing'::regclass"
    if type_name == "bytea":
        return "convert_to(" + literal(text.any()) + ", 'UTF8')"
    return None
