package near

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	channel     = "cache_invalidation"
	definitions = "cache_notify_definition"
	patience    = 5 * time.Second
)

var errSwallowed = errors.New("a notification did not come back: listen over a direct connection, " +
	"not through a pooler in transaction mode")

// listenForEver tries again after whatever has happened; until then nothing is served.
func (c *Cache) listenForEver(ctx context.Context) {
	defer close(c.stopped)
	var position *string
	delay := 100 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		_ = c.listen(ctx, &position) // rule 8: whatever it was
		c.setLease(time.Time{})
		if time.Since(began) > time.Second {
			delay = 100 * time.Millisecond
		}
		select {
		case <-time.After(delay/2 + time.Duration(time.Now().UnixNano())%delay):
		case <-ctx.Done():
		}
		delay = min(2*delay, patience)
	}
}

// listen, prove that deliveries come in, catch up, and only then serve (rule 9).
func (c *Cache) listen(ctx context.Context, position **string) error {
	if c.options.Listening != nil {
		c.options.Listening(false)
	}
	config := c.options.Listen.Copy()
	config.RuntimeParams["application_name"] = "cache_notify listener"
	config.ConnectTimeout = patience
	db, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		late, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = db.Close(late)
	}()
	var version string
	var standby bool
	err = db.QueryRow(ctx, `SELECT extversion, pg_is_in_recovery() FROM pg_extension
		WHERE extname = 'cache_notify'`).Scan(&version, &standby)
	if err != nil {
		return err
	}
	if standby || !strings.HasPrefix(version, "1.") {
		return fmt.Errorf("cannot listen: extension %s, standby: %t", version, standby)
	}
	probe := "cache_notify_" + strings.ToLower(rand.Text())
	for _, name := range []string{channel, definitions, probe} {
		if _, err := db.Exec(ctx, "LISTEN "+name); err != nil {
			return err
		}
	}
	if err := c.prove(ctx, db, config, probe); err != nil {
		return err
	}
	c.listenAnew()
	for first := true; ; first = false {
		if err := c.catchUp(ctx, db, position, first); err != nil {
			return err
		}
		if first && c.options.Listening != nil {
			c.options.Listening(true)
		}
		if err := c.receive(ctx, db, time.Now().Add(c.options.Heartbeat), ""); err != nil {
			return err
		}
	}
}

// prove: a pooler takes LISTEN, and swallows what should come of it.
func (c *Cache) prove(ctx context.Context, db *pgx.Conn, config *pgx.ConnConfig, probe string) error {
	sender, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	_, err = sender.Exec(ctx, "NOTIFY "+probe)
	_ = sender.Close(ctx)
	if err != nil {
		return err
	}
	if err := c.receive(ctx, db, time.Now().Add(patience), probe); err != nil {
		return err
	}
	_, err = db.Exec(ctx, "UNLISTEN "+probe)
	return err
}

// receive hears what comes until then, or until something comes over the channel probe.
func (c *Cache) receive(ctx context.Context, db *pgx.Conn, until time.Time, probe string) error {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for {
		notification, err := db.WaitForNotification(ctx)
		switch {
		case err == nil && notification.Channel == probe:
			return nil
		case err == nil:
			c.take(notification.Payload)
		case errors.Is(err, context.DeadlineExceeded) && !db.IsClosed():
			if probe != "" {
				return errSwallowed
			}
			return nil
		default:
			return err
		}
	}
}

// catchUp hears what has changed since the last time; which keys, nobody knows any more. Not
// what a payload has told, unless some before it may have been lost. An answer is good for a
// lease.
func (c *Cache) catchUp(ctx context.Context, db *pgx.Conn, position **string, first bool) error {
	ctx, cancel := context.WithTimeout(ctx, c.options.Lease) // a dead network gives no error
	defer cancel()
	asked := time.Now()
	var next string
	if err := db.QueryRow(ctx, "SELECT cache_notify.current_position()").Scan(&next); err != nil {
		return err
	}
	if *position == nil {
		c.reset()
	} else {
		rows, err := db.Query(ctx, "SELECT tenant_id, domain, version FROM cache_notify.changes_since($1)", *position)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var tenant, domain *string
			var version *int64
			if err := rows.Scan(&tenant, &domain, &version); err != nil {
				return err
			}
			if domain == nil || version == nil {
				c.reset() // another history
			} else if first || *version != c.heardVersion(tenant, *domain) {
				c.hear(change{tenant: tenant, domain: *domain, version: *version, anyKey: true})
			}
		}
		if rows.Err() != nil {
			return rows.Err()
		}
	}
	*position = &next
	c.setLease(asked.Add(c.options.Lease))
	return nil
}
