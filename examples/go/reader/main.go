// A reader for test/consistency/check with the cache beside it; foreign.py there says what it
// is told over its standard input and what it says.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"cachenotify.example/near/near"
)

type server struct{ Host, User, Database string }

type query struct {
	Kind, Name, SQL string
	Cells           []any
	Reads           []string
	Tenant          *string
	Inner           *int
}

type told struct {
	Do               string
	Listen           server
	Heartbeat, Lease float64
	Queries          []query
	RuleOff          *string `json:"rule_off"`
	Go               int
	ID, Slot         int
	Connect          *server
	Read, Sweep      []int
	Work             []float64
	Fresh            bool
	SQL              string
	Parameters       []any
}

// program is what all slots share.
type program struct {
	queries []query
	cache   *near.Cache

	mu     sync.Mutex // over what is said: its order is what counts
	out    *bufio.Writer
	events int
	asked  int
	goOn   map[int]chan struct{}
}

func (p *program) say(message any) {
	line, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	_, _ = p.out.Write(append(line, '\n'))
	_ = p.out.Flush()
}

func (p *program) event(message map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events++
	p.say(message)
}

func (p *program) soFar() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.events
}

func (p *program) open(t told) error {
	p.queries = t.Queries
	config, err := configOf(t.Listen)
	if err != nil {
		return err
	}
	p.cache = near.New(near.Options{
		Listen:    config,
		Heartbeat: time.Duration(t.Heartbeat * float64(time.Second)),
		Lease:     time.Duration(t.Lease * float64(time.Second)),
		Heard: func(tenant *string, domain string) {
			if domain == "fence" && tenant != nil {
				slot, _ := strconv.Atoi(*tenant)
				p.event(map[string]any{"event": "fence", "slot": slot})
			}
		},
		Listening: p.listening,
		// The only rule that can be taken out here.
		StoresAnything: t.RuleOff != nil && *t.RuleOff == "notify_only",
	})
	if t.RuleOff != nil && *t.RuleOff != "notify_only" {
		return fmt.Errorf("the rule %s cannot be taken out here", *t.RuleOff)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.say(map[string]any{"event": "ready",
		"kinds": []string{"item", "row", "rows", "offer", "both", "whole", "found", "nested"}})
	return nil
}

// listening: what is acknowledged before it listens must be known once it has caught up.
func (p *program) listening(caughtUp bool) {
	if caughtUp {
		p.event(map[string]any{"event": "caught_up"})
		return
	}
	goOn := make(chan struct{})
	p.mu.Lock()
	p.asked++
	p.goOn[p.asked] = goOn
	p.say(map[string]any{"event": "reconnecting", "ask": p.asked})
	p.mu.Unlock()
	<-goOn
}

func configOf(s server) (*pgx.ConnConfig, error) {
	return pgx.ParseConfig(fmt.Sprintf("host=%s user=%s dbname=%s", s.Host, s.User, s.Database))
}

// slot has a connection of its own, and does one thing after the other.
type slot struct {
	*program
	db     *pgx.Conn
	orders chan told
}

func (s *slot) run() {
	for t := range s.orders {
		answer, err := s.do(context.Background(), t)
		if err != nil {
			answer = map[string]any{kindOf(err, s.db): err.Error()}
		}
		answer["id"] = t.ID
		s.mu.Lock()
		s.say(answer)
		s.mu.Unlock()
	}
}

func (s *slot) do(ctx context.Context, t told) (map[string]any, error) {
	switch {
	case t.Connect != nil:
		if s.db != nil {
			_ = s.db.Close(ctx)
		}
		config, err := configOf(*t.Connect)
		if err == nil {
			s.db, err = pgx.ConnectConfig(ctx, config)
		}
		return map[string]any{}, err
	case t.Read != nil:
		return s.read(ctx, t.Read, t.Work, t.Fresh)
	case t.Sweep != nil:
		return s.read(ctx, slices.DeleteFunc(t.Sweep, func(number int) bool {
			q := s.queries[number]
			return q.Reads == nil || !s.cache.Holds(q.Name, q.Reads, q.Tenant)
		}), nil, false)
	default:
		var err error
		if t.Parameters == nil {
			_, err = s.db.Exec(ctx, t.SQL)
		} else {
			_, err = s.db.Exec(ctx, t.SQL, t.Parameters...)
		}
		return map[string]any{}, err
	}
}

func (s *slot) read(ctx context.Context, numbers []int, work []float64, fresh bool) (map[string]any, error) {
	got := make([]any, 0, len(numbers))
	for i, number := range numbers {
		var works float64
		if work != nil {
			works = work[i]
		}
		since := s.soFar()
		values, loaded, err := s.get(ctx, s.queries[number], works, fresh)
		if err != nil {
			return nil, err
		}
		got = append(got, []any{number, since, loaded, values})
	}
	return map[string]any{"got": got}, nil
}

func (s *slot) get(ctx context.Context, q query, work float64, fresh bool) ([]int64, bool, error) {
	if q.Reads == nil {
		values, err := near.Query(ctx, s.cache, s.db, q.SQL, q.Tenant, q.Cells, scan)
		return values, false, err
	}
	var loaded atomic.Bool
	values, err := near.Get(ctx, s.cache, s.db, q.Name, q.Reads, q.Tenant, fresh,
		func(ctx context.Context) ([]int64, error) {
			loaded.Store(true)
			var inner []int64
			if q.Inner != nil {
				var err error
				if inner, _, err = s.get(ctx, s.queries[*q.Inner], 0, false); err != nil {
					return nil, err
				}
			}
			rows, err := s.db.Query(ctx, q.SQL, q.Cells...)
			if err != nil {
				return nil, err
			}
			defer rows.Close()
			values, err := scan(rows)
			time.Sleep(time.Duration(work * float64(time.Second)))
			return append(inner, values...), err
		})
	return values, loaded.Load(), err
}

func scan(rows pgx.Rows) ([]int64, error) {
	var values []int64
	for rows.Next() {
		row, err := rows.Values()
		if err != nil {
			return nil, err
		}
		for _, value := range row {
			values = append(values, value.(int64))
		}
	}
	return values, rows.Err()
}

// kindOf: a connection that is lost, a server that goes down, comes up or had to cancel, an
// extension that is not there, is what the checker does; anything else must not be.
func kindOf(err error, db *pgx.Conn) string {
	var said *pgconn.PgError
	var connecting *pgconn.ConnectError
	if errors.As(err, &connecting) || db == nil || db.IsClosed() {
		return "lost"
	}
	if errors.As(err, &said) {
		for _, class := range []string{"08", "57", "40001", "25006", "42883", "3F000"} {
			if strings.HasPrefix(said.Code, class) {
				_ = db.Close(context.Background())
				return "lost"
			}
		}
		// A function of the extension was dropped while it was called.
		if strings.Contains(said.Message, "cache lookup failed") {
			return "lost"
		}
	}
	return "failed"
}

func main() {
	p := &program{out: bufio.NewWriter(os.Stdout), goOn: map[int]chan struct{}{}}
	slots := map[int]*slot{}
	input := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var t told
		if err := input.Decode(&t); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			panic(err)
		}
		switch {
		case t.Do == "open":
			if err := p.open(t); err != nil {
				panic(err)
			}
		case t.Go != 0:
			p.mu.Lock()
			close(p.goOn[t.Go])
			delete(p.goOn, t.Go)
			p.mu.Unlock()
		default:
			s := slots[t.Slot]
			if s == nil {
				s = &slot{program: p, orders: make(chan told, 16)}
				slots[t.Slot] = s
				go s.run()
			}
			s.orders <- t
		}
	}
}
