// Package near is a small near cache for results of PostgreSQL queries that cache_notify
// invalidates: what a client in another language must do, in as few lines as that takes.
// README.md beside go.mod has the rules as a checklist; the numbers here are of that list.
package near

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"
)

// Options of a cache. Lease must be longer than Heartbeat.
type Options struct {
	Listen     *pgx.ConnConfig // the primary, over a direct connection
	TTL        time.Duration   // default: 5 minutes
	MaxEntries int             // default: 10,000
	Heartbeat  time.Duration   // between questions what has changed; default: 1 s
	Lease      time.Duration   // how long entries are served after the last answer; default: 5 s
	Heard      func(tenant *string, domain string)
	Listening  func(caughtUp bool) // before it listens, and after it has caught up
	// StoresAnything takes rule 4 out, to show that a test notices.
	StoresAnything bool
}

// Whose rows a result is made from: of one tenant, or of all (nil).
type Whose = *string

type part struct {
	tenant  Whose
	domain  string
	key     *string
	version int64
	shared  int64
}

// Definitions of views, functions and types have domains of their own.
func (p part) internal() bool { return strings.HasPrefix(p.domain, "cache_notify/") }

type entry struct {
	value any
	token string
	parts []part
}

type ticket struct{ generation, heard int64 }

type heard struct {
	version int64
	number  int64 // of all that was heard
}

type scope struct{ tenant, domain string }

func scopeOf(tenant Whose, domain string) scope {
	if tenant == nil {
		return scope{"s", domain}
	}
	return scope{"t" + *tenant, domain}
}

type flight struct {
	ticket ticket
	over   chan struct{}
	value  any
	usable bool
}

// Cache of results. Safe for use by many goroutines.
type Cache struct {
	options Options
	entries *otter.Cache[string, *entry]

	mu         sync.Mutex
	watching   map[string]map[string]struct{} // domain -> names of entries
	floors     map[scope]heard
	news       map[string]int64 // domain -> number of the last change of anybody
	heard      int64
	generation int64
	leaseEnds  time.Time
	flights    map[string]*flight
	statements map[string][]string
	stop       context.CancelFunc
	stopped    chan struct{}
}

// New starts to listen.
func New(options Options) *Cache {
	if options.TTL == 0 {
		options.TTL = 5 * time.Minute
	}
	if options.MaxEntries == 0 {
		options.MaxEntries = 10_000
	}
	if options.Heartbeat == 0 {
		options.Heartbeat = time.Second
	}
	if options.Lease == 0 {
		options.Lease = 5 * time.Second
	}
	c := &Cache{options: options, watching: map[string]map[string]struct{}{}, floors: map[scope]heard{},
		news: map[string]int64{}, flights: map[string]*flight{}, statements: map[string][]string{},
		stopped: make(chan struct{})}
	c.entries = otter.Must(&otter.Options[string, *entry]{MaximumSize: options.MaxEntries,
		ExpiryCalculator: otter.ExpiryWriting[string, *entry](options.TTL)})
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	go c.listenForEver(ctx)
	return c
}

// Close stops listening; nothing is served from memory any more.
func (c *Cache) Close() {
	c.stop()
	<-c.stopped
}

type within struct{}

// ask is one statement, so that token and versions are of one snapshot, and before the query.
const ask = `
	SELECT cache_notify.token($1, VARIADIC $2::text[]), pg_is_in_recovery(),
		v.tenant_id, v.domain, v.key, v.version, v.shared_version, v.known
	FROM cache_notify.near_versions($1, VARIADIC $2::text[]) v`

// Get is the result of load, from memory if that is as good. name tells results with the same
// reads and tenant apart. reads: the domains that load reads, or keys of them.
func Get[T any](ctx context.Context, c *Cache, db *pgx.Conn, name string, reads []string, tenant Whose,
	fresh bool, load func(context.Context) (T, error)) (T, error) {
	value, err := c.get(ctx, db, name, reads, tenant, fresh, c.ticket(),
		func(ctx context.Context) (any, error) { return load(ctx) })
	if err != nil {
		var nothing T
		return nothing, err
	}
	return value.(T), nil
}

func (c *Cache) get(ctx context.Context, db *pgx.Conn, name string, reads []string, tenant Whose,
	fresh bool, began ticket, load func(context.Context) (any, error)) (any, error) {
	// Rule 6: a transaction sees its own writes, or an old snapshot. It gets no cache at all.
	if db.PgConn().TxStatus() != 'I' {
		return load(ctx)
	}
	nameOf := entryName(name, reads, tenant)
	// Rule 7: a part of another result must be as new as its versions. From the server it is.
	if fresh || ctx.Value(within{}) != nil {
		value, _, err := c.fill(ctx, db, nameOf, reads, tenant, began, load)
		return value, err
	}
	if value, ok := c.find(nameOf); ok {
		return value, nil
	}
	c.mu.Lock()
	if other := c.flights[nameOf]; other != nil && other.ticket == (ticket{c.generation, c.heard}) {
		c.mu.Unlock()
		// Rule 5: nothing was heard since it began. No connection is held that it could need.
		select {
		case <-other.over:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if other.usable {
			return other.value, nil
		}
		value, _, err := c.fill(ctx, db, nameOf, reads, tenant, c.ticket(), load)
		return value, err
	}
	mine := &flight{ticket: began, over: make(chan struct{})}
	c.flights[nameOf] = mine
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		if c.flights[nameOf] == mine {
			delete(c.flights, nameOf)
		}
		c.mu.Unlock()
		close(mine.over)
	}()
	value, usable, err := c.fill(ctx, db, nameOf, reads, tenant, began, load)
	mine.value, mine.usable = value, usable && err == nil
	return value, err
}

// fill computes a result; also: whether it may be given to others.
func (c *Cache) fill(ctx context.Context, db *pgx.Conn, name string, reads []string, tenant Whose,
	began ticket, load func(context.Context) (any, error)) (any, bool, error) {
	token, parts, err := versions(ctx, db, tenant, reads) // rule 1: before the query
	if err != nil {
		return nil, false, err
	}
	if held, ok := c.entries.GetIfPresent(name); ok && token != "" && held.token == token {
		return held.value, true, nil
	}
	value, err := load(context.WithValue(ctx, within{}, true))
	if err != nil || token == "" { // rule 2: no token, no caching
		return value, false, err
	}
	c.store(name, &entry{value, token, parts}, began)
	return value, true, nil
}

// versions has no token for what must not be kept: an unknown name, or what a standby says.
func versions(ctx context.Context, db *pgx.Conn, tenant Whose, reads []string) (string, []part, error) {
	rows, err := db.Query(ctx, ask, tenant, reads)
	if err != nil {
		return "", nil, err
	}
	var token *string
	var parts []part
	good := true
	for rows.Next() {
		var p part
		var version, shared *int64
		var known, standby bool
		if err := rows.Scan(&token, &standby, &p.tenant, &p.domain, &p.key, &version, &shared, &known); err != nil {
			rows.Close()
			return "", nil, err
		}
		if !known || standby || version == nil || shared == nil {
			good = false
			continue
		}
		p.version, p.shared = *version, *shared
		parts = append(parts, p)
	}
	if token == nil || !good {
		return "", nil, rows.Err()
	}
	return *token, parts, rows.Err()
}

const dependencies = `
	SELECT d.certainty IN ('exact', 'definition'),
		CASE d.certainty WHEN 'definition' THEN d.domain ELSE cache_notify.key_name(d.domain) END
	FROM cache_notify.domains_of($1) d`

// Query is the result of a SELECT; the server finds out what it reads. What cannot be cached
// is run every time.
func Query[T any](ctx context.Context, c *Cache, db *pgx.Conn, statement string, tenant Whose,
	arguments []any, scan func(pgx.Rows) (T, error)) (T, error) {
	load := func(ctx context.Context) (any, error) {
		rows, err := db.Query(ctx, statement, arguments...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		return scan(rows)
	}
	var nothing T
	began := c.ticket() // a definition that moves from now on keeps the result from being stored
	reads, err := c.reads(ctx, db, statement)
	var value any
	if err != nil {
		return nothing, err
	} else if len(reads) == 0 {
		value, err = load(ctx)
	} else {
		name, _ := json.Marshal([]any{"query", statement, arguments})
		value, err = c.get(ctx, db, string(name), reads, tenant, false, began, load)
	}
	if err != nil {
		return nothing, err
	}
	return value.(T), nil
}

func (c *Cache) reads(ctx context.Context, db *pgx.Conn, statement string) ([]string, error) {
	c.mu.Lock()
	generation := c.generation
	reads, known := c.statements[statement]
	c.mu.Unlock()
	if known {
		return reads, nil
	}
	rows, err := db.Query(ctx, dependencies, statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	cacheable := true
	for rows.Next() {
		var certain bool
		var name *string
		if err := rows.Scan(&certain, &name); err != nil {
			return nil, err
		}
		cacheable = cacheable && certain
		if name != nil && !slices.Contains(reads, *name) {
			reads = append(reads, *name)
		}
	}
	if rows.Err() != nil { // they may not be all
		return nil, rows.Err()
	}
	if !cacheable {
		reads = nil
	}
	slices.Sort(reads)
	c.mu.Lock()
	if c.generation == generation {
		c.statements[statement] = reads
	}
	c.mu.Unlock()
	return reads, nil
}

func entryName(name string, reads []string, tenant Whose) string {
	told, err := json.Marshal([]any{name, tenant, reads})
	if err != nil {
		panic(fmt.Sprint("a result has a name of text: ", err))
	}
	return string(told)
}
