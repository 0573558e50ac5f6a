package near

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// What was heard is forgotten beyond so many scopes.
const maxHeard = 100_000

const maxVersion = 1<<53 - 1

// ticket is taken before a fill asks for its versions.
func (c *Cache) ticket() ticket {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ticket{c.generation, c.heard}
}

// find serves from memory only while deliveries come in (rule 8).
func (c *Cache) find(name string) (any, bool) {
	held, ok := c.entries.GetIfPresent(name)
	if !ok {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return held.value, time.Now().Before(c.leaseEnds)
}

// Holds tells whether memory would serve a result that Get is asked for.
func (c *Cache) Holds(name string, reads []string, tenant Whose) bool {
	_, ok := c.find(entryName(name, reads, tenant))
	return ok
}

// store keeps an entry, unless something heard since the ticket says more (rule 4).
func (c *Cache) store(name string, e *entry, began ticket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !time.Now().Before(c.leaseEnds) {
		return
	}
	if !c.options.StoresAnything && (began.generation != c.generation ||
		slices.ContainsFunc(e.parts, func(p part) bool { return c.lacks(began, p) })) {
		return
	}
	for _, p := range e.parts {
		if c.watching[p.domain] == nil {
			c.watching[p.domain] = map[string]struct{}{}
		}
		c.watching[p.domain][name] = struct{}{}
	}
	c.entries.Set(name, e)
}

func (c *Cache) lacks(began ticket, p part) bool {
	if floor := c.floors[scopeOf(nil, p.domain)]; floor.number > began.heard && p.shared < floor.version {
		return true
	}
	if p.tenant == nil || p.internal() {
		// A tenant's version says nothing of the whole domain's: whatever was heard counts.
		return c.news[p.domain] > began.heard
	}
	floor := c.floors[scopeOf(p.tenant, p.domain)]
	return floor.number > began.heard && p.version < floor.version
}

type change struct {
	tenant  Whose
	domain  string
	version int64
	keys    []string
	anyKey  bool
}

// hear drops what a change outdates (rule 3), and remembers it for the fills in flight.
func (c *Cache) hear(h change) {
	c.mu.Lock()
	if len(c.floors) >= maxHeard {
		c.forget()
	}
	c.heard++
	where := scopeOf(h.tenant, h.domain)
	c.floors[where] = heard{max(h.version, c.floors[where].version), c.heard}
	c.news[h.domain] = c.heard
	if strings.HasPrefix(h.domain, "cache_notify/") {
		clear(c.statements)
		c.generation++
	}
	for name := range c.watching[h.domain] {
		held, ok := c.entries.GetEntryQuietly(name)
		if !ok { // evicted, or expired
			delete(c.watching[h.domain], name)
		} else if slices.ContainsFunc(held.Value.parts, h.outdates) {
			c.drop(name, held.Value)
		}
	}
	c.mu.Unlock()
	if c.options.Heard != nil {
		c.options.Heard(h.tenant, h.domain)
	}
}

func (c *Cache) heardVersion(tenant Whose, domain string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.floors[scopeOf(tenant, domain)].version
}

func (h change) outdates(p part) bool {
	switch {
	case p.domain != h.domain:
		return false
	case p.internal():
		return true
	case h.tenant == nil:
		return p.shared < h.version
	case p.tenant == nil: // of the whole domain: any tenant's change
		return h.anyKey || p.key == nil || h.names(*p.key)
	case *p.tenant != *h.tenant || p.version >= h.version:
		return false
	}
	return h.anyKey || p.key == nil || h.names(*p.key)
}

func (h change) names(key string) bool {
	return slices.ContainsFunc(h.keys, func(told string) bool { return strings.EqualFold(told, key) })
}

func (c *Cache) drop(name string, e *entry) {
	c.entries.Invalidate(name)
	for _, p := range e.parts {
		delete(c.watching[p.domain], name)
	}
}

// reset drops everything, and refuses the fills in flight. It may stand for definitions.
func (c *Cache) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.InvalidateAll()
	clear(c.watching)
	clear(c.statements)
	c.forget()
}

func (c *Cache) forget() {
	c.generation++
	c.heard++
	clear(c.floors)
	clear(c.news)
}

// listenAnew: changes that nobody heard will be asked for, but those of definitions.
func (c *Cache) listenAnew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for domain, names := range c.watching {
		if !(part{domain: domain}).internal() {
			continue
		}
		for name := range names {
			if held, ok := c.entries.GetEntryQuietly(name); ok {
				c.drop(name, held.Value)
			}
		}
	}
	clear(c.statements)
	c.forget()
}

func (c *Cache) setLease(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaseEnds = until
}

// take hears a payload. What is not understood, of whatever shape, is a reset (rule 10).
func (c *Cache) take(payload string) {
	var told struct {
		Tenant  json.RawMessage `json:"tenant_id"`
		Domain  *string         `json:"domain"`
		Version json.RawMessage `json:"version"`
		Keys    json.RawMessage `json:"keys"`
		Reset   json.RawMessage `json:"reset"`
	}
	var h change
	err := json.Unmarshal([]byte(payload), &told)
	if err == nil && told.Tenant != nil {
		err = json.Unmarshal(told.Tenant, &h.tenant)
	}
	if err == nil && told.Version != nil {
		err = json.Unmarshal(told.Version, &h.version)
	}
	if err != nil || told.Reset != nil || told.Tenant == nil || told.Domain == nil ||
		h.version < 1 || h.version > maxVersion || strings.ContainsRune(payload, '\uFFFD') {
		c.reset()
		return
	}
	h.domain = *told.Domain
	h.anyKey = json.Unmarshal(told.Keys, &h.keys) != nil || h.keys == nil
	c.hear(h)
}
